"""What is left to do when the operator goes.

After it, take its finalizers off, which nobody else would (kopf#1088); before it, if that is wanted, have nodes forget.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from itertools import product

from regkeeper import kube, naming

POLL_SECONDS = 1.0

HOLDING = ((kube.REGISTRY, ""), (kube.JOB, naming.RETENTION_LABEL))
"""Kinds that our finalizers hold, and the label of those that can have one."""


async def release_finalizers(cluster: kube.Cluster, namespaces: Sequence[str]) -> AsyncIterator[str]:
    """Take regkeeper's finalizers off every Registry and every run, and yield `namespace/name` of each that had one.

    Nothing else changes: the Registries stay, and so do their objects, their images and what nodes trust. They are
    listed until none has a finalizer of ours, since an operator that is about to end may set it once more. One that the
    API server refuses to change holds up no other.

    Args:
        cluster: the API server.
        namespaces: whose Registries and runs; empty: all.

    Raises:
        kube.ApiError: the API server can't be reached, or refused; refusals are named together, after all the rest.
    """
    scopes: Sequence[str | None] = namespaces or [None]
    refused: dict[str, kube.ApiError] = {}
    found = True
    while found:
        found = False
        refused.clear()
        for (resource, label), namespace in product(HOLDING, scopes):
            async for metadata in _there(cluster, resource, namespace, label):
                if any(map(_is_ours, metadata.get("finalizers", ()))):
                    name = f"{metadata['namespace']}/{metadata['name']}"
                    try:
                        released = await _release(cluster, resource, metadata)
                    except (kube.ForbiddenError, kube.InvalidError) as error:
                        refused[f"{resource.kind} {name}"] = error
                        continue
                    found = True
                    if released:
                        yield name
    if refused:
        raise _all_in_one(refused)


async def _there(
    cluster: kube.Cluster, resource: kube.Resource, namespace: str | None, label: str
) -> AsyncIterator[kube.Object]:
    """The metadata of all objects of a kind; none where the kind itself was deleted, and they with it."""
    with suppress(kube.NotFoundError):
        async for body in cluster.list(resource, namespace, label_selector=label, metadata_only=True):
            yield body["metadata"]


def _is_ours(finalizer: str) -> bool:
    return finalizer.startswith(f"{naming.GROUP}/")


def _all_in_one(refused: Mapping[str, kube.ApiError]) -> kube.ApiError:
    first = next(iter(refused.values()))
    return kube.ApiError(
        "; ".join(f"{name}: {error}" for name, error in refused.items()), code=first.code, reason=first.reason
    )


async def _release(cluster: kube.Cluster, resource: kube.Resource, metadata: kube.Object) -> bool:
    """Whether the finalizers came off; False if the object changed meanwhile, and is to be looked at again."""
    left = [finalizer for finalizer in metadata["finalizers"] if not _is_ours(finalizer)]
    # The version is a precondition: a merge patch replaces the list, and must not undo what somebody else put there.
    body = {"metadata": {"finalizers": left, "resourceVersion": metadata["resourceVersion"]}}
    try:
        await cluster.patch(resource, metadata["namespace"], metadata["name"], body)
    except (kube.ConflictError, kube.NotFoundError):
        return False
    return True


async def revert_nodes(cluster: kube.Cluster, namespace: str) -> None:
    """Have the operator take back what nodes trust, and return when every node has forgotten. It must still run.

    Args:
        cluster: the API server.
        namespace: of the node agents.

    Raises:
        kube.ApiError: the API server refused, or can't be reached.
    """
    body = {"metadata": {"annotations": {naming.REVERT_ANNOTATION: "true"}}}
    try:
        await cluster.patch(kube.DAEMON_SET, namespace, naming.NODE_AGENT, body)
        while True:
            await cluster.get(kube.DAEMON_SET, namespace, naming.NODE_AGENT)
            await asyncio.sleep(POLL_SECONDS)
    except kube.NotFoundError:
        return
