"""The settings of config.yml that the user may not change, because our promises hang on them, and the remedies.

`REGISTRY_*` variables of `spec.extraEnv` override settings of config.yml, so both are read as distribution reads them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from regkeeper.api.v1alpha1.registry import RegistrySpec
from regkeeper.errors import InvalidSpecError
from regkeeper.naming import REGISTRY_HEADER

PREFIX = "REGISTRY_"

_LONGEST = 4096
"""Characters of a value that is read: a Registry full of the longest that it takes held up all others for a minute."""

_NO_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""What PyYAML raises, as for `2026-13-45`, `!!bool x`, `!!timestamp x`."""


class _Loader(yaml.SafeLoader):
    """Without aliases: written out, a few hundred characters of them are gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable that distribution takes for a setting."""

    name: str
    """Of the variable."""
    path: tuple[str, ...]
    """Into config.yml, lower case."""
    value: Any
    """As distribution parses it: YAML. None where `known` is false."""
    known: bool
    """False: it comes from elsewhere (`valueFrom`, `$(OTHER)`), or is no YAML that is read here."""


def settings_of(variables: Iterable[dict[str, Any]]) -> list[Setting]:
    """The settings in the order in which distribution applies them: sorted by name (configuration/parser.go)."""
    found = [_setting(variable) for variable in variables if str(variable.get("name", "")).startswith(PREFIX)]
    return sorted(found, key=lambda setting: setting.name)


def _setting(variable: dict[str, Any]) -> Setting:
    name = str(variable["name"])
    path = tuple(part.lower() for part in name.split("_")[1:])
    text = str(variable.get("value") or "")
    # kubelet expands $(OTHER), which may be a valueFrom.
    if variable.get("valueFrom") is not None or "$(" in text or len(text) > _LONGEST:
        return Setting(name, path, None, known=False)
    try:
        return Setting(name, path, yaml.load(text, _Loader), known=True)  # noqa: S506 - a SafeLoader
    except _NO_YAML:
        return Setting(name, path, None, known=False)


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base`: mappings key by key, everything else replaced whole. Neither argument is changed."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def set_by_environment(base: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Set one value as distribution's configuration/parser.go does, for 2.8 and 3.x alike.

    A key that is there matches without regard to case, a new one is lower case, and what stands in the way is
    replaced. Lists are not entered (3.x does, by index): they are replaced too, which errs on the strict side.
    """
    key = next((known for known in base if str(known).lower() == path[0].lower()), path[0].lower())
    if len(path) == 1:
        return {**base, key: value}
    below = base.get(key)
    return {**base, key: set_by_environment(below if isinstance(below, dict) else {}, path[1:], value)}


STORAGE_OPTIONS = frozenset({"cache", "delete", "maintenance", "redirect", "tag"})
"""Keys of `storage` that are no driver (Storage.Type in distribution's configuration.go)."""

FREE_STORAGE_OPTIONS = frozenset({"redirect", "tag"})

REMEDIES = {
    "storage": "regkeeper's registries keep their images in the file system of spec.storage: remove it",
    "storage.filesystem.rootdirectory": "the volume of spec.storage is mounted there: remove it, "
    "and name the directory in spec.storage.local.path",
    "storage.cache": "the cache would answer for images that a retention run took away: remove it",
    "storage.delete": "deletion through the API stays on: remove it, or set spec.readOnly",
    "storage.maintenance": "the operator sets it: remove it, and set spec.readOnly to refuse pushes",
    "http.addr": "the Service and the probes ask there: remove it, and choose the port in spec.access",
    "http.net": "the Service and the probes need TCP: remove it",
    "http.prefix": "image names have no room for a prefix: remove it",
    "http.tls": "TLS in the registry itself is not supported yet: remove it, and end TLS in front of the Service",
    f"http.headers.{REGISTRY_HEADER}": "the operator knows its registry by this header: remove it",
}
"""Protected paths, the more general last resort included, and what to do instead."""

SECRET_KEYS = frozenset(
    {
        "accountkey",
        "apikey",
        "authorization",
        "licensekey",
        "password",
        "secret",
        "secretkey",
        "sentinelpassword",
    }
)
"""Keys whose values are secrets, wherever distribution 2.8 and 3.x have them."""


def check_secrets(config: dict[str, Any]) -> None:
    """Refuse secrets in `spec.config`: they would end in a ConfigMap.

    Raises:
        InvalidSpecError: Names the field and the variable to use.
    """
    for path in _secrets(config, ()):
        # An element of a list has no variable in 2.8: the whole list is set by one.
        variable = "_".join(("REGISTRY", *_before_index(path))).upper()
        raise InvalidSpecError(
            f"spec.config.{'.'.join(path)} is a secret and would stand in a ConfigMap: remove it, and set "
            f"{variable} in spec.extraEnv with valueFrom.secretKeyRef"
        )


def check_protected(generated: dict[str, Any], spec: RegistrySpec) -> None:
    """Refuse what would change a protected setting of `generated`, in the order in which it would take effect.

    Raises:
        InvalidSpecError: Names the first field that does, and the remedy.
    """
    promised = _protected_values(generated)
    config = merge(generated, spec.config)
    _refuse_change(promised, config, "spec.config")
    for setting in settings_of(spec.extra_env):
        source = f"spec.extraEnv {setting.name}"
        if setting.known:
            config = set_by_environment(config, setting.path, setting.value)
            _refuse_change(promised, config, source)
        else:
            _refuse_unknown(setting, source)


def _protected_values(config: dict[str, Any]) -> dict[str, Any]:
    """The value of each protected path, with the ways to say "off" made one."""
    storage = _lookup(config, "storage")
    headers = _lookup(config, "http", "headers")
    cache = [_lookup(config, "storage", "cache", key) for key in ("blobdescriptor", "layerinfo")]
    return {
        "storage": sorted(map(str, set(storage) - STORAGE_OPTIONS)) if isinstance(storage, dict) else storage,
        "storage.filesystem.rootdirectory": _lookup(config, "storage", "filesystem", "rootdirectory"),
        "storage.cache": any(cache),
        "storage.delete": _lookup(config, "storage", "delete", "enabled"),
        "storage.maintenance": _lookup(config, "storage", "maintenance"),
        "http.addr": _lookup(config, "http", "addr"),
        "http.net": _lookup(config, "http", "net") or "tcp",
        "http.prefix": _lookup(config, "http", "prefix") or "",
        "http.tls": _lookup(config, "http", "tls") or {},
        f"http.headers.{REGISTRY_HEADER}": [
            value for name, value in headers.items() if str(name).lower() == REGISTRY_HEADER.lower()
        ]
        if isinstance(headers, dict)
        else headers,
    }


def _refuse_change(promised: dict[str, Any], config: dict[str, Any], source: str) -> None:
    for path, value in _protected_values(config).items():
        if value != promised[path]:
            raise InvalidSpecError(f"{source} would change {path} of config.yml: {REMEDIES[path]}")


def _refuse_unknown(setting: Setting, source: str) -> None:
    for dotted, remedy in REMEDIES.items():
        path = tuple(dotted.lower().split("."))
        shared = min(len(path), len(setting.path))
        free = path == ("storage",) and setting.path[1:2] and setting.path[1] in FREE_STORAGE_OPTIONS
        if setting.path[:shared] == path[:shared] and not free:
            raise InvalidSpecError(
                f"{source} sets {dotted} of config.yml to a value that regkeeper can't see (valueFrom, $(…), no "
                f"YAML, an alias in it, or more than 4,096 characters): {remedy}"
            )


def _lookup(config: Any, *path: str) -> Any:
    """What is at `path`; where something else than a mapping stands in the way, that."""
    for key in path:
        if not isinstance(config, dict):
            return config
        config = config.get(key)
    return config


def _secrets(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, below in value.items():
            if key.lower() in SECRET_KEYS and below:
                yield (*path, key)
            else:
                yield from _secrets(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _secrets(below, (*path, str(index)))


def _before_index(path: tuple[str, ...]) -> tuple[str, ...]:
    index = next((place for place, key in enumerate(path) if key.isdecimal()), len(path))
    return path[:index]
