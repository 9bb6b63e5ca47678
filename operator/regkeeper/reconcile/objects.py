"""Make the objects of a Registry, or of another kind of ours, what they should be: read, compare, apply, remove."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from regkeeper import kube, naming
from regkeeper.api.v1alpha1.base import Resource
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.reconcile.drift import needs_apply
from regkeeper.reconcile.ownership import Owner, owner_of, require_ours
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.store import Identity, Store, identity, version

logger = logging.getLogger(__name__)

REMOVABLE = (kube.DISRUPTION_BUDGET,)
"""Kinds of which one that the spec no longer asks for is deleted: every Registry wants all others. Never storage."""

Right = tuple[int, bytes]
"""The version of an object that is as it should be, and a digest of what was wanted: to compare is half of a pass."""
Resisting = bytes
"""A digest of what was applied and of what became of it instead."""


class Objects:
    """The objects of Registries in the cluster, read through the store."""

    def __init__(self, cluster: kube.Cluster, store: Store) -> None:
        self._cluster = cluster
        self._store = store
        self._verdicts: defaultdict[Key, dict[Identity, Right | Resisting]] = defaultdict(dict)
        """By owner, how its objects were found last."""

    def forget(self, owner: Key) -> None:
        """An owner is gone."""
        self._verdicts.pop(owner, None)

    async def find(self, resource: kube.Resource, namespace: str | None, name: str) -> kube.Object | None:
        """The object, or None if it is not there.

        What the store lacks is asked for: it may be there without our label, which the watch would not show.
        """
        known = self._store.get(resource, namespace, name)
        return await self.ask(resource, namespace, name) if known is None else known

    async def find_of(
        self, owner: Resource[Any, Any], resource: kube.Resource, namespace: str | None, name: str
    ) -> kube.Object | None:
        """The same for an owner, who has to wait for what is about to go.

        That is asked for too: a watch that has to begin anew, as when the API server restarts, never shows what went
        meanwhile, and the listing that finds it (resync.py) comes later.
        """
        live = await self.find(resource, namespace, name)
        if live is None:
            return None
        goes = "deletionTimestamp" in live["metadata"] or owner_of(live, owner.metadata, owner.kind) is Owner.FORMER
        return await self.ask(resource, namespace, name) if goes else live

    async def ask(self, resource: kube.Resource, namespace: str | None, name: str) -> kube.Object | None:
        """The object as the API server has it, or None."""
        known = self._store.get(resource, namespace, name)
        try:
            found = await self._cluster.get(resource, namespace, name)
        except kube.NotFoundError:
            if known is not None:
                self._store.discard(identity(known), version(known))
            return None
        # Without our label no watch would tell of its changes.
        if naming.REGISTRY_LABEL in (found["metadata"].get("labels") or {}):
            self._store.put(found)
        return found

    async def ensure(self, owner: Resource[Any, Any], desired: kube.Object) -> kube.Object:
        """Apply `desired` if the live object differs in what is ours; return the live one.

        Raises:
            BlockedError, WaitingError: the name belongs to something else.
            ApiError: the API server refuses.
        """
        metadata = desired["metadata"]
        resource, namespace = kube.resource_of(desired), metadata.get("namespace")
        live = await self.find_of(owner, resource, namespace, metadata["name"])
        if live is None:
            return await self._make(desired)
        require_ours(live, owner.metadata, owner.kind)
        verdicts = self._verdicts[Key(owner.metadata.namespace, owner.metadata.name)]
        known, right = verdicts.get(identity(live)), (version(live), _digest(desired))
        if known == right:
            return live
        if not needs_apply(desired, live, naming.FIELD_MANAGER):
            verdicts[identity(live)] = right
            return live
        if known == _outcome(desired, live):
            return live
        # The uid makes sure that it is still the object that was proved ours.
        proved = {**desired, "metadata": {**metadata, "uid": live["metadata"]["uid"]}}
        applied = await self._apply(proved)
        if needs_apply(desired, applied, naming.FIELD_MANAGER):
            # A mutating webhook, mostly. Another apply would meet the same one.
            logger.warning("%s %s does not become what was applied", live["kind"], metadata["name"])
            verdicts[identity(live)] = _outcome(desired, applied)
        return applied

    async def _make(self, desired: kube.Object) -> kube.Object:
        """Apply what is not there, unless somebody else was faster with its name.

        Their fields are then in conflict with ours, and the API server refuses; or none is, and it adds ours to theirs.
        """
        made = await self._cluster.apply(desired, force=False)
        others = {
            entry["manager"]
            for entry in made["metadata"].get("managedFields") or ()
            if entry["manager"] != naming.FIELD_MANAGER and not entry.get("subresource")
        }
        if others:
            # To apply nothing is to take back all that was applied.
            metadata = {key: made["metadata"][key] for key in ("name", "namespace", "uid") if key in made["metadata"]}
            nothing = {"apiVersion": desired["apiVersion"], "kind": desired["kind"], "metadata": metadata}
            await self._cluster.apply(nothing, force=False)
            raise kube.ConflictError(
                f"{desired['kind']} {metadata['name']} was made by {', '.join(sorted(others))} just now", code=409
            )
        logger.info("applied %s %s", desired["kind"], desired["metadata"]["name"])
        self._store.put(made)
        return made

    async def _apply(self, body: kube.Object) -> kube.Object:
        applied = await self._cluster.apply(body, force=True)
        logger.info("applied %s %s", body["kind"], body["metadata"]["name"])
        self._store.put(applied)
        return applied

    async def merge(self, live: kube.Object, change: Mapping[str, Any]) -> kube.Object:
        """Patch what server-side apply can't say (another manager's field that has to go), if nobody was faster."""
        metadata = live["metadata"]
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {**change, "metadata": {**change.get("metadata", {}), **guard}}
        patched = await self._cluster.patch(kube.resource_of(live), metadata.get("namespace"), metadata["name"], body)
        self._store.put(patched)
        return patched

    async def remove(self, live: kube.Object) -> None:
        """Delete this very object; no error if it is gone."""
        metadata = live["metadata"]
        try:
            await self._cluster.delete(
                kube.resource_of(live), metadata.get("namespace"), metadata["name"], uid=metadata["uid"]
            )
        except kube.NotFoundError:
            return
        logger.info("deleted %s %s", live["kind"], metadata["name"])

    async def remove_unwanted(self, registry: Registry, desired: Iterable[kube.Object]) -> None:
        """Delete what we applied for this Registry once and no longer want."""
        wanted = {(body["kind"], body["metadata"]["name"]) for body in desired}
        owner = Key(registry.metadata.namespace, registry.metadata.name)
        for resource in REMOVABLE:
            for live in self._store.children(owner, resource):
                metadata = live["metadata"]
                if (
                    (live["kind"], metadata["name"]) not in wanted
                    and "deletionTimestamp" not in metadata
                    and owner_of(live, registry.metadata) is Owner.OURS
                    and any(entry["manager"] == naming.FIELD_MANAGER for entry in metadata.get("managedFields") or ())
                ):
                    await self.remove(live)


def _outcome(desired: Mapping[str, Any], live: Mapping[str, Any]) -> bytes:
    """A digest of what was wanted and what is there, without what changes by itself."""
    metadata = live["metadata"]
    there = {key: value for key, value in live.items() if key not in ("metadata", "status")}
    kept = {key: metadata.get(key) for key in ("uid", "labels", "annotations", "ownerReferences")}
    return _digest([desired, there, kept])


def _digest(value: Any) -> bytes:
    return sha256(msgspec.json.encode(value, order="deterministic")).digest()
