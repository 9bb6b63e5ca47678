"""One node on this machine, with real runtimes and registries."""

import http.client
import json
import os
import socket as socketlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from regkeeper.nodes import grpc
from tests.nodes.namespaces import ADDRESS, Daemon, Namespaces
from tests.waiting import wait_for

DEBIAN_CONTAINERD = "/usr/bin/containerd"
"""1.6."""
DEBIAN_DOCKERD = "/usr/sbin/dockerd"
"""20.10."""

_VERSIONS = "/run/versions"
"""Ahead of all else in the search path of Debian's dockerd, which starts runc at each /info, for its version.

That took more than the answer itself; the runc that is there says nothing of its version. Containers are run by the
shim, which containerd starts, with the real one. Today's dockerd shows more of runc than its version, and gets that.
"""


class _UnixConnection(http.client.HTTPConnection):
    """To a program that serves HTTP at a socket; asked hundreds of times, for which curl would be started each time."""

    def __init__(self, path: Path) -> None:
        super().__init__("node", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socketlib.socket(socketlib.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Node(Namespaces):
    """A node; a context manager."""

    def __init__(self, dockerd: str = DEBIAN_DOCKERD) -> None:
        self.dockerd = dockerd

    def start_containerd(
        self, *arguments: str, program: str = DEBIAN_CONTAINERD, socket: str = "/run/containerd/containerd.sock"
    ) -> Daemon:
        daemon = self.start("containerd", program, *arguments)
        wait_for(lambda: self._answers(daemon, socket), 15, daemon.log.read_text)
        return daemon

    def try_dockerd(
        self,
        *arguments: str,
        socket: str = "/run/docker.sock",
        name: str = "dockerd",
        env: Mapping[str, str] | None = None,
    ) -> Daemon:
        """Start dockerd and wait until it answers or ends."""
        command = (*self._search_path(), *self.dockerd_command(), "--host", f"unix://{socket}", *arguments)
        daemon = self.start(name, *command, env=env)
        wait_for(
            lambda: not daemon.running() or self.docker_get("/_ping", socket) is not None,
            15,
            daemon.log.read_text,
        )
        return daemon

    def _search_path(self) -> tuple[str, ...]:
        """That of dockerd, as an argument of `env`, through which every program is started."""
        if self.dockerd != DEBIAN_DOCKERD:
            return ()
        runc = self.path(f"{_VERSIONS}/runc")
        if not runc.is_symlink():
            runc.parent.mkdir()
            runc.symlink_to("/bin/true")
        return (f"PATH={_VERSIONS}:{os.environ['PATH']}",)

    def dockerd_command(self) -> tuple[str, ...]:
        """dockerd with what a node of ours needs: no bridge, no firewall, a storage driver that works anywhere."""
        # Later ones have no such flag, and leave their score alone.
        score = ("--oom-score-adjust=0",) if self.dockerd == DEBIAN_DOCKERD else ()
        return (
            *(self.dockerd, "--containerd", "/run/containerd/containerd.sock", "--bridge=none"),
            *("--iptables=false", "--ip-forward=false", "--storage-driver=vfs", *score),
        )

    def start_dockerd(self, *arguments: str, env: Mapping[str, str] | None = None) -> Daemon:
        daemon = self.try_dockerd(*arguments, env=env)
        assert daemon.running(), daemon.log.read_text()
        return daemon

    def docker_get(self, path: str, socket: str = "/run/docker.sock") -> Any:
        """GET at dockerd, or None if it does not answer."""
        with closing(_UnixConnection(self.path(socket))) as connection:
            try:
                connection.request("GET", path)
                text = connection.getresponse().read().decode()
            except (OSError, http.client.HTTPException):
                return None
        try:
            return json.loads(text)
        except ValueError:
            return text

    def start_registry(self, address: str = f"{ADDRESS}:5000", *, certificate: str = "") -> Daemon:
        """Debian's distribution 2.8, over plain HTTP unless there is a certificate (PATH.crt and PATH.key)."""
        scheme, tls = "http", ""
        if certificate:
            scheme, tls = "https", f", tls: {{certificate: {certificate}.crt, key: {certificate}.key}}"
        folder = self.folder / f"registry-{len(self._daemons)}"
        folder.mkdir()
        config = folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/volume}}}}\n"
            f'http: {{addr: "{address}"{tls}}}\n'
        )
        daemon = self.start("registry", "/usr/bin/docker-registry", "serve", str(config))
        wait_for(
            lambda: self.run("curl", "-sk", "-m", "2", f"{scheme}://{address}/v2/", check=False).returncode == 0,
            10,
            daemon.log.read_text,
        )
        return daemon

    def _answers(self, daemon: Daemon, socket: str) -> bool:
        """Whether a containerd, or its like, does: it listens before its CRI is there, if it has one."""
        assert daemon.running(), daemon.log.read_text()
        with socketlib.socket(socketlib.AF_UNIX) as connection:
            connection.settimeout(5)
            if connection.connect_ex(str(self.path(socket))):
                return False
            try:
                grpc.unary(connection, "/runtime.v1.ImageService/ListImages", b"")
            except grpc.GrpcError as error:
                return error.status == grpc.UNIMPLEMENTED
        return True


CONTAINERD_WITHOUT_CRI = 'version = 2\noom_score = 0\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
"""As Docker's packages configure the containerd that they bring."""


@contextmanager
def docker_node(dockerd: str = DEBIAN_DOCKERD) -> Iterator[Node]:
    """A node with a containerd for dockerd alone, and a registry at ADDRESS:5000."""
    with Node(dockerd) as node:
        node.path("/etc/containerd/config.toml").write_text(CONTAINERD_WITHOUT_CRI)
        node.start_containerd()
        node.start_registry()
        yield node
