"""Whose what has no owner reference is: a claim that was kept, and a local volume."""

from typing import Any

import pytest

from regkeeper import naming
from regkeeper.reconcile.ownership import Owner, owner_of
from tests.registry_objects import a_registry

REGISTRY = a_registry().metadata
CLAIM = naming.claim_name(REGISTRY.name)
VOLUME = naming.persistent_volume_name(REGISTRY.namespace, REGISTRY.name)

LABEL = {naming.REGISTRY_LABEL: REGISTRY.name}
BOTH_LABELS = {**LABEL, naming.REGISTRY_NAMESPACE_LABEL: REGISTRY.namespace}
APPLIED = {"manager": naming.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {}}}
STRANGER = {"apiVersion": "v1", "kind": "Job", "name": "backup", "uid": "another"}


def owner(kind: str, name: str, **metadata: Any) -> Owner:
    namespace = {"namespace": REGISTRY.namespace} if kind == "PersistentVolumeClaim" else {}
    return owner_of({"kind": kind, "metadata": {"name": name, **namespace, **metadata}}, REGISTRY)


@pytest.mark.parametrize(
    ("name", "metadata", "expected"),
    [
        (CLAIM, {"labels": LABEL}, Owner.OURS),
        (CLAIM, {"managedFields": [APPLIED]}, Owner.OURS),
        (CLAIM, {"managedFields": [APPLIED], "labels": {naming.REGISTRY_LABEL: "other"}}, Owner.OURS),
        ("of-another-name", {"managedFields": [APPLIED]}, Owner.FOREIGN),
        (CLAIM, {}, Owner.FOREIGN),
        (CLAIM, {"managedFields": [{**APPLIED, "manager": "helm"}]}, Owner.FOREIGN),
        (CLAIM, {"managedFields": [{**APPLIED, "operation": "Update"}]}, Owner.FOREIGN),
        (CLAIM, {"managedFields": [{**APPLIED, "subresource": "status"}]}, Owner.FOREIGN),
        (CLAIM, {"labels": LABEL, "managedFields": [APPLIED], "ownerReferences": [STRANGER]}, Owner.FOREIGN),
    ],
)
def test_a_claim_is_ours_by_its_label_or_by_an_apply_under_its_name(
    name: str, metadata: dict[str, Any], expected: Owner
) -> None:
    assert owner("PersistentVolumeClaim", name, **metadata) is expected


@pytest.mark.parametrize(
    ("name", "metadata", "expected"),
    [
        (VOLUME, {"labels": BOTH_LABELS}, Owner.OURS),
        (VOLUME, {"managedFields": [APPLIED]}, Owner.OURS),
        (VOLUME, {"labels": LABEL}, Owner.FOREIGN),
        (VOLUME, {"labels": {**LABEL, naming.REGISTRY_NAMESPACE_LABEL: "another"}}, Owner.FOREIGN),
        (naming.persistent_volume_name("another", REGISTRY.name), {"managedFields": [APPLIED]}, Owner.FOREIGN),
        (VOLUME, {}, Owner.FOREIGN),
    ],
)
def test_a_volume_is_ours_by_both_labels_or_by_an_apply_under_its_name(
    name: str, metadata: dict[str, Any], expected: Owner
) -> None:
    assert owner("PersistentVolume", name, **metadata) is expected


def test_nothing_else_is_ours_without_an_owner_reference() -> None:
    assert owner("ConfigMap", "main-config", labels=BOTH_LABELS, managedFields=[APPLIED]) is Owner.FOREIGN
