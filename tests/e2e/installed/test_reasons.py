"""The reason of each trouble, provoked for real.

Proves of registry.md: "Reasons come from the pod's status, its Events (FailedMount …) and the Deployment's
`ReplicaFailure`; each reason is provoked for real in a test". VolumeNotWritable and PortTaken: test_takeover.py.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.e2e.installed.conftest import DIRECTORIES, WORKER, MakeRoom
from tests.room import Room, on_node

pytestmark = pytest.mark.nodes

PORT = 5066
HOST_PORT = {"access": {"hostPort": {"port": PORT}}, **on_node("k8smaster")}


class Trouble(NamedTuple):
    """A spec that can't serve, and what the condition is to say."""

    reason: str
    text: str
    spec: dict[str, Any]
    kind: str = "Ready"


ABSENT = f"{DIRECTORIES}/absent"
TROUBLES = (
    Trouble("ErrImageNeverPull", "no-such-image", {"image": "no-such-image:1", "imagePullPolicy": "Never"}),
    Trouble("ImagePullBackOff", "localhost:1/none", {"image": "localhost:1/none:1"}),
    Trouble("Unschedulable", "0/2 nodes are available", {"nodeSelector": {"no": "such-node"}}),
    Trouble(
        "ClaimNotFound",
        "PersistentVolumeClaim no-such-claim",
        {"storage": {"existingClaim": "no-such-claim"}},
        "StorageReady",
    ),
    Trouble("FailedMount", ABSENT, {"storage": {"local": {"node": WORKER, "path": ABSENT}}}, "StorageReady"),
    Trouble("CrashLoopBackOff", "exit code", {"config": {"log": {"level": "no-such-level"}}}),
)


def name_of(trouble: Trouble) -> str:
    return trouble.reason.lower()


@pytest.fixture(scope="module")
def troubled_room(local_room: Room) -> Iterator[Room]:
    """One Registry for each trouble, all at once: kubelet takes its time to give up."""
    for trouble in TROUBLES:
        local_room.registry(name_of(trouble), **trouble.spec)
    yield local_room
    for trouble in TROUBLES:
        local_room.delete("registry", name_of(trouble))


@pytest.mark.parametrize("trouble", TROUBLES, ids=name_of)
def test_each_trouble_has_its_reason(troubled_room: Room, trouble: Trouble) -> None:
    condition = troubled_room.await_condition(trouble.kind, trouble.reason, name_of(trouble))
    assert condition["status"] == "False"
    assert trouble.text in condition["message"]


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_host_port_that_pod_security_forbids_says_what_to_do(make_room: MakeRoom, level: str) -> None:
    """registry.md: "`restricted` in all but `hostPort`, which even `baseline` forbids. Where the namespace enforces it,
    `Ready` is False, reason `PodSecurity`, with the label to set and NodePort as the way without".
    """
    room = make_room({"pod-security.kubernetes.io/enforce": level})
    room.registry(**HOST_PORT)
    refused = room.await_condition("Ready", "PodSecurity")
    assert refused["status"] == "False"
    remedy = f"kubectl label --overwrite namespace {room.namespace} pod-security.kubernetes.io/enforce=privileged"
    assert remedy in refused["message"]
    assert "spec.access.nodePort works under `restricted`" in refused["message"]
    room.registry("other", storage={"size": "1Gi"}, access={"nodePort": {}})
    room.await_serving("other")
    room.kubectl("label", "--overwrite", "namespace", room.namespace, "pod-security.kubernetes.io/enforce=privileged")
    room.await_serving()


def test_a_quota_is_named(room: Room) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-pods"}}
    room.apply({**quota, "spec": {"hard": {"pods": "0"}}})
    room.registry()
    condition = room.await_condition("Ready", "QuotaExceeded")
    assert "exceeded quota: no-pods" in condition["message"]
