"""`REGISTRY_*` of `spec.extraEnv`: which setting of config.yml each overrides, and with what."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

PREFIX = "REGISTRY_"


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
    """False: it comes from elsewhere (`valueFrom`, `$(OTHER)`), or is no YAML."""


def settings_of(variables: Iterable[dict[str, Any]]) -> list[Setting]:
    """The settings in the order in which distribution applies them: sorted by name (configuration/parser.go)."""
    found = [_setting(variable) for variable in variables if str(variable.get("name", "")).startswith(PREFIX)]
    return sorted(found, key=lambda setting: setting.name)


def _setting(variable: dict[str, Any]) -> Setting:
    name = str(variable["name"])
    path = tuple(part.lower() for part in name.split("_")[1:])
    text = str(variable.get("value") or "")
    # kubelet expands $(OTHER), which may be a valueFrom.
    if variable.get("valueFrom") is not None or "$(" in text:
        return Setting(name, path, None, known=False)
    try:
        return Setting(name, path, yaml.safe_load(text), known=True)
    except yaml.YAMLError:
        return Setting(name, path, None, known=False)
