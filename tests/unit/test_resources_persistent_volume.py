"""The local PersistentVolume."""

from typing import Any

import pytest

from regkeeper.naming import persistent_volume_name
from regkeeper.resources.claim import claim
from regkeeper.resources.persistent_volume import persistent_volume
from tests.registry_objects import LOCAL, a_registry


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
