"""Writes the locks of volumes: each step of a run is such a write, and what it has come to stands there alone."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from regkeeper import kube
from regkeeper.errors import BlockedError
from regkeeper.naming import FIELD_MANAGER, REGISTRY_LABEL, RETENTION_LABEL, lock_name
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.conflicts import place_of
from regkeeper.reconcile.retention.run import AGAIN, Run, Turn
from regkeeper.reconcile.retention.scene import Scene
from regkeeper.reconcile.store import Store
from regkeeper.resources.lease import Lock, change, lease

logger = logging.getLogger(__name__)


class Locks:
    """The Leases. `changed` is told of each Registry that has to become quiet, or may cease to be."""

    def __init__(
        self,
        cluster: kube.Cluster,
        store: Store,
        registries: Store,
        objects: Objects,
        changed: Callable[[Key], None],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._registries = registries
        self._objects = objects
        self._changed = changed

    async def write(self, scene: Scene, live: kube.Object | None, lock: Lock) -> None:
        """Make the Lease of a volume say what `lock` says; `live` is the one that is there."""
        if live is None:
            body = lease(lock, claim=scene.claim, namespace=scene.key.namespace, registry=scene.registry.metadata.name)
            try:
                self._store.put(await self._cluster.create(body))
            except kube.ConflictError as error:
                if error.reason == "AlreadyExists":
                    await self._label(body)
                raise
        else:
            patch = change(lock)
            # It may be from a Registry that had the volume before: what looks at that one must not take it for its own.
            patch["metadata"]["labels"] = {REGISTRY_LABEL: scene.registry.metadata.name}
            await self._objects.merge(live, patch)
        if lock.holder is not None and lock.holder.quiet is not None:
            self._changed(scene.key)

    async def _label(self, body: kube.Object) -> None:
        """Give a Lease that lost its labels those by which it is watched; who holds it is then known again.

        Raises:
            BlockedError: it is somebody else's.
        """
        metadata = body["metadata"]
        there = await self._cluster.get(kube.LEASE, metadata["namespace"], metadata["name"])
        labels = there["metadata"].get("labels") or {}
        if RETENTION_LABEL in labels and REGISTRY_LABEL in labels:
            return  # it came just now, and the watch is about to tell of it
        managers = {entry["manager"] for entry in there["metadata"].get("managedFields") or ()}
        if RETENTION_LABEL not in labels and FIELD_MANAGER not in managers:
            raise BlockedError(
                f"Lease {metadata['name']} exists and is not the operator's, and no run may begin without it: delete "
                "it",
                reason="ForeignObject",
            )
        logger.warning("Lease %s had lost its labels", metadata["name"])
        await self._objects.merge(there, {"metadata": {"labels": metadata["labels"]}})

    async def note(self, live: kube.Object, lock: Lock) -> None:
        """Make a Lease say more of the run that has it, also where its Registry is gone."""
        await self._objects.merge(live, change(lock))

    async def advance(self, run: Run, **changes: Any) -> Turn:
        """Note that a run has come further: `changes` are fields of its `Holder`."""
        await self.write(run.scene, run.live, replace(run.lock, holder=replace(run.holder, **changes)))
        return AGAIN

    async def abort(self, run: Run, reason: str) -> Turn:
        """End a run."""
        logger.warning("ending Job %s: %s", run.holder.job, reason)
        return await self.advance(run, aborted=reason)

    async def release(self, key: Key, live: kube.Object, lock: Lock) -> None:
        """Give the lock free; with that the registry takes pushes again, or another one that got its volume since."""
        await self.note(live, replace(lock, holder=None))
        self._changed(key)
        lease_of = (key.namespace, live["metadata"]["name"])
        for body in self._registries.registries():
            place = place_of(body)
            if place.claim is not None and (place.claim[0], lock_name(place.claim[1])) == lease_of:
                self._changed(Key(key.namespace, body["metadata"]["name"]))
