"""The PersistentVolumeClaim."""

from typing import Any

import pytest

from regkeeper.resources.claim import claim
from tests.registry_objects import SHARED, a_registry


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
