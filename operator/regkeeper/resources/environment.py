"""`REGISTRY_*` of `spec.extraEnv`: which setting of config.yml each overrides, and with what."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

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
