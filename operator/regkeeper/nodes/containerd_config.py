"""Where containerd looks for hosts.toml files: `config_path` of its merged configuration, imports included.

containerd 1.x lets an import replace whole plugin sections, 2.x merges deeply (facts of node trust). Relative imports
are taken from the directory of the file that names them; 1.6 takes those with a star from its working directory
instead, which then shows as files that have no effect.
"""

import fnmatch
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import NodeProblemError, Problem, Reason

DEFAULT_PATH = "/etc/containerd/config.toml"
_DEFAULT_CONFIG_PATH_2 = "/etc/containerd/certs.d:/etc/docker/certs.d"
_MOST_FILES = 64

_PLUGINS = {1: "cri", 2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.images"}
"""Version of a configuration file → the plugin whose table `registry` holds config_path."""


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """What the configuration says of registries."""

    path: str
    """Of the main file."""
    directories: tuple[str, ...]
    """Of config_path, in order; none: it is unset."""
    literal: str
    """config_path as it is written."""
    excluding: tuple[str, ...]
    """Keys that exclude config_path: mirrors, in 1.x configs.*.tls too."""
    table: str
    """Plugin under which config_path has to be set."""

    def problem(self) -> Problem | None:
        """Why hosts.toml files would not be read."""
        if self.directories:
            return None
        if self.excluding:
            return Problem(Reason.MIRRORS_IN_CONFIG, {"path": self.path, "keys": ", ".join(self.excluding)})
        return Problem(Reason.CONFIG_PATH_UNSET, {"path": self.path, "table": self.table})


def read_registry_settings(files: NodeFiles, path: str, *, major: int) -> RegistrySettings:
    """Read the configuration.

    Args:
        files: the node's tree.
        path: of the main file; absent: containerd's defaults.
        major: of containerd's version.

    Raises:
        NodeProblemError: a file can't be read or parsed.
    """
    registry: dict[str, Any] = {}
    main_version = 2 if major < 2 else 3
    for position, document in enumerate(_documents(files, path)):
        version = document.get("version", 1 if position == 0 else main_version)
        main_version = version if position == 0 else main_version
        section = _table(document, "plugins", _PLUGINS.get(version, _PLUGINS[3]))
        if section is None:
            continue
        found = _table(section, "registry") or {}
        registry = found if major < 2 else {**registry, **found}
    literal = str(registry.get("config_path") or ("" if major < 2 else _DEFAULT_CONFIG_PATH_2))
    excluding = tuple(_excluding(registry, major))
    if excluding and not registry.get("config_path"):
        literal = ""
    return RegistrySettings(
        path=path,
        directories=tuple(part for part in literal.split(":") if part.startswith("/")),
        literal=literal,
        excluding=excluding,
        table=_PLUGINS.get(main_version, _PLUGINS[3]),
    )


def _excluding(registry: dict[str, Any], major: int) -> Iterator[str]:
    """Keys beside which containerd takes no config_path (measured: tests/nodes/test_containerd_facts.py)."""
    if registry.get("mirrors"):
        yield "mirrors"
    configs = registry.get("configs")
    if major < 2 and isinstance(configs, dict) and any(_table(configs, host, "tls") is not None for host in configs):
        yield "configs.*.tls"


def _documents(files: NodeFiles, path: str) -> Iterator[dict[str, Any]]:
    """The main file and its imports, each once, in the order in which later ones win."""
    waiting, seen = [path], set[str]()
    while waiting and len(seen) < _MOST_FILES:
        current = waiting.pop(0)
        if current in seen:
            continue
        seen.add(current)
        content = files.read(current)
        if content is None:
            continue
        try:
            document = tomllib.loads(content.data.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NodeProblemError(Reason.FILE_BROKEN, path=current, detail=type(error).__name__) from error
        yield document
        for pattern in document.get("imports") or ():
            if isinstance(pattern, str):
                waiting.extend(_matches(files, os.path.join(os.path.dirname(current), pattern)))


def _matches(files: NodeFiles, pattern: str) -> list[str]:
    pattern = os.path.normpath(pattern)
    folder, name = os.path.split(pattern)
    return [os.path.join(folder, entry) for entry in files.list(folder) if fnmatch.fnmatchcase(entry, name)]


def _table(document: dict[str, Any], *keys: str) -> dict[str, Any] | None:
    """A table in a table; None if it is absent or no table."""
    found: Any = document
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None
