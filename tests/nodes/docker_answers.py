"""What daemon.json and its dockerd say, and that nothing of the agent's is left."""

import json

from tests.nodes.docker_states import FILE, HOST, MIRRORS
from tests.nodes.node import Node


def entries(node: Node) -> list[str]:
    found: list[str] = json.loads(node.path(FILE).read_text()).get("insecure-registries", [])
    return found


def secure(node: Node, host: str = HOST) -> bool:
    indexes = node.docker_get("/info")["RegistryConfig"]["IndexConfigs"]
    return bool(indexes.get(host, {"Secure": True})["Secure"])


def assert_untouched(node: Node, content: bytes = MIRRORS) -> None:
    assert node.path(FILE).read_bytes() == content
    assert sorted(path.name for path in node.path("/etc/docker").glob("daemon.json*")) == ["daemon.json"]
    assert not node.path("/var/lib/regkeeper").exists()
