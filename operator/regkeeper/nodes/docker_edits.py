"""What daemon.json says and dockerd does not do yet, and what dockerd did before a reload and does no more. Pure."""

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from regkeeper.nodes.daemon_json import KEY
from regkeeper.nodes.docker_observation import DockerObservation
from regkeeper.nodes.record import DockerRecord

_BUILT_IN = frozenset({"127.0.0.0/8", "::1/128"})
"""What dockerd trusts by itself."""

_NONDISTRIBUTABLE = "allow-nondistributable-artifacts"
_SHOWN = {
    "debug": "Debug",
    "default-runtime": "DefaultRuntime",
    "labels": "Labels",
    "live-restore": "LiveRestoreEnabled",
    "runtimes": "Runtimes",
}
"""Reloadable key of daemon.json → field of /info."""


def pending_edits(seen: DockerObservation, foreign: Sequence[str], record: DockerRecord | None) -> tuple[str, ...]:
    """Keys of the file that a reload would change, because dockerd does not show them yet.

    Reloadable keys that /info does not show (max-concurrent-downloads and the like) can't be compared.
    """
    settings, info = seen.settings or {}, seen.info or {}
    registries = info.get("RegistryConfig") or {}
    ours = {*(record.entries if record else ()), *(record.revoking if record else ())}
    found = []
    if as_shown(foreign) != as_shown(seen.insecure - _BUILT_IN - ours):
        found.append(KEY)
    shown: dict[str, object] = {
        # In the order in which dockerd asks them.
        "registry-mirrors": _texts(registries.get("Mirrors")),
        "labels": set(_texts(info.get("Labels"))),
        "authorization-plugins": _texts((info.get("Plugins") or {}).get("Authorization")),
    }
    said: dict[str, object] = {
        "registry-mirrors": _texts(settings.get("registry-mirrors")),
        "labels": set(_texts(settings.get("labels"))),
        "authorization-plugins": _texts(settings.get("authorization-plugins")),
    }
    if "AllowNondistributableArtifactsCIDRs" in registries:  # dockerd 29 has no such setting
        said[_NONDISTRIBUTABLE] = as_shown(_texts(settings.get(_NONDISTRIBUTABLE)))
        shown[_NONDISTRIBUTABLE] = as_shown(
            _texts(registries.get("AllowNondistributableArtifactsHostnames"))
            + _texts(registries["AllowNondistributableArtifactsCIDRs"])
        )
    found += [key for key in said if key in settings and said[key] != shown[key]]
    for key, name in (
        ("debug", "Debug"),
        ("live-restore", "LiveRestoreEnabled"),
        ("default-runtime", "DefaultRuntime"),
    ):
        if key in settings and name in info and settings[key] != info[name]:
            found.append(key)
    if not _is_shown(settings.get("runtimes") or {}, info.get("Runtimes") or {}):
        found.append("runtimes")
    return tuple(found)


def _texts(entries: Any) -> tuple[str, ...]:
    """Entries in order and without repetition, as dockerd keeps them; of whatever stands there."""
    listed = entries if isinstance(entries, list) else [entries] if entries else []
    return tuple(dict.fromkeys(str(entry).rstrip("/") for entry in listed))


def _is_shown(runtimes: Any, shown: Any) -> bool:
    """Whether the runtimes of the file are those that dockerd shows, as far as it shows any of their settings."""
    if not isinstance(runtimes, dict) or not isinstance(shown, dict):
        return False
    return all(
        isinstance(runtime, dict)
        and isinstance(live := shown.get(name), dict)
        and all(live.get(key, value) == value for key, value in runtime.items())
        for name, runtime in runtimes.items()
    )


def lost_settings(before: dict[str, Any], after: dict[str, Any], settings: dict[str, Any]) -> tuple[str, ...]:
    """Keys whose value dockerd had before a reload and has no more.

    What the file itself asks for is no loss: a reload that may apply others' edits does so.

    Args:
        before: /info before the reload.
        after: /info after it.
        settings: of the file.
    """
    registries = before.get("RegistryConfig") or {}, after.get("RegistryConfig") or {}
    lost = [key for key, name in _SHOWN.items() if before.get(name) != after.get(name)]
    if registries[0].get("Mirrors") != registries[1].get("Mirrors"):
        lost.append("registry-mirrors")
    return tuple(key for key in lost if key not in settings)


def as_shown(entries: Sequence[str] | frozenset[str] | set[str]) -> set[str]:
    """Entries as /info shows them: no scheme, networks without host bits, not what is built in."""
    found = set()
    for entry in entries:
        bare = entry.removeprefix("http://").removeprefix("https://")
        with suppress(ValueError):
            bare = str(ipaddress.ip_network(bare, strict=False)) if "/" in bare else bare
        found.add(bare)
    return found - _BUILT_IN
