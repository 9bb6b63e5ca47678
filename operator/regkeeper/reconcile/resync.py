"""The net under the watches: list what they should have shown, and notice what they did not.

A watch can end without a word (kopf#204, kopf#1145), and one that begins anew does not show what went meanwhile. So
then, and now and then, everything is listed, as metadata only; what the watches have not shown is read and passed on,
and if a watch stays behind, the operator is not alive.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from regkeeper import kube, naming
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.store import Identity, Store, identity, subject, version

logger = logging.getLogger(__name__)

CHILDREN = (
    kube.CONFIG_MAP,
    kube.SERVICE,
    kube.CLAIM,
    kube.DEPLOYMENT,
    kube.DISRUPTION_BUDGET,
    kube.POD,
)
"""Kinds of which the labelled ones are watched. (PersistentVolumes too, where the settings allow `local` storage.)"""

LATEST_SECONDS = 120.0
"""A watch that shows a change later than this is taken for dead."""

BEHIND_SECONDS = 30.0
"""Between listings while a watch is behind, or after one that failed."""


@dataclass(slots=True)
class _Missed:
    """What a listing had and no watch has shown."""

    version: int
    since: float
    """Clock time at which a listing first had it."""
    listed: float
    """Clock time at which one last did. Of what is gone since, no watch that began later will show anything."""


class Resync:
    """Compares listings with what the watches showed: all objects of our kinds, of the others what `selector` selects.

    `notify` is told of each Registry of which something is new, and of which kind that is; `seconds` is the time
    between two listings where all is well; `clock` gives seconds that only grow.
    """

    def __init__(
        self,
        cluster: kube.Cluster,
        store: Store,
        *,
        kinds: Sequence[kube.Resource],
        selector: str,
        namespaces: Sequence[str],
        notify: Callable[[Key, str], None],
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._kinds = kinds
        self._selector = selector
        self._namespaces: Sequence[str | None] = list(namespaces) or [None]
        self._notify = notify
        self._seconds = seconds
        self._clock = clock
        self._missed: dict[Identity, _Missed] = {}
        self._is_compared = True
        """Whether the last comparison came to its end."""

    async def load(self) -> None:
        """Fill the store before the first pass, which would ask for every object that is not in it."""
        for resource in self._kinds:
            async for body in self._list(resource, metadata_only=False):
                self._store.put(body)
        for resource in self._kinds:
            for key in {about for _, _, about in self._store.identities(resource) if about is not None}:
                self._notify(key, resource.kind)

    def saw(self, body: kube.Object) -> None:
        """A watch showed an object."""
        missed = self._missed.get(identity(body))
        if missed is not None and version(body) >= missed.version:
            del self._missed[identity(body)]

    async def compare(self) -> None:
        """List everything once, and catch up on what the watches have missed."""
        self._is_compared = False
        for resource in self._kinds:
            listed: set[Identity] = set()
            known = {entry: at for entry, at, _ in self._store.identities(resource)}
            async for body in self._list(resource, metadata_only=True):
                listed.add(identity(body))
                if (missed := self._missed.get(identity(body))) is not None:
                    missed.listed = self._clock()
                at = known.get(identity(body), 0)
                if version(body) != at:
                    await self._catch_up(resource, body, at)
            for entry, at, about in self._store.identities(resource):
                if entry in known and entry not in listed:
                    await self._confirm_gone(resource, entry, at, about)
        self._store.forget_gone()
        self._is_compared = True

    async def _catch_up(self, resource: kube.Resource, listed: kube.Object, at: int) -> None:
        """Read what a listing had in another version than `at`, which the store has."""
        metadata = listed["metadata"]
        try:
            body = await self._cluster.get(resource, metadata.get("namespace"), metadata["name"])
        except kube.NotFoundError:
            return
        if version(listed) < at:
            # etcd was restored from a backup: no change would ever look new again. Not before the present one is here:
            # a Registry that is missing for a moment is one that nodes would forget.
            self._store.discard(identity(listed))
        if not self._store.put(body):
            return  # The watch was only a little slower than the listing.
        logger.info("a watch is behind on %s %s", resource.kind, metadata["name"])
        if version(listed) > at:
            now = self._clock()
            self._missed.setdefault(identity(body), _Missed(version(body), now, now))
        if (about := subject(body)) is not None:
            self._notify(about, resource.kind)

    async def _confirm_gone(self, resource: kube.Resource, entry: Identity, at: int, about: Key | None) -> None:
        _, namespace, name = entry
        try:
            body = await self._cluster.get(resource, namespace or None, name)
        except kube.NotFoundError:
            self._store.discard(entry, at)
            self._missed.pop(entry, None)
        else:
            # It lost our label, or came back under its name.
            self._store.put(body)
        if about is not None:
            self._notify(about, resource.kind)

    def late(self) -> list[str]:
        """Objects on which a watch has been behind for too long."""
        return [
            f"{kind} {namespace}/{name}"
            for (kind, namespace, name), missed in self._missed.items()
            if missed.listed - missed.since > LATEST_SECONDS
        ]

    def pause(self) -> float:
        """Seconds until the next listing: few while a watch has yet to show something, as one listing proves nothing.

        A watch may only be slow, or the object may be gone by now. Few too after a listing that failed.
        """
        return self._seconds if self._is_compared and not self._missed else min(self._seconds, BEHIND_SECONDS)

    async def _list(self, resource: kube.Resource, *, metadata_only: bool) -> AsyncIterator[kube.Object]:
        selector = "" if resource.group == naming.GROUP else self._selector
        for namespace in self._namespaces if resource.namespaced else [None]:
            async for body in self._cluster.list(
                resource, namespace, label_selector=selector, metadata_only=metadata_only
            ):
                yield body
