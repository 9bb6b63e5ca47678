"""The main job, as a newcomer does it with the sample: a registry on k8smaster:5000, pushed to and pulled from.

Proves of registry.md: "In the embedded cluster k8smaster carries the control-plane label and taint; the sample
tolerates it."
"""

import hashlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import docker
from tests.cluster import Cluster
from tests.e2e.installed.conftest import ROOT, WORKER
from tests.room import SOON, Room
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

MASTER = "k8smaster"
PORT = 5000
ADDRESS = f"{MASTER}:{PORT}"
SAMPLE = str(ROOT / "deploy" / "samples" / "registry.yaml")
DIRECTORY = "/docker/var/lib/registry"
IMAGES = ("boke/wordpress:latest", "web/tomcat:v1", "db/mysql:5.7")


@pytest.fixture(scope="module")
def registry(installed: Cluster) -> Iterator[Room]:
    """The sample, Ready."""
    installed.node_exec(MASTER, ["mkdir", "--parents", DIRECTORY])
    room = Room(installed, "default")
    room.kubectl("apply", f"--filename={SAMPLE}")
    try:
        room.kubectl("wait", "--for=condition=Ready", "registry/main", f"--timeout={SOON}s")
        yield room
    finally:
        room.kubectl("delete", f"--filename={SAMPLE}", f"--timeout={SOON}s")
        installed.node_exec(MASTER, ["rm", "-rf", "/docker"])


@pytest.fixture(scope="module")
def digests(registry: Room) -> Iterator[dict[str, str]]:
    """Digests of the images, pushed from the worker, whose Docker nobody prepared but the operator."""
    registry.kubectl("wait", "--for=condition=NodesTrusted", "registry/main", f"--timeout={SOON}s")
    for image in IMAGES:
        docker.load(registry.cluster, WORKER, f"{ADDRESS}/{image}")
    yield {image: docker.push(registry.cluster, WORKER, f"{ADDRESS}/{image}") for image in IMAGES}
    for node in (MASTER, WORKER):
        registry.cluster.node_exec(node, ["docker", "image", "prune", "--all", "--force"])


def test_the_images_are_listed(registry: Room, digests: dict[str, str]) -> None:
    """By the API, and by `regkeeper list` in natural order."""
    url = registry.url()
    assert ask(f"{url}/v2/_catalog") == {"repositories": ["boke/wordpress", "db/mysql", "web/tomcat"]}
    assert ask(f"{url}/v2/web/tomcat/tags/list") == {"name": "web/tomcat", "tags": ["v1"]}
    command = [str(Path(sys.executable).with_name("regkeeper")), "list", url]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    host = url.removeprefix("http://")
    assert listed.split() == [f"{host}/{image}" for image in sorted(IMAGES)]


def test_status_and_columns_say_what_matters(registry: Room, digests: dict[str, str]) -> None:
    """The counts follow a push within seconds, not at the next resync of five minutes."""

    def columns() -> list[str]:
        return registry.kubectl("get", "registry", "main", "--no-headers").split()[:6]

    wait_for(lambda: columns() == ["main", "True", ADDRESS, "2/2", "3", "3"], SOON, lambda: f"the columns: {columns()}")
    status = registry.status()
    assert status["imagePrefix"] == ADDRESS
    assert status["addresses"] == [
        {"type": "HostPort", "host": ADDRESS},
        {"type": "ClusterIP", "host": "main.default.svc:5000"},
    ]
    assert {entry["type"]: entry["status"] for entry in status["conditions"]} == {
        "Ready": "True",
        "StorageReady": "True",
        "NodesTrusted": "True",
    }


@pytest.mark.parametrize("node", [MASTER, WORKER])
def test_the_images_are_pulled_on_both_nodes(registry: Room, digests: dict[str, str], node: str) -> None:
    for image, digest in digests.items():
        docker.pull(registry.cluster, node, f"{ADDRESS}/{image}")
        docker.pull(registry.cluster, node, f"{ADDRESS}/{image.partition(':')[0]}@{digest}")


def test_the_volume_has_the_layout_that_distribution_writes(registry: Room, digests: dict[str, str]) -> None:
    root = registry.cluster.node(MASTER).root / DIRECTORY.lstrip("/") / "docker/registry/v2"

    def blob(digest: str) -> bytes:
        algorithm, _, name = digest.partition(":")
        content = (root / "blobs" / algorithm / name[:2] / name / "data").read_bytes()
        assert hashlib.new(algorithm, content).hexdigest() == name
        return content

    for image, digest in digests.items():
        repository, _, tag = image.partition(":")
        folder = root / "repositories" / repository
        assert (folder / "_manifests/tags" / tag / "current/link").read_text() == digest
        assert (folder / "_manifests/revisions" / digest.replace(":", "/") / "link").read_text() == digest
        manifest: dict[str, Any] = json.loads(blob(digest))
        for part in (manifest["config"], *manifest["layers"]):
            assert (folder / "_layers" / part["digest"].replace(":", "/") / "link").read_text() == part["digest"]
            assert len(blob(part["digest"])) == part["size"]


def test_images_outlive_the_pod_and_a_restart_of_kubelet(registry: Room, digests: dict[str, str]) -> None:
    """One after the other: a kubelet that ends while it takes a pod's port away looks after that a minute later."""
    before = {pod["metadata"]["name"] for pod in registry.pods()}
    registry.kubectl("delete", "pods", *before, "--grace-period=0", "--force")

    def follower_is_ready() -> bool:
        ready = {
            pod["metadata"]["name"]
            for pod in registry.pods()
            for condition in pod["status"].get("conditions", ())
            if condition["type"] == "Ready" and condition["status"] == "True"
        }
        return bool(ready - before)

    wait_for(follower_is_ready, SOON, lambda: f"another pod: {registry.pods()}")
    wait_for(lambda: len(ways_to(registry, PORT)) == 1, SOON, lambda: f"one way: {ways_to(registry, PORT)}")
    registry.await_serving()
    registry.cluster.restart_kubelet(MASTER)
    for image, digest in digests.items():
        docker.pull(registry.cluster, WORKER, f"{ADDRESS}/{image}")
        docker.pull(registry.cluster, WORKER, f"{ADDRESS}/{image.partition(':')[0]}@{digest}")


def ways_to(registry: Room, port: int) -> list[str]:
    """The node's rules that send what comes to a port to a pod: of two, one is of a pod whose port is to be taken away.

    That it ends is not to be seen of the pod: deleted by force, it is gone before kubelet has begun.
    """
    rules = registry.cluster.node_exec(MASTER, ["iptables", "-w", "-t", "nat", "-S", "CNI-HOSTPORT-DNAT"]).stdout
    return [rule for rule in rules.splitlines() if f"--dports {port} " in rule]


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
