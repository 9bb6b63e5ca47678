"""The claim that keeps the images and its local PersistentVolume, and how many pods may write to them."""

from collections.abc import Sequence
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.errors import BlockedError, InvalidSpecError
from regkeeper.naming import REGISTRY_NAMESPACE_LABEL, claim_name, object_labels, persistent_volume_name
from regkeeper.resources.metadata import object_metadata

DEFAULT_ACCESS_MODES = ("ReadWriteOnce",)


def storage_claim(registry: Registry) -> str | None:
    """Name of the claim that the pods mount; None for ephemeral storage."""
    storage = registry.spec.storage
    if storage.ephemeral is not None:
        return None
    return storage.existing_claim or claim_name(registry.metadata.name)


def is_shared(registry: Registry, access_modes: Sequence[str] | None = None) -> bool:
    """Whether several pods, on several nodes, may write to the storage at once.

    Args:
        registry: The Registry.
        access_modes: Those of the claim that is there, which count: an adopted or existing claim may have others
            than the spec asks for. None while there is no claim: what the spec says counts, and of an existing claim
            it says that several pods may write to it by asking for them.
    """
    storage = registry.spec.storage
    if storage.ephemeral is not None or storage.local is not None:
        return False
    if access_modes is None and storage.existing_claim is not None:
        return (registry.spec.replicas or 1) > 1
    return "ReadWriteMany" in (access_modes if access_modes is not None else storage.access_modes or ())


def applied_replicas(registry: Registry, access_modes: Sequence[str] | None = None) -> int | None:
    """Number of pods that we apply; None leaves the number to whoever else sets it (an autoscaler).

    Raises:
        InvalidSpecError: The spec asks for more pods than its storage allows.
        BlockedError: It asks for more than the claim that is there allows; another one may take that one's place.
    """
    replicas = registry.spec.replicas
    if is_shared(registry, access_modes):
        return replicas
    if replicas is not None and replicas > 1:
        message = (
            f"spec.replicas is {replicas}, but only one pod can write to this storage: set it to 1, "
            "or use a claim with the access mode ReadWriteMany"
        )
        if access_modes is None:
            raise InvalidSpecError(message)
        raise BlockedError(message, reason="ClaimNotShared")
    return 1 if replicas is None else replicas


LOCAL_CAPACITY = "1Gi"
"""A PersistentVolume must state a capacity. That of a directory is its file system's; nobody enforces this one."""

HOSTNAME_LABEL = "kubernetes.io/hostname"


def persistent_volume(registry: Registry, *, hostname: str | None = None) -> dict[str, Any] | None:
    """Build the volume; None for other kinds of storage.

    Its claimRef is there from the start, so that no other claim can take it. The policy is Retain, and a namespaced
    Registry can't own it: our finalizer removes the object, never the directory.

    Args:
        registry: The Registry.
        hostname: The node's label kubernetes.io/hostname, by which the scheduler finds it; None: the node's name,
            which it is nearly everywhere.
    """
    local = registry.spec.storage.local
    if local is None:
        return None
    name, namespace = registry.metadata.name, registry.metadata.namespace
    node = {"key": HOSTNAME_LABEL, "operator": "In", "values": [hostname or local.node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": persistent_volume_name(namespace, name),
            "labels": {**object_labels(name), REGISTRY_NAMESPACE_LABEL: namespace},
        },
        "spec": {
            "capacity": {"storage": LOCAL_CAPACITY},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "volumeMode": "Filesystem",
            "local": {"path": local.path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace,
                "name": claim_name(name),
            },
        },
    }


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
