"""The whole operator against a real API server: what is a Registry's, and what is somebody else's."""

from typing import Any

import pytest

from regkeeper import naming
from tests.e2e.operated_room import SOON, OperatedRoom
from tests.operator_process import a_namespace
from tests.room import Room
from tests.waiting import wait_for

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("operator-ownership")]


@pytest.mark.parametrize(
    ("kind", "name", "body"),
    [
        ("ConfigMap", "main-config", {"apiVersion": "v1", "data": {"mine": "yes"}}),
        ("Service", "main", {"apiVersion": "v1", "spec": {"ports": [{"port": 80}]}}),
        (
            "Deployment",
            "main",
            {
                "apiVersion": "apps/v1",
                "spec": {
                    "selector": {"matchLabels": {"app": "mine"}},
                    "template": {
                        "metadata": {"labels": {"app": "mine"}},
                        "spec": {"containers": [{"name": "mine", "image": "mine"}]},
                    },
                },
            },
        ),
        (
            "PersistentVolumeClaim",
            "main-storage",
            {
                "apiVersion": "v1",
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            },
        ),
        (
            "PodDisruptionBudget",
            "main",
            {
                "apiVersion": "policy/v1",
                "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "mine"}}},
            },
        ),
    ],
)
def test_a_foreign_object_is_never_touched_and_named(
    room: OperatedRoom, kind: str, name: str, body: dict[str, Any]
) -> None:
    room.apply({**body, "kind": kind, "metadata": {"name": name, "namespace": room.namespace}})
    before = room.get(kind, name)
    room.registry(storage={"size": "1Gi", "accessModes": ["ReadWriteMany"]}, replicas=2)
    stalled = room.await_condition("Stalled", "ForeignObject")
    assert f"{kind} {name} exists and is not this Registry's" in stalled["message"]
    assert room.condition("Ready")["status"] == "False"
    after = room.get(kind, name)
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert {key: after[key] for key in body} == {key: before[key] for key in body}
    assert naming.FIELD_MANAGER not in {entry["manager"] for entry in after["metadata"]["managedFields"]}
    assert "ownerReferences" not in after["metadata"]


def test_one_volume_has_one_registry_and_the_next_moves_up(room: OperatedRoom) -> None:
    room.registry("first", storage={"existingClaim": "shared"})
    room.settle("first")
    room.registry("second", storage={"existingClaim": "shared"})
    stalled = room.await_condition("Stalled", "VolumeInUse", "second")
    assert f"Registry {room.namespace}/first" in stalled["message"]
    assert room.get("deployment", "second") is None
    room.delete("registry", "first")
    room.settle("second")
    assert room.condition("Stalled", "second") == {}


def test_a_local_directory_that_is_not_allowed_is_refused(room: OperatedRoom) -> None:
    room.registry(storage={"local": {"node": "k8smaster", "path": "/etc"}})
    stalled = room.await_condition("Stalled", "InvalidSpec")
    assert "/etc on node k8smaster is not open to namespace" in stalled["message"]
    assert room.get("deployment") is None


def test_a_kept_claim_is_adopted_again(room: OperatedRoom) -> None:
    room.registry(storage={"size": "1Gi"})
    room.settle()
    kept = room.get("persistentvolumeclaim", "main-storage")
    assert kept is not None
    room.kubectl("delete", "registry", "main", "--cascade=foreground")
    room.registry(storage={"size": "1Gi"})
    room.settle()
    adopted = room.get("persistentvolumeclaim", "main-storage")
    assert adopted is not None
    assert adopted["metadata"]["uid"] == kept["metadata"]["uid"]


@pytest.mark.parametrize("label", [None, "another"])
def test_a_kept_claim_gets_back_the_label_that_it_lost(room: OperatedRoom, label: str | None) -> None:
    """registry.md: "a child whose label was removed is still repaired"; this one has no owner reference either."""
    room.registry(storage={"size": "1Gi"})
    room.settle()
    room.label("persistentvolumeclaim", "main-storage", **{naming.REGISTRY_LABEL: label})
    wait_for(
        lambda: (
            room.need("persistentvolumeclaim", "main-storage")["metadata"].get("labels", {}).get(naming.REGISTRY_LABEL)
            == "main"
        ),
        SOON,
        "the claim's label",
    )
    assert room.condition("Stalled") == {}


def test_other_namespaces_are_not_ours(room: OperatedRoom) -> None:
    with a_namespace(room.cluster, "unwatched") as name:
        other = Room(room.cluster, name)
        other.registry()
        room.registry()
        room.settle()
        assert other.get("deployment") is None
        assert other.condition("Ready") == {}
