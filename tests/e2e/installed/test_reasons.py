"""The reason of each trouble, provoked for real.

Proves of registry.md: "Reasons come from the pod's status, its Events (FailedMount …) and the Deployment's
`ReplicaFailure`; each reason is provoked for real in a test". VolumeNotWritable and PortTaken: test_takeover.py.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest

from tests.e2e.installed.conftest import DIRECTORIES, WORKER, MakeRoom, make_shared_claim
from tests.room import SOON, Room, on_node
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

PORT = 5066


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
    condition = troubled_room.await_condition(trouble.kind, trouble.reason, name_of(trouble), saying=trouble.text)
    assert condition["status"] == "False"


def test_a_host_port_that_pod_security_forbids_says_what_to_do(make_room: MakeRoom) -> None:
    """registry.md: "`restricted` in all but `hostPort`, which even `baseline` forbids. Where the namespace enforces it,
    `Ready` is False, reason `PodSecurity`, with the label to set and NodePort as the way without".
    """
    rooms = [make_room({"pod-security.kubernetes.io/enforce": level}) for level in ("baseline", "restricted")]
    for room, port in zip(rooms, (PORT, PORT + 1), strict=True):
        room.registry(access={"hostPort": {"port": port}}, **on_node("k8smaster"))
        room.registry("other", storage={"size": "1Gi"}, access={"nodePort": {}})
    for room in rooms:
        refused = room.await_condition("Ready", "PodSecurity")
        assert refused["status"] == "False"
        remedy = f"kubectl label --overwrite namespace {room.namespace} pod-security.kubernetes.io/enforce=privileged"
        assert remedy in refused["message"]
        assert "spec.access.nodePort works under `restricted`" in refused["message"]
    for room in rooms:
        # A pod that was let in. Not until it serves: the controller tries the refused one ever more seldom.
        wait_for(partial(room.pods, "other"), SOON, "a pod without a host port")
        labels = ("--overwrite", "namespace", room.namespace, "pod-security.kubernetes.io/enforce=privileged")
        room.kubectl("label", *labels)
    for room in rooms:
        room.await_serving()
        room.await_serving("other")


def test_a_quota_is_named(room: Room) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-pods"}}
    room.apply({**quota, "spec": {"hard": {"pods": "0"}}})
    # Until it has been counted, pods are refused in other words, or let in where nobody has heard of it yet.
    room.kubectl("wait", "--for=jsonpath={.status.hard.pods}=0", "resourcequota/no-pods", f"--timeout={SOON}s")
    room.registry()
    room.await_condition("Ready", "QuotaExceeded", saying="exceeded quota: no-pods")


def test_a_volume_that_can_not_be_attached_is_named(room: Room) -> None:
    """The attacher of a CSI driver says no, as it does where a node lacks the driver. No such program runs here: the
    controller manager, which asks it and posts the Event, is real.
    """
    volume = make_shared_claim(room, {"csi": {"driver": "none.example", "volumeHandle": "one"}})
    room.registry(storage={"existingClaim": "shared"}, **on_node(WORKER))

    def attachment() -> str:
        listed = json.loads(room.cluster.kubectl("get", "volumeattachments", "--output=json"))["items"]
        names = (
            each["metadata"]["name"] for each in listed if each["spec"]["source"]["persistentVolumeName"] == volume
        )
        return next(names, "")

    name = wait_for(attachment, SOON, "the controller manager to ask for the volume")
    refused = {"attached": False, "attachError": {"message": f"CSINode {WORKER} does not contain driver none.example"}}
    patch = json.dumps({"status": refused})
    room.cluster.kubectl("patch", "volumeattachment", name, "--subresource=status", "--type=merge", f"--patch={patch}")
    said = "does not contain driver none.example"
    condition = room.await_condition("StorageReady", "FailedAttachVolume", saying=said)
    assert condition["status"] == "False"


@contextmanager
def broken_pod_network(room: Room) -> Iterator[None]:
    """New pods of the worker get no network: its first configuration names a plugin that is not there."""
    path = room.cluster.node(WORKER).root / "etc/cni/net.d/00-broken.conflist"
    plugins = [{"type": "no-such-plugin"}]
    path.write_text(json.dumps({"cniVersion": "0.4.0", "name": "broken", "plugins": plugins}))
    try:
        yield
    finally:
        path.unlink()


def test_a_pod_without_network_says_why(room: Room) -> None:
    with broken_pod_network(room):
        room.registry(**on_node(WORKER))
        condition = room.await_condition("Ready", "FailedCreatePodSandBox", saying="no-such-plugin")
        assert condition["status"] == "False"
    room.await_serving()
