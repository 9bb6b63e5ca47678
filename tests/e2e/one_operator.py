"""An operator without watches, whose passes a test makes one by one, each after a fresh listing."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from regkeeper import kube, naming
from regkeeper.errors import RegkeeperError
from regkeeper.handlers import retentions
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.endpoints import Prober
from regkeeper.reconcile.registry.reconciler import RegistryReconciler
from regkeeper.reconcile.resync import CHILDREN, Resync
from regkeeper.reconcile.retention.reconciler import RetentionReconciler
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.settings import Settings

KINDS = (kube.REGISTRY, *CHILDREN, kube.VOLUME)


class OneOperator:
    """One that has just started, for one namespace; it ends with the test's last use of it."""

    def __init__(
        self,
        cluster: kube.Cluster,
        prober: Prober,
        namespace: str,
        settings: Settings | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        settings = settings or Settings()
        store, runs = Store(), Store()
        self._namespace = namespace
        self._retentions = RetentionReconciler(
            cluster=cluster,
            store=runs,
            registries=store,
            settings=settings,
            status=StatusWriter(cluster, runs, now),
            now=now,
            changed=lambda _: None,
        )
        self._reconciler = RegistryReconciler(
            cluster=cluster,
            store=store,
            settings=settings,
            prober=prober,
            status=StatusWriter(cluster, store, now),
            clock=lambda: 0.0,
            again=lambda _: None,
            holder=self._retentions.holder,
        )

        def listing(of: Store, kinds: Sequence[kube.Resource], selector: str) -> Resync:
            return Resync(
                cluster,
                of,
                kinds=kinds,
                selector=f"{naming.REGISTRY_LABEL},{selector}",
                namespaces=[namespace],
                notify=lambda *_: None,
                seconds=300,
                clock=lambda: 0.0,
            )

        self._loaded = False
        self._listing = listing(store, KINDS, f"!{naming.RETENTION_LABEL}")
        self._runs_listing = listing(runs, (*retentions.KINDS, kube.POD), naming.RETENTION_LABEL)

    async def look(self, name: str) -> None:
        """Make a pass over a Registry.

        Raises:
            RegkeeperError, ApiError: the pass could not be finished.
        """
        await self._listing.load()
        await self._reconciler.look(Key(self._namespace, name))

    async def look_after_runs(self, name: str) -> None:
        """Make a pass over a Registry, then one over its ImageRetentions and their runs.

        Raises:
            RegkeeperError, ApiError: a pass could not be finished.
        """
        for listing in (self._listing, self._runs_listing):
            # Later what is new and what is gone, as watches would have said.
            await (listing.compare() if self._loaded else listing.load())
        self._loaded = True
        trouble: RegkeeperError | None = None
        try:
            await self._reconciler.look(Key(self._namespace, name))
        except RegkeeperError as error:
            trouble = error
        await self._retentions.look(Key(self._namespace, name))  # it has a queue of its own
        if trouble is not None:
            raise trouble

    async def close(self) -> None:
        """Ask the registries no more."""
        await self._reconciler.close()
