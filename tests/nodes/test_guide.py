"""docs/guides/nodes.md: what it tells an administrator to type works."""

import re
from pathlib import Path

import pytest

from tests.nodes.agent import run_agent
from tests.nodes.docker_states import FILE, HOST, MIRRORS, State, in_state
from tests.nodes.node import Node

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("agent")]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "nodes.md"
DOCKERD, CONTAINERD, ALL = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
"""The commands that undo."""


@pytest.mark.parametrize("content", [MIRRORS, None], ids=["a file", "no file"])
def test_undoing_by_hand_at_dockerd(node: Node, content: bytes | None) -> None:
    with in_state(node, State("before", content)):
        before = node.docker_get("/info")["RegistryConfig"]
        run_agent(node, HOST)
        assert node.docker_get("/info")["RegistryConfig"] != before
        node.run("sh", "-ec", DOCKERD)
        node.run("sh", "-ec", ALL)
        assert node.docker_get("/info")["RegistryConfig"] == before
        assert (node.path(FILE).read_bytes() if node.path(FILE).exists() else None) == content
        assert not node.path(FILE + ".regkeeper-backup").exists()
        assert run_agent(node).operations == []


def test_undoing_by_hand_at_containerd(node: Node) -> None:
    """Of two files only the one that is ours goes, from a directory with any name."""
    certs = node.path("/etc/containerd/certs.d:/etc/docker/certs.d")
    for host, text in (("ours:5000", "# Managed by regkeeper for …\n"), ("theirs:5000", 'server = "x"\n')):
        (certs / host).mkdir(parents=True)
        (certs / host / "hosts.toml").write_text(text)
    node.run("sh", "-ec", CONTAINERD)
    assert [path.name for path in certs.iterdir()] == ["theirs:5000"]
    node.run("rm", "-r", "/etc/containerd/certs.d:")


def test_looking_first_through_a_mount_of_the_node(node: Node) -> None:
    """`kubectl debug node/…` has the node's files below /host, and its processes."""
    with in_state(node, State("mirrors", MIRRORS)):
        look = f"mkdir /run/host && mount --rbind / /run/host && {node.python[0]} -m regkeeper nodes --root /run/host"
        shown = node.run("unshare", "--mount", "sh", "-ec", f"{look} --dry-run {HOST}").stdout
        node.path("/run/host").rmdir()
    assert f"would change {FILE}" in shown
    assert f"{HOST}: Blocked" in shown
