"""What looks after ImageRetentions, beside what looks after Registries: a store, a queue and a comparison of their own.

The watches are shared. What carries runs out has our label, by which it is told from what a Registry is made of.
"""

import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from regkeeper import kube, naming
from regkeeper.handlers.watches import EventType
from regkeeper.metrics import Metrics
from regkeeper.reconcile.queue import Key, Result, WorkQueue
from regkeeper.reconcile.resync import Resync
from regkeeper.reconcile.retention.reconciler import RetentionReconciler
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store, owner_key
from regkeeper.settings import Settings

KINDS = (kube.IMAGE_RETENTION, kube.CRON_JOB, kube.JOB, kube.LEASE)
"""Kinds that are watched for retention alone; of the pods, which Registries have too, those of runs."""

WORKERS = 4
"""Registries whose runs are looked after at once. A pass waits for the API server alone, never for a run."""


class Retentions:
    """The part of an operator that carries ImageRetentions out.

    `registries` is what is known of Registries, `changed` hears of each that has to become quiet, or may cease to be.
    """

    def __init__(
        self,
        cluster: kube.Cluster,
        settings: Settings,
        *,
        registries: Store,
        changed: Callable[[Key], None],
        metrics: Callable[[], Metrics],
        clock: Callable[[], float],
    ) -> None:
        self._metrics = metrics
        self._changed = changed
        self._store = Store()
        self._reconciler = RetentionReconciler(
            cluster=cluster,
            store=self._store,
            registries=registries,
            settings=settings,
            status=StatusWriter(cluster, self._store, _now),
            now=_now,
            changed=self._lock_changed,
        )
        self._queue = WorkQueue(
            look=self._reconciler.look, tell=self._reconciler.tell, observer=self, random=random.random
        )
        self._resync = Resync(
            cluster,
            self._store,
            kinds=(*KINDS, kube.POD),
            selector=f"{naming.REGISTRY_LABEL},{naming.RETENTION_LABEL}",
            namespaces=settings.watch_namespaces,
            notify=self._noticed,
            seconds=settings.resync_seconds,
            clock=clock,
        )
        self.holder = self._reconciler.holder
        self.load = self._resync.load
        self.compare = self._resync.compare
        self.pause = self._resync.pause

    def finished(self, result: Result, reason: str, seconds: float) -> None:
        """Count a look."""
        self._metrics().finished(result, reason, seconds, kind=kube.IMAGE_RETENTION.kind)

    @property
    def depth(self) -> int:
        """Registries whose retention waits for a look."""
        return self._queue.depth

    def longest_look(self) -> float:
        """Seconds for which the oldest look under way has been running."""
        return self._queue.longest_look()

    def late(self) -> list[str]:
        """Objects on which a watch has been behind for too long."""
        return self._resync.late()

    @staticmethod
    def concerns(body: kube.Object) -> bool:
        """Whether an object is of retention, and not a part of a Registry."""
        labels = body["metadata"].get("labels") or {}
        return body["kind"] == kube.IMAGE_RETENTION.kind or naming.RETENTION_LABEL in labels

    def show(self, event: EventType, body: kube.Object) -> None:
        """Take one event of a watch about what concerns retention."""
        self._resync.saw(body)
        if event == "DELETED":
            self._store.remove(body)
            if body["kind"] == kube.POD.kind:
                self._reconciler.gate.saw_the_end(body)
        elif not self._store.put(body):
            return
        if (about := owner_key(body)) is not None:
            self._noticed(about, body["kind"])

    def _noticed(self, key: Key, kind: str) -> None:
        self._queue.add(key)
        if kind == kube.LEASE.kind:
            # As when somebody releases a lock by hand.
            self._changed(key)

    def _lock_changed(self, key: Key) -> None:
        """A run made a Registry quiet, or gave one back, which may not be the one that is looked at."""
        self._changed(key)
        self._queue.add(key)

    def registry_changed(self, key: Key, kind: str) -> None:
        """Something of a Registry changed. Its policies ask what it is, or if its claim goes, a run how pods are."""
        is_of_policies = kind in (kube.REGISTRY.kind, kube.CLAIM.kind)
        if key in self._store.owners() and (is_of_policies or self._reconciler.follows(key)):
            self._queue.add(key)

    def workers(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run for ever."""
        return [self._queue.work() for _ in range(WORKERS)]

    def close(self) -> None:
        """Drop what waits."""
        self._queue.close()


def _now() -> datetime:
    return datetime.now(UTC)
