"""Whether an object must be applied: pure comparison of what we want with what is there.

A server-side apply that changes nothing is still a write, so it is made only if the live object lacks something that
we want, or has a field of ours that we no longer want. Fields of other managers are none of our business.
"""

import json
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

_QUANTITY_PARENTS = frozenset({"limits", "requests", "capacity", "hard"})
_QUANTITY_KEYS = frozenset({"sizeLimit", "divisor"})
_FINEST_IN_LIST = Decimal("1e-3")
"""The API server rounds the quantities of a resource list up to thousandths (pkg/apis/core/v1/defaults.go)."""
_FINEST = Decimal("1e-9")
"""The API server rounds every quantity up to billionths (apimachinery, resource.ParseQuantity)."""
_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}

_KEY_DEFAULTS = {"protocol": "TCP"}
"""Keys of list-maps that the API server fills in (a port's protocol)."""


def quantity(text: str | float) -> Decimal:
    """Value of a Kubernetes quantity, as in 10Gi, 500m or 1e3.

    Raises:
        ValueError: it is none.
    """
    string = str(text)
    number = string.rstrip("numkMGTPEi")
    suffix = string[len(number) :]
    try:
        return Decimal(number) * _SUFFIXES[suffix]
    except (InvalidOperation, KeyError):
        raise ValueError(f"{string!r} is not a quantity") from None


def needs_apply(desired: Mapping[str, Any], live: Mapping[str, Any], manager: str) -> bool:
    """Whether applying `desired` as `manager` would change `live`.

    `desired` is exactly what would be applied; `live` is the object as the API server holds it, with its managed
    fields (Kubernetes "Server-Side Apply", fieldsV1 of structured-merge-diff v4).
    """
    owned = _owned_fields(live, manager, desired["apiVersion"])
    if owned is None:
        return True
    wanted = {key: value for key, value in desired.items() if key not in ("apiVersion", "kind", "metadata")}
    metadata = {key: value for key, value in desired["metadata"].items() if key not in ("name", "namespace", "uid")}
    if metadata:
        wanted["metadata"] = metadata
    return not _holds(wanted, live, owned, parent="", key="")


def _owned_fields(live: Mapping[str, Any], manager: str, api_version: str) -> Mapping[str, Any] | None:
    for entry in live["metadata"].get("managedFields") or ():
        if (
            entry["manager"] == manager
            and entry["operation"] == "Apply"
            and entry["apiVersion"] == api_version
            and not entry.get("subresource")
        ):
            fields: Mapping[str, Any] = entry["fieldsV1"]
            return fields
    return None


def _holds(wanted: Any, live: Any, owned: Mapping[str, Any], *, parent: str, key: str) -> bool:
    """Whether `live` has `wanted`, and we own just that."""
    markers = [marker for marker in owned if marker != "."]
    if not markers:
        return _same(wanted, live, parent=parent, key=key)
    if markers[0].startswith("f:"):
        return _map_holds(wanted, live, owned, parent=key)
    if markers[0].startswith("k:"):
        return _list_map_holds(wanted, live, owned, key=key)
    return _set_holds(wanted, live, owned)


def _map_holds(wanted: Any, live: Any, owned: Mapping[str, Any], *, parent: str) -> bool:
    if not isinstance(wanted, Mapping) or not isinstance(live, Mapping):
        return False
    if any(marker[2:] not in wanted for marker in owned if marker != "."):
        return False
    for key, value in wanted.items():
        below = owned.get("f:" + key)
        if below is None:
            # What is empty leaves no trace in the managed fields.
            if _is_empty(value) and _is_empty(live.get(key)):
                continue
            return False
        if not _holds(value, live.get(key), below, parent=parent, key=key):
            return False
    return True


def _list_map_holds(wanted: Any, live: Any, owned: Mapping[str, Any], *, key: str) -> bool:
    if not isinstance(wanted, list) or not isinstance(live, list):
        return False
    markers = [marker for marker in owned if marker != "."]
    if len(markers) != len(wanted):
        return False
    for marker in markers:
        keys = json.loads(marker[2:])
        wanted_item, live_item = _find(wanted, keys), _find(live, keys)
        if wanted_item is None or live_item is None:
            return False
        if not owned[marker]:
            # An atomic item, such as an owner reference.
            if not _same(wanted_item, live_item, parent=key, key=""):
                return False
            continue
        # The keys themselves are owned with the item; defaulted ones need not be in what we want.
        below = {
            name: fields for name, fields in owned[marker].items() if name[2:] not in keys or name[2:] in wanted_item
        }
        if not _map_holds(wanted_item, live_item, below, parent=key):
            return False
    return True


def _set_holds(wanted: Any, live: Any, owned: Mapping[str, Any]) -> bool:
    if not isinstance(wanted, list) or not isinstance(live, list):
        return False
    ours = [json.loads(marker[2:]) for marker in owned if marker.startswith("v:")]
    return all(value in ours and value in live for value in wanted) and all(value in wanted for value in ours)


def _find(items: list[Any], keys: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for item in items:
        if isinstance(item, Mapping) and all(
            item.get(key, _KEY_DEFAULTS.get(key)) == value for key, value in keys.items()
        ):
            return item
    return None


def _same(wanted: Any, live: Any, *, parent: str, key: str) -> bool:
    """Compare a leaf; inside an atomic one the live object may have more (defaults)."""
    if isinstance(wanted, Mapping):
        if not wanted:
            return _is_empty(live) or isinstance(live, Mapping)
        return isinstance(live, Mapping) and all(
            _same(value, live.get(name), parent=key, key=name) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        if not wanted:
            return _is_empty(live)
        return (
            isinstance(live, list)
            and len(wanted) == len(live)
            and all(_same(one, other, parent=parent, key=key) for one, other in zip(wanted, live, strict=True))
        )
    if wanted == live:
        return type(wanted) is type(live) or not isinstance(wanted, bool)
    if _is_empty(wanted) and _is_empty(live):
        return True
    if parent in _QUANTITY_PARENTS or key in _QUANTITY_KEYS:
        finest = _FINEST_IN_LIST if parent in _QUANTITY_PARENTS else _FINEST
        try:
            return _round_up(quantity(wanted), finest) == _round_up(quantity(live), finest)
        except ValueError:
            return False
    return False


def _round_up(value: Decimal, finest: Decimal) -> Decimal:
    return (value / finest).to_integral_value(ROUND_CEILING) * finest


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", {}, [])
