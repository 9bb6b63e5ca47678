"""What a model says about its CRD beyond its fields: CEL rules, list types, names, printer columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """One validation rule in CEL, checked by the API server when an object is applied."""

    cel: str
    message: str
    """For the person who applied: names the field and the remedy. The API server puts the path before it."""


def refused_unless(*rules: Rule) -> dict[str, Any]:
    """Schema keys that make the API server refuse what breaks one of `rules`; for `json_schema_extra`."""
    return {"x-kubernetes-validations": [{"rule": rule.cel, "message": rule.message} for rule in rules]}


def keeping_nulls(*rules: Rule) -> Callable[[dict[str, Any]], None]:
    """The same for a model that refuses null in its optional fields, as an unset variable of a template leaves it.

    The API server would drop it, and what is left out means something else than whoever wrote it had in mind. It can't
    refuse it: to CEL a null is absent.
    """

    def extend(schema: dict[str, Any]) -> None:
        for name, field in schema["properties"].items():
            if name not in schema.get("required", ()):
                field["nullable"] = True
        if rules:
            schema.update(refused_unless(*rules))

    return extend


def merged_by(*keys: str) -> dict[str, Any]:
    """Schema keys of a list whose elements server-side apply tells apart by `keys`, and which are unique by them."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


MERGED_AS_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
"""Schema key of a list of unique scalars."""

MERGED_WHOLE: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
"""Schema key of a list that has one owner."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; `wide` ones need `-o wide`."""

    name: str
    json_path: str
    type: str
    description: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Definition:
    """Names and columns of a kind."""

    plural: str
    singular: str
    short_names: Sequence[str]
    columns: Sequence[Column]
