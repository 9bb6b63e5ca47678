"""Writes and empties the ConfigMaps that tell a run what it must know."""

from base64 import b64decode
from datetime import datetime

from regkeeper import kube, naming, snapshot
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.reconcile.ownership import require_ours
from regkeeper.resources.retention import snapshot_part
from regkeeper.snapshot import Document, Part, Stage

EMPTY = Part("", b"")


class Snapshots:
    """The ConfigMaps of all Registries. They are not watched: each is up to a megabyte, and only runs read them."""

    def __init__(self, cluster: kube.Cluster) -> None:
        self._cluster = cluster

    async def publish(self, registry: Registry, document: Document, *, run: str, stage: Stage, now: datetime) -> None:
        """Tell a run what it must know. Its generation is the time, so that it grows whoever writes it.

        Raises:
            SnapshotTooLargeError: it does not fit.
            BlockedError, WaitingError: a ConfigMap of that name is not this Registry's.
        """
        parts = snapshot.encode(document, run=run, generation=round(now.timestamp() * 1000), stage=stage)
        await self._write(registry, parts)

    async def told(self, registry: Registry, run: str, generation: int | None) -> Document | None:
        """What a run was told and went by; None if that is not there any more."""
        parts = []
        for number in range(snapshot.PARTS):
            name = naming.snapshot_name(registry.metadata.name, number)
            try:
                body = await self._cluster.get(kube.CONFIG_MAP, registry.metadata.namespace, name)
            except kube.NotFoundError:
                continue
            content = (body.get("binaryData") or {}).get("part", "")
            parts.append(Part((body.get("data") or {}).get("header", ""), b64decode(content)))
        return snapshot.decode(parts, run, generation)

    async def empty(self, registry: Registry) -> None:
        """Leave nothing of what a run was told."""
        await self._write(registry, [EMPTY] * snapshot.PARTS)

    async def _write(self, registry: Registry, parts: list[Part]) -> None:
        live = {body["metadata"]["name"]: body async for body in self._listed(registry)}
        for number, part in enumerate(parts):
            body = snapshot_part(registry, number, part)
            name = body["metadata"]["name"]
            there = live.get(name)
            if there is None and part.header:
                # Applied without force: what somebody else has under this name is in conflict with ours.
                await self._cluster.apply(body, force=False)
            elif there is not None:
                require_ours(there, registry.metadata)
                body["metadata"]["uid"] = there["metadata"]["uid"]
                await self._cluster.apply(body, force=True)

    def _listed(self, registry: Registry):  # type: ignore[no-untyped-def]
        return self._cluster.list(
            kube.CONFIG_MAP,
            registry.metadata.namespace,
            label_selector=f"{naming.SNAPSHOT_LABEL}={registry.metadata.name}",
            metadata_only=True,
        )
