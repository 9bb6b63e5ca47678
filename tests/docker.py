"""What a person does with a node's Docker."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import Cluster
from tests.cluster.images.tiny import tiny_image
from tests.waiting import wait_for

_DAEMON_JSON = "etc/docker/daemon.json"
_SOON = 30  # seconds; takes a fraction of one


def trust(cluster: Cluster, node: str, registry: str) -> None:
    """Make a node's Docker speak plain HTTP to `registry` (host:port): an entry in daemon.json, and SIGHUP."""
    configuration = _daemon_json(cluster, node)
    entries = configuration.get("insecure-registries", [])
    _set_entries(cluster, node, [*(entry for entry in entries if entry != registry), registry])
    wait_for(lambda: registry in _known_registries(cluster, node), _SOON, f"dockerd on {node} to trust {registry}")


def distrust(cluster: Cluster, node: str, registry: str) -> None:
    """Take that back. The list stays, if need be empty: without one, a reload leaves dockerd's own as it was."""
    entries = _daemon_json(cluster, node)["insecure-registries"]
    _set_entries(cluster, node, [entry for entry in entries if entry != registry])
    wait_for(lambda: registry not in _known_registries(cluster, node), _SOON, f"dockerd on {node} to forget {registry}")


@contextmanager
def trusted(cluster: Cluster, *nodes: str, registry: str) -> Iterator[None]:
    """Trust a registry for a while."""
    try:
        for node in nodes:
            trust(cluster, node, registry)
        yield
    finally:
        for node in nodes:
            distrust(cluster, node, registry)


def load(cluster: Cluster, node: str, image: str) -> None:
    """Bring a tiny image of that name to a node's Docker: three layers, the same for the same name."""
    with tempfile.TemporaryDirectory() as directory:
        cluster.docker_load(node, tiny_image(image, seed=image, layers=3, directory=Path(directory)))


def push(cluster: Cluster, node: str, image: str) -> str:
    """Push an image and return its manifest's digest.

    Raises:
        CommandError: Docker's own words.
    """
    said = cluster.node_exec(node, ["docker", "push", image]).stdout
    match = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
    assert match, said
    return match[1]


def pull(cluster: Cluster, node: str, image: str) -> None:
    """Pull an image, by tag or digest, that the node has not got.

    Raises:
        CommandError: Docker's own words.
    """
    known = cluster.node_exec(node, ["docker", "image", "inspect", "--format={{.Id}}", image], check=False)
    if known.returncode == 0:
        cluster.node_exec(node, ["docker", "image", "rm", "--force", known.stdout.strip()])
    cluster.node_exec(node, ["docker", "pull", image])


def _daemon_json(cluster: Cluster, node: str) -> dict[str, Any]:
    file = cluster.node(node).root / _DAEMON_JSON
    configuration: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return configuration


def _set_entries(cluster: Cluster, node: str, entries: list[str]) -> None:
    configuration = {**_daemon_json(cluster, node), "insecure-registries": entries}
    (cluster.node(node).root / _DAEMON_JSON).write_text(json.dumps(configuration, indent=2) + "\n")
    cluster.node_exec(node, ["sh", "-c", "kill -HUP $(cat /run/docker.pid)"])


def _known_registries(cluster: Cluster, node: str) -> list[str]:
    answer = cluster.node_exec(node, ["docker", "info", "--format={{json .RegistryConfig.IndexConfigs}}"])
    return list(json.loads(answer.stdout))
