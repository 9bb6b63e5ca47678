"""One pass over a Registry: from what its spec asks for to objects. What they do goes into its status (`reporting.py`).

A pass may be cut off anywhere and be repeated any number of times; it ends in the same state, and makes no write
when nothing has to change.
"""

import secrets
from collections.abc import Callable, Iterable

from regkeeper import kube, naming
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.errors import BlockedError, InvalidSpecError
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import STORAGE_READY, State
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.ownership import applies
from regkeeper.reconcile.parsing import parse
from regkeeper.reconcile.queue import Key, Verdict
from regkeeper.reconcile.registry.conflicts import (
    PortClaimant,
    has_ports,
    held_ports,
    holder_of_port,
    place_of,
    wanted_ports,
)
from regkeeper.reconcile.registry.diagnosis import secret_is_missing
from regkeeper.reconcile.registry.endpoints import Prober
from regkeeper.reconcile.registry.giving_back import given_back, is_kept_quiet
from regkeeper.reconcile.registry.status import Observation, Reporter
from regkeeper.reconcile.registry.storage import Storage, StorageKeeper, is_stopped
from regkeeper.reconcile.status import StatusWriter, failing
from regkeeper.reconcile.store import Store
from regkeeper.resources.lease import Holder, Quiet
from regkeeper.resources.registry import desired_objects, http_secret
from regkeeper.resources.storage import storage_claim
from regkeeper.settings import Settings


class RegistryReconciler:
    """Keeps Registries.

    `clock` gives seconds that only grow; `again` is told whom to look at once more; `holder` says which run has
    the lock of a claim, and may ask something of its Registry.
    """

    def __init__(
        self,
        *,
        cluster: kube.Cluster,
        store: Store,
        settings: Settings,
        prober: Prober,
        status: StatusWriter,
        clock: Callable[[], float],
        again: Callable[[Key], None],
        holder: Callable[[Key, str], Holder | None],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._settings = settings
        self._status = status
        self._holder = holder
        self._objects = Objects(cluster, store)
        self._nodes = Nodes(cluster, clock)
        self._storage = StorageKeeper(cluster, store, self._objects, self._nodes, settings)
        self._reporter = Reporter(
            cluster=cluster,
            store=store,
            settings=settings,
            nodes=self._nodes,
            prober=prober,
            status=status,
            clock=clock,
            again=again,
        )
        self.blocked: set[Key] = set()
        """Registries that wait for another one to give way."""

    async def look(self, key: Key) -> float | None:
        """Make a pass; return the seconds after which to look again, or None.

        Raises:
            RegkeeperError, ApiError: the pass could not be finished.
        """
        body = self._store.registry(key)
        if body is None:
            self._forget(key)
            return None
        if "deletionTimestamp" in body["metadata"]:
            await self._storage.release(body)
            return None
        if (body["metadata"].get("annotations") or {}).get(naming.PAUSED_ANNOTATION) == "true":
            await self._pause(key, body)
            return None
        try:
            return await self._carry_out(key, body)
        except (InvalidSpecError, BlockedError):
            await self._give_back(key, body)
            raise

    async def _carry_out(self, key: Key, body: kube.Object) -> float | None:
        registry = parse(Registry, body)
        self._storage.check_permission(registry)
        try:
            await self._check_exclusive(key, body)
        except BlockedError:
            await self._storage.keep_promise(registry)
            raise
        body, storage = await self._storage.ensure(body, registry)
        seen = await self._ensure_objects(registry, storage)
        return await self._reporter.report(key, body, registry, seen)

    async def _pause(self, key: Key, body: kube.Object) -> None:
        """Leave a Registry alone, but for what a run made of it."""
        run = await self._give_back(key, body)
        waits = f" It is {run.quiet} for Job {run.job}, and will be given back when that has ended." if run else ""
        await self._status.pause(body, waits)

    async def _give_back(self, key: Key, body: kube.Object) -> Holder | None:
        """Let the pods of a Registry whose spec is not carried out be as before a run; the run, if it still goes on.

        Whoever pauses a Registry or writes a wrong spec knows nothing of the run, and pushes would wait for them.

        Raises:
            BlockedError: another Registry has its volume.
        """
        live = self._store.get(kube.DEPLOYMENT, *key)
        if live is None or not is_kept_quiet(live):
            return None
        claim = place_of(body).claim
        run = None if claim is None else self._holder(key, claim[1])
        if run is not None and run.quiet is not None:
            return run
        await self._storage.check_exclusive(body)  # what is another's by now it must not serve
        read_only = (body.get("spec") or {}).get("readOnly") is True
        name = naming.config_map_name(key.name, read_only=read_only)
        config = self._store.get(kube.CONFIG_MAP, key.namespace, name)
        await self._objects.merge(live, given_back(live, config, body))
        return None

    async def close(self) -> None:
        """Ask the registries no more."""
        await self._reporter.close()

    async def tell(self, key: Key, error: Exception, verdict: Verdict) -> None:
        """Put an error of a pass into the Registry's conditions."""
        body = self._store.registry(key)
        if body is None:
            return
        stalled = isinstance(error, InvalidSpecError | BlockedError | kube.InvalidError)
        message = str(error) if verdict.reason != "InternalError" else f"{type(error).__name__}: {error}"
        await self._status.write(body, self._with_storage(body, failing(verdict.reason, message, stalled=stalled)))

    def _with_storage(self, body: kube.Object, states: dict[str, State]) -> dict[str, State]:
        """Keep the last StorageReady: a pass that failed before or after the storage knows nothing newer."""
        last = conditions.find((body.get("status") or {}).get("conditions") or (), STORAGE_READY)
        if last is not None:
            states[STORAGE_READY] = State(last["status"], last["reason"], last["message"])
        return states

    def _forget(self, key: Key) -> None:
        self._reporter.forget(key)
        self._storage.forget(key)
        self._objects.forget(key)
        self.blocked.discard(key)

    async def _check_exclusive(self, key: Key, body: kube.Object) -> None:
        self.blocked.add(key)
        await self._storage.check_exclusive(body)
        if has_ports(body):
            await self._check_ports(body)
        self.blocked.discard(key)

    async def _check_ports(self, body: kube.Object) -> None:
        nodes = await self._nodes.labels()
        others = (
            self._port_claimant(other, nodes)
            for other in self._store.registries()
            if has_ports(other) and other["metadata"]["uid"] != body["metadata"]["uid"]
        )
        held = holder_of_port(self._port_claimant(body, nodes), wanted_ports(body, nodes), others)
        if held is not None:
            holder, place = held
            raise BlockedError(
                f"Registry {holder['metadata']['namespace']}/{holder['metadata']['name']} serves {place}: "
                "choose another port or other nodes",
                reason="PortConflict",
            )

    def _port_claimant(self, body: kube.Object, nodes: Iterable[str]) -> PortClaimant:
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        pods, service = self._store.children(key, kube.POD), self._store.get(kube.SERVICE, *key)
        return PortClaimant(body, held_ports(body, pods, service, nodes))

    async def _ensure_objects(self, registry: Registry, storage: Storage) -> Observation:
        key = Key(registry.metadata.namespace, registry.metadata.name)
        claim = storage_claim(registry)
        run = None if claim is None else self._holder(key, claim)
        quiet = None if run is None else run.quiet
        desired = desired_objects(
            registry,
            self._settings,
            read_only=registry.spec.read_only or quiet is Quiet.READ_ONLY,
            access_modes=storage.access_modes,
            node=run.node if run is not None and quiet is Quiet.READ_ONLY else "",
        )
        live: dict[str, kube.Object] = {}
        for body in desired:
            if body["kind"] == kube.DEPLOYMENT.kind:
                if quiet is not None:
                    body["metadata"].setdefault("annotations", {})[naming.QUIET_ANNOTATION] = quiet.value
                await self._ensure_secret(key, registry)
                if quiet is Quiet.OFFLINE:
                    await self._stop(key, body)
                else:
                    await self._start(key, body)
            live[body["kind"]] = await self._objects.ensure(registry, body)
        await self._objects.remove_unwanted(registry, desired)
        return Observation(
            deployment=live[kube.DEPLOYMENT.kind],
            service=live[kube.SERVICE.kind],
            pods=self._store.children(key, kube.POD),
            storage=storage,
        )

    async def _start(self, key: Key, desired: kube.Object) -> None:
        """Give pods again to a Deployment that was stopped, where the spec leaves their number to somebody else."""
        live = self._store.get(kube.DEPLOYMENT, *key)
        if "replicas" not in desired["spec"] and live is not None and is_stopped(live):
            before = (live["metadata"].get("annotations") or {}).get(naming.REPLICAS_ANNOTATION, "1")
            forgotten = {"annotations": {naming.REPLICAS_ANNOTATION: None}}
            await self._objects.merge(live, {"spec": {"replicas": int(before)}, "metadata": forgotten})

    async def _stop(self, key: Key, desired: kube.Object) -> None:
        """Leave a Deployment no pods while a run has its volume; where the spec leaves their number, remember it."""
        live = self._store.get(kube.DEPLOYMENT, *key)
        # A number that an apply has set, as of a Deployment made anew, becomes 1 where the next one leaves it out.
        if "replicas" in desired["spec"] or live is None or applies(live, "replicas"):
            desired["spec"]["replicas"] = 0
        elif live["spec"].get("replicas", 1) != 0:
            remembered = {"annotations": {naming.REPLICAS_ANNOTATION: str(live["spec"].get("replicas", 1))}}
            await self._objects.merge(live, {"spec": {"replicas": 0}, "metadata": remembered})

    async def _ensure_secret(self, key: Key, registry: Registry) -> None:
        """Create the Secret where it may be missing: before the first pod, or when a pod says so."""
        name = naming.http_secret_name(registry.metadata.name, registry.metadata.uid)
        is_new = self._store.get(kube.DEPLOYMENT, key.namespace, key.name) is None
        if not is_new and not secret_is_missing(self._store.children(key, kube.POD), name):
            return
        try:
            await self._cluster.create(http_secret(registry, secrets.token_urlsafe(32)))
        except kube.ConflictError as error:
            # A quota that is being counted is a conflict too.
            if error.reason != "AlreadyExists":
                raise
