"""The operator put together: watches fill the store, the store's changes fill the queue, workers make passes."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from regkeeper import kube, naming
from regkeeper.concurrency import wait_at_most
from regkeeper.distribution import open_session
from regkeeper.handlers.endpoints import metrics_app, probe_app, serve
from regkeeper.handlers.retentions import KINDS as RETENTION_KINDS
from regkeeper.handlers.retentions import Retentions
from regkeeper.handlers.watches import EventType, Watches
from regkeeper.metrics import Metrics
from regkeeper.reconcile.queue import LONGEST_LOOK_SECONDS, Key, Result, WorkQueue
from regkeeper.reconcile.registry.endpoints import Prober
from regkeeper.reconcile.registry.reconciler import RegistryReconciler
from regkeeper.reconcile.resync import CHILDREN, Resync
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store, subject
from regkeeper.reconcile.trust.keeper import TrustKeeper
from regkeeper.reconcile.trust.questions import Questioner
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.settings import Settings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Between attempts to reach the API server, or to find our kinds there, at the start."""

GATHERING_SECONDS = 5.0
"""From the first watch that begins anew to the comparison: after a restart of the API server all of them do so."""


class Operator:
    """One running operator."""

    def __init__(
        self,
        cluster: kube.Cluster,
        settings: Settings,
        prober: Prober,
        questioner: Questioner,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._kinds = (kube.REGISTRY, *CHILDREN, *([kube.VOLUME] if settings.local_storage else []))
        self._store = Store()
        self._retentions = Retentions(
            cluster,
            settings,
            registries=self._store,
            changed=self.look_again,
            metrics=lambda: self.metrics,
            clock=clock,
        )
        status = StatusWriter(cluster, self._store, _now)
        self._reconciler = RegistryReconciler(
            cluster=cluster,
            store=self._store,
            settings=settings,
            prober=prober,
            status=status,
            clock=clock,
            again=self.look_again,
            holder=self._retentions.holder,
        )
        self._trust = TrustKeeper(
            cluster=cluster,
            store=self._store,
            settings=settings,
            ask=questioner.ask,
            status=TrustStatusWriter(cluster, self._store, status, _now),
            clock=clock,
            now=_now,
            random=random.random,
        )
        self._queue = WorkQueue(
            look=self._look,
            tell=self._reconciler.tell,
            observer=self,
            random=random.random,
        )
        self.metrics = Metrics("Registry", lambda: self._queue.depth + self._retentions.depth)
        self._resync = Resync(
            cluster,
            self._store,
            kinds=self._kinds,
            selector=f"{naming.REGISTRY_LABEL},!{naming.RETENTION_LABEL}",
            namespaces=settings.watch_namespaces,
            notify=self._noticed,
            seconds=settings.resync_seconds,
            clock=clock,
        )
        self._compare_soon = asyncio.Event()
        self.is_synced = False

    def finished(self, result: Result, reason: str, seconds: float) -> None:
        """Count a look."""
        self.metrics.finished(result, reason, seconds)

    def look_again(self, key: Key) -> None:
        """Have a Registry looked at as soon as a worker is free."""
        self._queue.add(key)

    def ailment(self) -> str | None:
        """Why this operator should be restarted; None if it is well."""
        # Twice: the look is cut off by then, and so is the writing of its condition.
        longest = max(self._queue.longest_look(), self._retentions.longest_look())
        if longest > 2 * LONGEST_LOOK_SECONDS:
            return f"a pass has been running for {longest:.0f} s"
        late = [*self._resync.late(), *self._retentions.late()]
        return f"the watches do not show {', '.join(late[:3])}" if late else None

    def show(self, event: EventType, body: kube.Object) -> None:
        """Take one event of a watch."""
        if self._retentions.concerns(body):
            self._retentions.show(event, body)
            return
        self._resync.saw(body)
        if event == "DELETED":
            self._store.remove(body)
            changed = True
        else:
            changed = self._store.put(body)
        # Else it is our own write, or one that a listing showed before.
        if changed and (about := subject(body)) is not None:
            self._noticed(about, body["kind"])

    def _noticed(self, key: Key, kind: str) -> None:
        """Have looked at all that the news of a Registry may concern; `kind` is that of the object that changed."""
        self._queue.add(key)
        self._retentions.registry_changed(key, kind)
        if kind == kube.REGISTRY.kind:
            for blocked in self._reconciler.blocked - {key}:
                self._queue.add(blocked)

    async def _look(self, key: Key) -> float | None:
        try:
            return await self._reconciler.look(key)
        finally:
            self._trust.consider(key)

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        await self._load()
        # Born before kopf starts: it cancels at its end whatever was born after.
        tasks = [asyncio.create_task(self._queue.work()) for _ in range(self._settings.concurrency)]
        tasks += [asyncio.create_task(worker) for worker in self._retentions.workers()]
        tasks.append(asyncio.create_task(self._keep_comparing()))
        tasks.append(asyncio.create_task(self._trust.run()))
        watches = Watches(
            self._settings, (*self._kinds, *RETENTION_KINDS), show=self.show, began_anew=self._compare_soon.set
        )
        watching = asyncio.create_task(watches.run())
        self.is_synced = True
        logger.info("watching %s", ", ".join(self._settings.watch_namespaces) or "all namespaces")
        try:
            # A worker that ends is a bug; then the whole operator ends, and says so.
            done, _ = await asyncio.wait([watching, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._queue.close()
            self._retentions.close()
            for task in [watching, *tasks]:
                task.cancel()
            await asyncio.gather(watching, *tasks, return_exceptions=True)
            await self._reconciler.close()
            await self._trust.close()

    async def _load(self) -> None:
        """List everything, as soon as there is an API server that knows our kinds."""
        while True:
            try:
                await self._resync.load()
                await self._retentions.load()
            except kube.ApiError as error:
                logger.warning("waiting for the API server: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _keep_comparing(self) -> None:
        while True:
            if await wait_at_most(self._compare_soon, min(self._resync.pause(), self._retentions.pause())):
                await asyncio.sleep(GATHERING_SECONDS)
            self._compare_soon.clear()
            try:
                await self._resync.compare()
                await self._retentions.compare()
            except kube.ApiError as error:
                logger.warning("the listing that checks the watches failed: %s", error)


async def run(settings: Settings) -> None:
    """Run the operator with its endpoints until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(kube.connect())
        session = await stack.enter_async_context(open_session())
        fresh = await stack.enter_async_context(open_session(keep_alive=False))
        operator = Operator(cluster, settings, Prober(session, fresh), Questioner(fresh), loop.time)
        probes = probe_app(operator.ailment, lambda: operator.is_synced)
        await stack.enter_async_context(serve(probes, settings.probe_port))
        await stack.enter_async_context(serve(metrics_app(operator.metrics), settings.metrics_port))
        await operator.run()


def _now() -> datetime:
    return datetime.now(UTC)
