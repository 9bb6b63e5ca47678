"""The claim of a Registry and its local PersistentVolume."""

from typing import Any

import pytest

from regkeeper.naming import persistent_volume_name
from regkeeper.resources.storage import claim, persistent_volume
from tests.registry_objects import LOCAL, SHARED, a_registry


def built_claim(**storage: Any) -> dict[str, Any]:
    built = claim(a_registry(storage=storage))
    assert built is not None
    return built


def test_a_claim_of_the_clusters_class() -> None:
    built = built_claim(size="50Gi")
    assert built["metadata"]["name"] == "main-storage"
    assert built["metadata"]["labels"]["regkeeper.dev/registry"] == "main", "by which a later Registry adopts it"
    assert built["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "50Gi"}}}


@pytest.mark.parametrize("name", ["fast", ""])
def test_a_claim_of_a_class(name: str) -> None:
    assert built_claim(size="50Gi", storageClassName=name)["spec"]["storageClassName"] == name


def test_a_claim_that_several_nodes_may_write_to() -> None:
    assert built_claim(**SHARED)["spec"]["accessModes"] == ["ReadWriteMany"]


def test_a_claim_is_owned_only_if_it_goes_with_the_registry() -> None:
    assert "ownerReferences" not in built_claim(size="50Gi")["metadata"]
    (owner,) = built_claim(size="50Gi", deletionPolicy="Delete")["metadata"]["ownerReferences"]
    assert owner["kind"] == "Registry"


@pytest.mark.parametrize("storage", [{"existingClaim": "mine"}, {"ephemeral": {}}])
def test_no_claim_of_ours(storage: dict[str, Any]) -> None:
    assert claim(a_registry(storage=storage)) is None


@pytest.mark.parametrize("storage", [{"size": "1Gi"}, {"existingClaim": "mine"}, {"ephemeral": {}}])
def test_a_volume_of_ours_for_local_storage_only(storage: dict[str, Any]) -> None:
    assert persistent_volume(a_registry(storage=storage)) is None


def test_a_local_volume_and_its_claim_name_each_other() -> None:
    registry = a_registry(storage=LOCAL)
    volume, bound = persistent_volume(registry), claim(registry)
    assert volume is not None
    assert bound is not None
    assert volume["metadata"]["name"] == persistent_volume_name("images", "main") == bound["spec"]["volumeName"]
    assert volume["spec"]["claimRef"] == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": bound["metadata"]["namespace"],
        "name": bound["metadata"]["name"],
    }
    assert volume["spec"]["storageClassName"] == bound["spec"]["storageClassName"] == ""
    assert volume["spec"]["accessModes"] == bound["spec"]["accessModes"]
    assert volume["spec"]["capacity"] == bound["spec"]["resources"]["requests"]


def test_a_local_volume_keeps_the_directory_and_stays_on_its_node() -> None:
    volume = persistent_volume(a_registry(storage=LOCAL))
    assert volume is not None
    assert volume["spec"]["local"] == {"path": "/docker/var/lib/registry"}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert "namespace" not in volume["metadata"]
    assert "ownerReferences" not in volume["metadata"], "a namespaced object can't own it"
    assert volume["metadata"]["labels"]["regkeeper.dev/registry-namespace"] == "images"
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["k8smaster"]}
    assert volume["spec"]["nodeAffinity"] == {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}}


def test_a_local_volume_follows_the_nodes_label_where_it_is_not_its_name() -> None:
    volume = persistent_volume(a_registry(storage=LOCAL), hostname="master.example")
    assert volume is not None
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["master.example"]
