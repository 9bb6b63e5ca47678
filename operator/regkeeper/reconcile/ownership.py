"""Whose an object is. Only what is proved to be this Registry's is ever applied with force, changed or deleted."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from regkeeper import kube, naming
from regkeeper.api.v1alpha1.base import Metadata
from regkeeper.errors import BlockedError, WaitingError


class Owner(Enum):
    """Whose an object is."""

    OURS = "ours"
    FORMER = "former"
    """Of a deleted Registry of the same name: the garbage collector is about to take it."""
    FOREIGN = "foreign"


def owner_of(body: Mapping[str, Any], registry: Metadata, kind: str = kube.REGISTRY.kind) -> Owner:
    """Whose `body` is, seen from the Registry with that metadata.

    The proof is the owner reference with the Registry's uid. A claim that was kept, and the cluster-scoped volume, have
    none. Theirs is our label, which a backup keeps too, or that an apply of ours stands under the name that they have
    of this Registry alone: labels are changed by accident.
    """
    metadata = body["metadata"]
    references = metadata.get("ownerReferences") or ()
    if any(reference["uid"] == registry.uid for reference in references):
        return Owner.OURS
    for reference in references:
        same_name = reference["kind"] == kind and reference["name"] == registry.name
        if same_name and reference["apiVersion"].startswith(naming.GROUP + "/"):
            return Owner.FORMER
    match body["kind"]:
        case "PersistentVolumeClaim" if not references:
            name = naming.claim_name(registry.name)
        case "PersistentVolume":
            # It holds a digest of namespace and name, and only an administrator can make one.
            name = naming.persistent_volume_name(registry.namespace, registry.name)
        case _:
            return Owner.FOREIGN
    is_ours = _is_labelled(metadata, registry) or (metadata["name"] == name and _is_applied(metadata))
    return Owner.OURS if is_ours else Owner.FOREIGN


def _is_labelled(metadata: Mapping[str, Any], registry: Metadata) -> bool:
    labels = metadata.get("labels") or {}
    namespace = metadata.get("namespace") or labels.get(naming.REGISTRY_NAMESPACE_LABEL)
    return labels.get(naming.REGISTRY_LABEL) == registry.name and namespace == registry.namespace


def _is_applied(metadata: Mapping[str, Any]) -> bool:
    return any(
        entry["manager"] == naming.FIELD_MANAGER and entry["operation"] == "Apply" and not entry.get("subresource")
        for entry in metadata.get("managedFields") or ()
    )


def applies(body: Mapping[str, Any], field_name: str) -> bool:
    """Whether an apply of ours set a field of the spec: leaving it out now would ask the API server to remove it."""
    return any(
        f"f:{field_name}" in entry["fieldsV1"].get("f:spec", {})
        for entry in body["metadata"].get("managedFields") or ()
        if entry["manager"] == naming.FIELD_MANAGER and entry["operation"] == "Apply"
    )


def require_ours(body: Mapping[str, Any], registry: Metadata, owner_kind: str = kube.REGISTRY.kind) -> None:
    """Check that `body` belongs to the Registry with that metadata.

    Raises:
        WaitingError: it goes away by itself.
        BlockedError: it is somebody else's; the message says what to do.
    """
    kind, name = body["kind"], body["metadata"]["name"]
    match owner_of(body, registry, owner_kind):
        case Owner.OURS:
            return
        case Owner.FORMER:
            raise WaitingError(
                f"{kind} {name} belongs to a deleted {owner_kind} of this name: waiting until it is gone",
                reason="FormerObject",
                delay=1,
            )
        case Owner.FOREIGN if kind == "PersistentVolumeClaim":
            raise BlockedError(
                f"PersistentVolumeClaim {name} exists and is not this Registry's. To keep the images on it here, label "
                f"it {naming.REGISTRY_LABEL}={registry.name}, or name it in spec.storage.existingClaim; "
                "otherwise delete or rename it",
                reason="ForeignObject",
            )
        case Owner.FOREIGN:
            raise BlockedError(
                f"{kind} {name} exists and is not this {owner_kind}'s: delete it, or give the latter another name",
                reason="ForeignObject",
            )
