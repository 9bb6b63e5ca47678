"""An operator without watches, whose passes a test makes one by one, each after a fresh listing."""

from datetime import UTC, datetime

from regkeeper import kube
from regkeeper.reconcile.addresses import Prober
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry import RegistryReconciler
from regkeeper.reconcile.resync import CHILDREN, Resync
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.settings import Settings

KINDS = (kube.REGISTRY, *CHILDREN, kube.VOLUME)


class OneOperator:
    """One that has just started, for one namespace; it ends with the test's last use of it."""

    def __init__(self, cluster: kube.Cluster, prober: Prober, namespace: str, settings: Settings | None = None) -> None:
        store = Store()
        self._namespace = namespace
        self._reconciler = RegistryReconciler(
            cluster=cluster,
            store=store,
            settings=settings or Settings(),
            prober=prober,
            status=StatusWriter(cluster, store, lambda: datetime.now(UTC)),
            clock=lambda: 0.0,
            again=lambda _: None,
        )
        self._listing = Resync(
            cluster,
            store,
            kinds=KINDS,
            namespaces=[namespace],
            notify=lambda _: None,
            seconds=300,
            clock=lambda: 0.0,
        )

    async def look(self, name: str) -> None:
        """Make a pass over a Registry.

        Raises:
            RegkeeperError, ApiError: the pass could not be finished.
        """
        await self._listing.load()
        await self._reconciler.look(Key(self._namespace, name))
