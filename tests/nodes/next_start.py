"""Whether dockerd would start from daemon.json as it stands: tried with a real one, once for each content.

The one that runs is left alone: a second one, with directories and a socket of its own, starts from a copy. dockerd
20.10 has no `--validate`, and that of later ones says yes to entries with which the start fails (facts of node trust).
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.nodes.docker_states import FILE, State
from tests.nodes.node import Node

_COPY = "/run/next-start.json"
_SOCKET = "/run/next-start.sock"
_ELSEWHERE = (
    "--data-root=/var/lib/docker-next",
    "--exec-root=/run/docker-next",
    "--pidfile=/run/docker-next.pid",
)

_Tried = tuple[bytes | None, tuple[str, ...], tuple[tuple[str, str], ...]]


class NextStart:
    """The next start of a node's dockerd."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tried: dict[_Tried, frozenset[str] | None] = {}

    def trusts(self, state: State) -> frozenset[str] | None:
        """Hosts that a dockerd trusts which starts from the file as it stands; None: it does not start."""
        file = self._node.path(FILE)
        content = file.read_bytes() if file.exists() else None
        arguments = state.arguments if state.next_arguments is None else state.next_arguments
        key = (content, arguments, tuple(sorted(state.environment.items())))
        if key not in self._tried:
            self._tried[key] = self._try(content, arguments, state.environment)
        return self._tried[key]

    def _try(
        self, content: bytes | None, arguments: tuple[str, ...], environment: Mapping[str, str]
    ) -> frozenset[str] | None:
        if content is not None:
            self._node.path(_COPY).write_bytes(content)
            arguments = (*arguments, f"--config-file={_COPY}")
        with _put_back(self._node.path("/etc/docker")):
            daemon = self._node.try_dockerd(
                *_ELSEWHERE, *arguments, socket=_SOCKET, name="next dockerd", env=environment
            )
            if not daemon.running():
                return None
            indexes = self._node.docker_get("/info", _SOCKET)["RegistryConfig"]["IndexConfigs"]
            daemon.stop()
        return frozenset(host for host, index in indexes.items() if not index["Secure"])


@contextmanager
def _put_back(folder: Path) -> Iterator[None]:
    """Leave no directory behind where none was: dockerd 20.10 makes it for its key, wherever its configuration is."""
    was_there = folder.exists()
    try:
        yield
    finally:
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
