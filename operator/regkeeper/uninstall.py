"""What is left to do when the operator goes: take its finalizers off, which nobody else would (kopf#1088)."""

from collections.abc import AsyncIterator, Sequence

from regkeeper import kube, naming

OURS = {naming.FINALIZER, naming.NODE_TRUST_FINALIZER}


async def release_finalizers(cluster: kube.Cluster, namespaces: Sequence[str]) -> AsyncIterator[str]:
    """Take regkeeper's finalizers off every Registry, and yield `namespace/name` of each that had one.

    Nothing else changes: the Registries stay, and so do their objects, their images and what nodes trust. The
    Registries are listed until none has a finalizer, since an operator that is about to end may set it once more.

    Args:
        cluster: the API server.
        namespaces: whose Registries; empty: all.

    Raises:
        kube.ApiError: the API server refused, or can't be reached.
    """
    scopes: Sequence[str | None] = namespaces or [None]
    found = True
    while found:
        found = False
        for namespace in scopes:
            async for registry in cluster.list(kube.REGISTRY, namespace, metadata_only=True):
                metadata = registry["metadata"]
                if OURS & set(metadata.get("finalizers", ())):
                    found = True
                    if await _release(cluster, metadata):
                        yield f"{metadata['namespace']}/{metadata['name']}"


async def _release(cluster: kube.Cluster, metadata: kube.Object) -> bool:
    """Whether the finalizers came off; False if the object changed meanwhile, and is to be looked at again."""
    left = [finalizer for finalizer in metadata["finalizers"] if finalizer not in OURS]
    # The version is a precondition: a merge patch replaces the list, and must not undo what somebody else put there.
    body = {"metadata": {"finalizers": left, "resourceVersion": metadata["resourceVersion"]}}
    try:
        await cluster.patch(kube.REGISTRY, metadata["namespace"], metadata["name"], body)
    except (kube.ConflictError, kube.NotFoundError):
        return False
    return True
