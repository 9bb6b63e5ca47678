"""Metadata that every object of a Registry carries: name, namespace, labels, owner reference."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.naming import object_labels


def owner_reference(owner: Registry | ImageRetention) -> dict[str, Any]:
    """The controller reference by which the garbage collector removes an object with its owner."""
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def object_metadata(registry: Registry, name: str, *, owned: bool = True) -> dict[str, Any]:
    """Metadata of a namespaced object of `registry`; `owned=False` for what outlives it."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": registry.metadata.namespace,
        "labels": object_labels(registry.metadata.name),
    }
    if owned:
        metadata["ownerReferences"] = [owner_reference(registry)]
    return metadata
