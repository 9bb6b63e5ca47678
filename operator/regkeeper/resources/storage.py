"""What follows from the kind of storage: the claim's name, and how many pods may write to it."""

from collections.abc import Sequence

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.errors import BlockedError, InvalidSpecError
from regkeeper.naming import claim_name

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
