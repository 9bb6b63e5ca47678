"""Ways to reach a Registry on real nodes: all at once, one port one Registry, and a pod on each of several nodes."""

import urllib.request
from typing import Any

import pytest

from regkeeper import naming
from tests.e2e.installed.conftest import WORKER, share_directory
from tests.room import SOON, Room, on_node
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

MASTER = "k8smaster"
PORT = 5070


def hosts(room: Room, name: str = "main") -> list[tuple[str, str]]:
    return [(entry["type"], entry["host"]) for entry in room.status(name)["addresses"]]


def answered_uid(url: str) -> str | None:
    """The uid of the Registry that answers."""
    with urllib.request.urlopen(f"{url}/v2/", timeout=10) as answer:
        uid: str | None = answer.headers.get(naming.REGISTRY_HEADER)
        return uid


def test_all_ways_at_once_beside_a_service_that_would_stop_distribution(room: Room) -> None:
    """registry.md: "Ready only once each address answers with a response header that carries this Registry's uid";
    "`enableServiceLinks: false` (a Service called `registry-storage` would set `REGISTRY_STORAGE_PORT`, and
    distribution panics)".
    """
    ports = {"spec": {"ports": [{"port": 80}], "selector": {"no": "pod"}}}
    room.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "registry-storage"}, **ports})
    access = {"hostPort": {"port": PORT}, "nodePort": {"nodes": [MASTER, WORKER]}}
    room.registry(access=access, **on_node(WORKER))
    room.await_serving()
    port = room.need("service")["spec"]["ports"][0]["nodePort"]
    assert hosts(room) == [
        ("HostPort", f"{WORKER}:{PORT}"),
        ("NodePort", f"{MASTER}:{port}"),
        ("NodePort", f"{WORKER}:{port}"),
        ("ClusterIP", f"main.{room.namespace}.svc:5000"),
    ]
    uid = room.need("registry")["metadata"]["uid"]
    for node, number in ((WORKER, PORT), (MASTER, port), (WORKER, port)):
        assert answered_uid(f"http://{room.cluster.node_ip(node)}:{number}") == uid


def test_a_port_of_a_node_has_one_registry(room: Room) -> None:
    """registry.md: "A host:port belongs to the oldest Registry that serves it; later ones get a conflict condition"."""
    access = {"access": {"hostPort": {"port": PORT + 1}}}
    room.registry("first", **access, **on_node(WORKER))
    room.await_serving("first")
    room.registry("second", **access, **on_node(WORKER))
    stalled = room.await_condition("Stalled", "PortConflict", "second")
    assert f"Registry {room.namespace}/first serves {WORKER}:{PORT + 1}" in stalled["message"]
    assert room.get("deployment", "second") is None
    room.registry("elsewhere", **access, **on_node(MASTER))
    room.await_serving("elsewhere")
    room.delete("registry", "first")
    room.await_serving("second")
    assert answered_uid(room.url("second")) == room.need("registry", "second")["metadata"]["uid"]


def test_a_host_port_on_as_many_nodes_as_replicas(room: Room) -> None:
    """registry.md: "With `hostPort` the matching nodes must number `replicas` (else a condition lists them); `maxSurge`
    0": it also rolls, though every port is taken by the pod before.
    """
    for node in (MASTER, WORKER):
        room.cluster.node_exec(node, ["mkdir", "--mode=0777", "--parents", "/srv/shared"])
    share_directory(room, "/srv/shared")
    spec: dict[str, Any] = {
        "storage": {"existingClaim": "shared"},
        "access": {"hostPort": {"port": PORT + 2}},
        "tolerations": [{"operator": "Exists"}],
    }
    room.registry(**spec, replicas=1)
    mismatch = room.await_condition("AccessIncomplete", "NodesNotReplicas")
    assert f"1 replicas, matching nodes: {MASTER}, {WORKER}" in mismatch["message"]

    room.registry(**spec, replicas=2)
    room.await_serving()
    wanted = [("HostPort", f"{MASTER}:{PORT + 2}"), ("HostPort", f"{WORKER}:{PORT + 2}")]
    assert hosts(room)[:2] == wanted
    before = {pod["metadata"]["name"] for pod in room.pods()}

    room.registry(**spec, replicas=2, readOnly=True)

    def rolled() -> bool:
        return len(room.pods()) == 2 and not before & {pod["metadata"]["name"] for pod in room.pods()}

    wait_for(rolled, SOON, lambda: f"two other pods: {[pod['metadata']['name'] for pod in room.pods()]}")
    room.await_serving()
    assert hosts(room)[:2] == wanted


UPLOAD = """
import hashlib, sys, urllib.request
from urllib.parse import urlsplit

one, other = (f"http://{address}:5000" for address in sys.argv[1:])
blob = b"a layer"
digest = "sha256:" + hashlib.sha256(blob).hexdigest()

def ask(method, url, data=None):
    headers = {"Content-Type": "application/octet-stream"}
    return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=10)

def place(answer):
    parts = urlsplit(answer.headers["Location"])
    return f"{parts.path}?{parts.query}"

upload = place(ask("POST", f"{one}/v2/across/replicas/blobs/uploads/", b""))
upload = place(ask("PATCH", other + upload, blob))
ask("PUT", f"{one}{upload}&digest={digest}", b"")
print(ask("GET", f"{other}/v2/across/replicas/blobs/{digest}").read().decode())
"""


def test_an_upload_goes_on_at_another_replica(room: Room) -> None:
    """registry.md: "`http.secret` from a Secret of ours, the same for all replicas"."""
    room.cluster.node_exec(WORKER, ["mkdir", "--mode=0777", "--parents", "/srv/replicas"])
    share_directory(room, "/srv/replicas")
    room.registry(storage={"existingClaim": "shared"}, replicas=2, **on_node(WORKER))
    room.await_serving()
    addresses = [pod["status"]["podIP"] for pod in room.pods()]
    assert len(addresses) == 2
    uploaded = room.cluster.node_exec(WORKER, ["python3", "-c", UPLOAD, *addresses])
    assert uploaded.stdout.strip() == "a layer"
