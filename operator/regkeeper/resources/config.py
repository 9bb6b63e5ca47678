"""The registry's config.yml: what we generate, with the user's `spec.config` merged over it.

Valid for distribution 2.8 and 3.x. Which settings the user may not change, and why, stands in `protection.py`.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from math import ceil
from typing import Any

import yaml

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.errors import InvalidSpecError
from regkeeper.naming import REGISTRY_HEADER
from regkeeper.resources.protection import check_protected, check_secrets, merge, set_by_environment, settings_of

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 2**63 * 1e-9
"""Go counts nanoseconds in 64 bits."""
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def go_duration_seconds(text: str) -> float | None:
    """Seconds in `text` (Go's time.ParseDuration without signs); None if it is no duration."""
    if text == "0":
        return 0.0
    if not re.fullmatch(f"({_PART.pattern})+", text):
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return seconds if seconds < _LONGEST else None


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Indent list items below their key, as people write them."""
        super().increase_indent(flow, indentless=False)


def _represent_string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # yaml.v2 reads 1e3, 0o7 and y as other types than PyYAML does: what might be one is quoted.
    ambiguous = text[:1] in tuple("0123456789+-.") or text in {"y", "Y", "n", "N"}
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if ambiguous else None)


_Dumper.add_representer(str, _represent_string)


def dump_yaml(value: Any) -> str:
    """Write `value` (of JSON's types) as block-style YAML, keys in their order."""
    return _dump_json(json.dumps(value))


# The same few values are written at each pass, and PyYAML takes milliseconds for one. (A text each, 2 KiB.)
@lru_cache(maxsize=2048)
def _dump_json(text: str) -> str:
    return yaml.dump(json.loads(text), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=100)


CONFIG_FILE = "config.yml"
REGISTRY_PORT = 5000
PORT_NAME = "registry"
"""Name of the port in the pod and in the Service."""
STORAGE_ROOT = "/var/lib/registry"


def generated_config(registry: Registry, *, read_only: bool) -> dict[str, Any]:
    """Our part of config.yml.

    No `storage.cache`: the blob descriptor cache never expires, and would answer for blobs that a retention run took
    away. No `http.debug`: it would offer pprof to the whole pod network, without a password.
    """
    return {
        "version": "0.1",
        "storage": {
            "filesystem": {"rootdirectory": STORAGE_ROOT},
            "delete": {"enabled": True},
            "maintenance": {"readonly": {"enabled": read_only}},
        },
        "http": {
            "addr": f":{REGISTRY_PORT}",
            # How long a registry that was told to stop goes on with the transfers that run.
            "draintimeout": "30s",
            "headers": {
                "X-Content-Type-Options": ["nosniff"],
                REGISTRY_HEADER: [registry.metadata.uid],
            },
        },
        "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
    }


def checked_config(registry: Registry, *, read_only: bool) -> dict[str, Any]:
    """Our config.yml with the user's settings over it, as the ConfigMap has it.

    Raises:
        InvalidSpecError: A setting of `spec.config` or `spec.extraEnv` would break a promise, or is a secret.
    """
    check_secrets(registry.spec.config)
    # Checked for both, so that a setting is refused when it is made, not when a retention run first asks.
    for assumed in (False, True):
        check_protected(generated_config(registry, read_only=assumed), registry.spec)
    return merge(generated_config(registry, read_only=read_only), registry.spec.config)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A registry's config.yml, and what other objects must know of it. Made once a pass: writing YAML is slow."""

    text: str
    read_only: bool
    """Whether it refuses pushes."""
    drain_seconds: int
    """How long the registry drains when it is told to stop, rounded up."""

    @property
    def digest(self) -> str:
        """A short name of the text, for the annotation whose change rolls the pods."""
        return digest_of(self.text)


def digest_of(text: str) -> str:
    """A short name of a config.yml."""
    return sha256(text.encode()).hexdigest()[:16]


def config_file(registry: Registry, *, read_only: bool) -> ConfigFile:
    """Make the config.yml.

    Args:
        registry: The Registry.
        read_only: Whether pushes are refused: `spec.readOnly`, or a retention run that asks for it.

    Raises:
        InvalidSpecError: A setting would break a promise, is a secret, or can't be read.
    """
    config = checked_config(registry, read_only=read_only)
    return ConfigFile(dump_yaml(config), read_only, _drain_seconds(config, registry))


def _drain_seconds(config: dict[str, Any], registry: Registry) -> int:
    for setting in settings_of(registry.spec.extra_env):
        if setting.known:
            config = set_by_environment(config, setting.path, setting.value)
    text = str(config["http"].get("draintimeout") or "0s")
    seconds = go_duration_seconds(text)
    if seconds is None:
        raise InvalidSpecError(f"http.draintimeout of config.yml is {text!r}: write a duration such as 30s")
    return ceil(seconds)
