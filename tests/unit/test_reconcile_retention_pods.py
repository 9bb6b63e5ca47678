"""What pods tell of runs, of who has the volume, and of what is a registry's."""

from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.retention import pods
from tests.retention_decisions import DONE, NOON, SWITCH, a_pod

RUNNING: dict[str, Any] = {"running": {}}


@pytest.mark.parametrize(
    ("pod", "stopped"),
    [
        (a_pod("Succeeded", plan=SWITCH, run=DONE), True),
        (a_pod("Running", plan=SWITCH, run=RUNNING), False),
        (a_pod("Failed", plan=SWITCH, run=RUNNING), False),
        (a_pod("Pending"), False),
        (a_pod("Pending", node=None), True),
    ],
)
def test_a_phase_alone_is_no_proof_that_containers_have_stopped(pod: kube.Object, stopped: bool) -> None:
    assert pods.has_stopped(pod) is stopped


def mounting(name: str, *, read_only: bool = False, phase: str = "Running", **metadata: Any) -> kube.Object:
    return {
        "metadata": {"name": name, **metadata},
        "spec": {
            "containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": read_only}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "main-storage"}}],
        },
        "status": {"phase": phase},
    }


def test_who_may_write_to_the_volume() -> None:
    found = [mounting("a"), mounting("b", read_only=True), mounting("c", phase="Succeeded"), mounting("d")]
    assert pods.writers(found, "main-storage", may=lambda pod: pod["metadata"]["name"] == "d") == ["a"]
    assert pods.writers(found, "other", may=lambda _: False) == []


def test_a_volume_is_where_a_pod_has_it_not_where_one_had_it() -> None:
    evicted, ends, lives = a_pod("Failed", node="a"), a_pod(node="b"), a_pod(node="c")
    ends["metadata"]["deletionTimestamp"] = NOON.isoformat()
    assert pods.last_to_hold([evicted, ends, lives]) is lives
    assert pods.last_to_hold([evicted, ends, a_pod("Pending", node=None)]) is ends
    assert pods.last_to_hold([evicted]) is None


def test_labels_alone_make_no_pod_a_registrys() -> None:
    labels = {**naming.selector_labels("main"), "pod-template-hash": "5d9"}
    owner = {"kind": "ReplicaSet", "name": "main-5d9", "controller": True, "uid": "x"}
    assert pods.is_of_registry(mounting("main-5d9-x", labels=labels, ownerReferences=[owner]), "main")
    assert not pods.is_of_registry(mounting("main-5d9-y", labels=labels), "main")
    stranger = {**owner, "name": "other-5d9"}
    assert not pods.is_of_registry(mounting("main-5d9-z", labels=labels, ownerReferences=[stranger]), "main")
