"""Registries on real nodes: whose answer counts, and the reason of each trouble, provoked for real."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.cluster.images.system import old_registry_image
from tests.operator_process import a_namespace
from tests.registry_objects import registry_object
from tests.release import released
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

NODE = "k8smaster"
PORT = 5066
SOON = 120  # seconds; kubelet takes its time to give up on a mount
ROOT = "/srv/operator-nodes"
NAMESPACE = "operator-nodes"
TOLERATIONS = [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}]
ON_NODE = {"nodeSelector": {"kubernetes.io/hostname": NODE}, "tolerations": TOLERATIONS}
HOST_PORT = {"access": {"hostPort": {"port": PORT}}, **ON_NODE}


def local(path: str) -> dict[str, Any]:
    return {"storage": {"local": {"node": NODE, "path": f"{ROOT}/{path}"}}, **ON_NODE}


EPHEMERAL: dict[str, Any] = {"storage": {"ephemeral": {}}}


@pytest.fixture(scope="module")
def cluster(two_nodes: Cluster) -> Iterator[Cluster]:
    rules = [
        {"namespaces": [NAMESPACE], "nodes": [NODE], "path": f"{ROOT}/{path}"}
        for path in ("absent", "foreign", "inside")
    ]
    with released(two_nodes, {"localStorage": rules}):
        yield two_nodes


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    yield NAMESPACE
    cluster.kubectl("delete", "namespace", NAMESPACE)


@contextmanager
def registry(cluster: Cluster, namespace: str, name: str, **spec: Any) -> Iterator[None]:
    body = registry_object(name, namespace=namespace, **spec)
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    try:
        yield
    finally:
        cluster.kubectl("delete", "registry", "-n", namespace, name)


def await_condition(cluster: Cluster, namespace: str, name: str, reason: str, kind: str = "Ready") -> dict[str, Any]:
    def condition() -> dict[str, Any]:
        body = json.loads(cluster.kubectl("get", "registry", "-n", namespace, name, "-o", "json"))
        conditions = body.get("status", {}).get("conditions", [])
        found: dict[str, Any] = next((entry for entry in conditions if entry["type"] == kind), {})
        return found

    def matches() -> dict[str, Any]:
        found = condition()
        return found if found.get("reason") == reason else {}

    return wait_for(matches, SOON, lambda: f"{kind} {reason} of {name}: {condition()}")


def test_a_hand_made_registry_on_the_port_is_not_taken_for_ours(cluster: Cluster, namespace: str) -> None:
    cluster.docker_load(NODE, old_registry_image())
    hand_made = ["docker", "run", "-d", "--name", "hand-made", "-p", f"{PORT}:5000", "registry:2.8"]
    cluster.node_exec(NODE, hand_made)
    try:
        with registry(cluster, namespace, "taken", **EPHEMERAL, **HOST_PORT):
            taken = await_condition(cluster, namespace, "taken", "PortTaken")
            assert taken["message"] == f"another registry answers at {NODE}:{PORT}: docker stop it"
            cluster.node_exec(NODE, ["docker", "rm", "-f", "hand-made"])
            serving = await_condition(cluster, namespace, "taken", "Serving")
            assert f"{NODE}:{PORT}" in serving["message"]
    finally:
        cluster.node_exec(NODE, ["docker", "rm", "-f", "hand-made"], check=False)


@pytest.mark.parametrize("level", ["restricted", "baseline"])
def test_a_host_port_that_pod_security_forbids_says_what_to_do(cluster: Cluster, level: str) -> None:
    with a_namespace(cluster, "secure", {"pod-security.kubernetes.io/enforce": level}) as secure:
        with registry(cluster, secure, "main", **EPHEMERAL, **HOST_PORT):
            refused = await_condition(cluster, secure, "main", "PodSecurity")
            assert f"kubectl label --overwrite namespace {secure}" in refused["message"]
            assert "spec.access.nodePort" in refused["message"]
        with registry(cluster, secure, "other", **EPHEMERAL, access={"nodePort": {}}):
            await_condition(cluster, secure, "other", "Serving")


@pytest.mark.parametrize(
    ("reason", "text", "spec"),
    [
        ("ErrImageNeverPull", "no-such-image", {**EPHEMERAL, "image": "no-such-image:1", "imagePullPolicy": "Never"}),
        ("ImagePullBackOff", "localhost:1/none", {**EPHEMERAL, "image": "localhost:1/none:1"}),
        ("Unschedulable", "0/2 nodes are available", {**EPHEMERAL, "nodeSelector": {"no": "such-node"}}),
        ("ClaimNotFound", "PersistentVolumeClaim no-such-claim", {"storage": {"existingClaim": "no-such-claim"}}),
        ("FailedMount", f"{ROOT}/absent", local("absent")),
        (
            "CrashLoopBackOff",
            "exit code",
            {**EPHEMERAL, "config": {"log": {"level": "no-such-level"}}},
        ),
        (
            "NodesNotReplicas",
            "matching nodes: k8smaster, k8sworker1",
            {**EPHEMERAL, "access": {"hostPort": {"port": 5067}}, "replicas": 1},
        ),
    ],
)
def test_each_trouble_has_its_reason(
    cluster: Cluster, namespace: str, reason: str, text: str, spec: dict[str, Any]
) -> None:
    kind = "StorageReady" if reason in ("ClaimNotFound", "FailedMount") else "Ready"
    with registry(cluster, namespace, "troubled", **spec):
        condition = await_condition(cluster, namespace, "troubled", reason, kind)
        assert condition["status"] == "False"
        assert text in condition["message"]


def test_a_subtree_that_the_pod_may_not_write_is_named_with_the_remedy(cluster: Cluster, namespace: str) -> None:
    root = f"{ROOT}/foreign"
    inside = f"{root}/docker/registry/v2/blobs/sha256"
    # The root matches, so that kubelet's OnRootMismatch leaves what is below as it is.
    cluster.node_exec(NODE, ["mkdir", "-p", inside])
    cluster.node_exec(NODE, ["chgrp", "65532", root])
    cluster.node_exec(NODE, ["chmod", "2775", root])
    with registry(cluster, namespace, "foreign", **local("foreign")):
        condition = await_condition(cluster, namespace, "foreign", "VolumeNotWritable", "StorageReady")
        assert condition["status"] == "False"
        assert "owned by 0:0" in condition["message"]
        assert f"chgrp -R 65532 {root}" in condition["message"]


def test_a_quota_is_named(cluster: Cluster) -> None:
    with a_namespace(cluster, "quota") as small:
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "no-pods", "namespace": small},
            "spec": {"hard": {"pods": "0"}},
        }
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(quota))
        with registry(cluster, small, "main", **EPHEMERAL):
            condition = await_condition(cluster, small, "main", "QuotaExceeded")
            assert "exceeded quota: no-pods" in condition["message"]
