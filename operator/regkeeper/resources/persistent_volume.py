"""The local PersistentVolume of `storage.local`: a directory of one node."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import REGISTRY_NAMESPACE_LABEL, claim_name, object_labels, persistent_volume_name

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
