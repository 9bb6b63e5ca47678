"""The PersistentVolumeClaim that keeps the images: of a class, or bound to the local PersistentVolume."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import claim_name, persistent_volume_name
from regkeeper.resources.metadata import object_metadata
from regkeeper.resources.persistent_volume import LOCAL_CAPACITY
from regkeeper.resources.storage import DEFAULT_ACCESS_MODES


def claim(registry: Registry) -> dict[str, Any] | None:
    """Build the claim; None where the spec names an existing one, or needs none.

    With `deletionPolicy: Retain` it has no owner reference, so that it outlives the Registry; our label with the
    Registry's name is what lets a later one adopt it.
    """
    storage = registry.spec.storage
    if storage.size is None and storage.local is None:
        return None
    name = registry.metadata.name
    spec: dict[str, Any] = {
        "accessModes": list(storage.access_modes or DEFAULT_ACCESS_MODES),
        "resources": {"requests": {"storage": storage.size or LOCAL_CAPACITY}},
    }
    if storage.local is not None:
        # An empty class keeps the default class away, the name binds the two without waiting for a pod.
        spec["storageClassName"] = ""
        spec["volumeName"] = persistent_volume_name(registry.metadata.namespace, name)
    elif storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": object_metadata(registry, claim_name(name), owned=storage.deletion_policy == "Delete"),
        "spec": spec,
    }
