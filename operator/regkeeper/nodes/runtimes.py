"""Every kind of runtime that the agent knows."""

from typing import Any

from regkeeper.nodes.containerd import K3S_SOCKET, SOCKET, Containerd
from regkeeper.nodes.crio import Crio
from regkeeper.nodes.docker import SETTLE_SECONDS, Docker
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.runtime import Runtime


def runtimes(files: NodeFiles, *, settle_seconds: float = SETTLE_SECONDS) -> list[Runtime[Any]]:
    """One of each.

    Args:
        files: the node's tree.
        settle_seconds: age that a daemon must have before it is signalled.
    """
    return [
        Docker(files, settle_seconds=settle_seconds),
        Containerd(files, name="containerd", socket=SOCKET),
        Containerd(files, name="k3s", socket=K3S_SOCKET),
        Crio(files, settle_seconds=settle_seconds),
    ]
