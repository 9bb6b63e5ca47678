"""A pass that is cut off, refused or left without an answer at any of its writes ends in the same state."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.distribution import open_session
from regkeeper.errors import InvalidSpecError
from regkeeper.reconcile.addresses import Prober
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry import RegistryReconciler
from regkeeper.reconcile.resync import CHILDREN, Resync
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.settings import LocalStorageRule, Settings
from tests.cluster import Cluster
from tests.operator_process import a_namespace, install_crds
from tests.registry_objects import registry_object
from tests.waiting import wait_for_async

pytestmark = pytest.mark.control_plane

NODE = "faulty-node"
KINDS = (kube.REGISTRY, *CHILDREN, kube.VOLUME)


class Fault(StrEnum):
    """What happens to a write."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    NO_ANSWER = "carried out, but its answer is lost"
    CONFLICT = "409"
    TOO_MANY = "429"
    SERVER_ERROR = "500"


class CrashError(Exception):
    """The operator's process ended here."""


class FaultyCluster:
    """A real cluster of which the write number `at` (from 1) meets a fault. Everything else passes."""

    def __init__(self, cluster: kube.ApiCluster, fault: Fault | None = None, at: int = 0) -> None:
        self._cluster = cluster
        self._fault = fault
        self._at = at
        self.writes: list[str] = []
        self.get = cluster.get
        self.list = cluster.list

    async def _write(self, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.writes.append(what)
        if len(self.writes) != self._at:
            return await call()
        match self._fault:
            case Fault.CRASH_BEFORE:
                raise CrashError
            case Fault.CRASH_AFTER:
                await call()
                raise CrashError
            case Fault.NO_ANSWER:
                await call()
                raise kube.TransientError("no answer", code=0)
            case Fault.CONFLICT:
                raise kube.ConflictError("changed", code=409, reason="Conflict")
            case Fault.TOO_MANY:
                raise kube.TransientError("busy", code=429)
            case _:
                raise kube.TransientError("broken", code=500)

    async def apply(self, body: kube.Object, *, force: bool) -> kube.Object:
        name = f"apply {body['kind']}"
        return await self._write(name, lambda: self._cluster.apply(body, force=force))  # type: ignore[no-any-return]

    async def create(self, body: kube.Object) -> kube.Object:
        return await self._write(f"create {body['kind']}", lambda: self._cluster.create(body))  # type: ignore[no-any-return]

    async def patch(self, resource: kube.Resource, namespace: str | None, name: str, body: kube.Object) -> kube.Object:
        call = lambda: self._cluster.patch(resource, namespace, name, body)  # noqa: E731
        return await self._write(f"patch {resource.kind}", call)  # type: ignore[no-any-return]

    async def patch_status(
        self, resource: kube.Resource, namespace: str | None, name: str, body: kube.Object
    ) -> kube.Object:
        call = lambda: self._cluster.patch_status(resource, namespace, name, body)  # noqa: E731
        return await self._write(f"status {resource.kind}", call)  # type: ignore[no-any-return]

    async def delete(self, resource: kube.Resource, namespace: str | None, name: str, *, uid: str) -> None:
        await self._write(f"delete {resource.kind}", lambda: self._cluster.delete(resource, namespace, name, uid=uid))


class Bench:
    """Makes passes over one Registry with a new operator, or the same one, each time after a fresh listing."""

    def __init__(self, cluster: kube.ApiCluster, prober: Prober, key: Key) -> None:
        self.cluster = cluster
        self._prober = prober
        self.key = key

    def operator(self, cluster: kube.Cluster) -> tuple[RegistryReconciler, Resync]:
        rule = LocalStorageRule(namespaces=(self.key.namespace,), nodes=(NODE,), path=f"/srv/{self.key.name}")
        store = Store()
        reconciler = RegistryReconciler(
            cluster=cluster,
            store=store,
            settings=Settings(local_storage=(rule,)),
            prober=self._prober,
            status=StatusWriter(cluster, store, lambda: datetime.now(UTC)),
            clock=lambda: 0.0,
            again=lambda _: None,
        )
        listing = Resync(
            cluster, store, kinds=KINDS, namespaces=[self.key.namespace], notify=lambda _: None, clock=lambda: 0.0
        )
        return reconciler, listing

    async def look(self, operator: tuple[RegistryReconciler, Resync]) -> None:
        reconciler, listing = operator
        await listing.load()
        await reconciler.look(self.key)

    async def settle(self) -> list[str]:
        """Undisturbed passes of a new operator until one writes nothing; all that they wrote."""
        recorder = FaultyCluster(self.cluster)
        for _ in range(5):
            before = len(recorder.writes)
            await self.look(self.operator(recorder))
            if len(recorder.writes) == before:
                return recorder.writes
        raise AssertionError(f"it does not come to rest: {recorder.writes}")

    async def disturbed(self, fault: Fault, at: int) -> bool:
        """A pass that meets a fault, repeated as the queue would; False if it has no write number `at`."""
        faulty = FaultyCluster(self.cluster, fault, at)
        operator = self.operator(faulty)
        for _ in range(5):
            try:
                await self.look(operator)
            except CrashError:
                return True  # the next one is a new process
            except kube.ApiError:
                continue
            return len(faulty.writes) >= at
        raise AssertionError(f"one fault, many failures: {faulty.writes}")

    async def settled_state(self) -> dict[str, Any]:
        """The state once the claim is bound, which is the volume controller's, in its own time."""

        async def is_bound() -> bool:
            await self.settle()
            claim = await self.cluster.get(kube.CLAIM, self.key.namespace, naming.claim_name(self.key.name))
            return bool(claim["status"]["phase"] == "Bound")

        await wait_for_async(is_bound, 30, f"the claim of {self.key}")
        await self.settle()
        return await self.state()

    async def state(self) -> dict[str, Any]:
        """Which objects there are, and what the conditions say."""
        namespace, name = self.key
        objects: list[str] = []
        for resource in (*CHILDREN, kube.VOLUME, kube.SECRET):
            if resource is kube.POD:
                continue  # the Deployment controller's, in its own time
            selector = f"{naming.REGISTRY_LABEL}={name}"
            if not resource.namespaced:
                selector += f",{naming.REGISTRY_NAMESPACE_LABEL}={namespace}"
            listing = self.cluster.list(resource, namespace, label_selector=selector, metadata_only=True)
            objects += [resource.kind async for _ in listing]
        try:
            registry = await self.cluster.get(kube.REGISTRY, namespace, name)
        except kube.NotFoundError:
            return {"objects": sorted(objects)}
        said = [(each["type"], each["status"], each["reason"]) for each in registry["status"]["conditions"]]
        return {
            "objects": sorted(objects),
            "conditions": said,
            "finalizers": registry["metadata"].get("finalizers"),
            "observedGeneration": registry["status"]["observedGeneration"],
        }


@pytest.fixture
async def cluster(control_plane: Cluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[kube.ApiCluster]:
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    async with kube.connect() as connected:
        yield connected


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with open_session() as session:
        yield Prober(session, session)


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[str]:
    install_crds(control_plane)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}}
    control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(node))
    with a_namespace(control_plane, "faults") as name:
        yield name
    control_plane.kubectl("delete", "node", NODE)


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_fault_at_every_write_ends_in_the_same_state(
    fault: Fault, namespace: str, cluster: kube.ApiCluster, prober: Prober
) -> None:
    expected = await _made(Bench(cluster, prober, Key(namespace, "undisturbed")))
    assert expected["objects"] == [
        "ConfigMap",
        "Deployment",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Secret",
        "Service",
    ]
    at, disturbed = 1, True
    while disturbed:
        bench = Bench(cluster, prober, Key(namespace, f"write-{at}"))
        await _create(bench)
        disturbed = await bench.disturbed(fault, at)
        assert await bench.settled_state() == expected, f"{fault} at write {at}"
        at += 1
    assert at > 8, "fewer writes than there are objects: this test no longer sees them"


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_fault_at_a_deletion_leaves_nothing(
    fault: Fault, namespace: str, cluster: kube.ApiCluster, prober: Prober
) -> None:
    at, disturbed = 1, True
    while disturbed:
        bench = Bench(cluster, prober, Key(namespace, f"gone-{at}"))
        await _made(bench)
        body = await cluster.get(kube.REGISTRY, *bench.key)
        await cluster.delete(kube.REGISTRY, *bench.key, uid=body["metadata"]["uid"])
        disturbed = await bench.disturbed(fault, at)
        await bench.settle()
        # The volume controller lets go of claim and volume in its own time.
        for resource, namespace_of, name in (
            (kube.REGISTRY, namespace, bench.key.name),
            (kube.CLAIM, namespace, naming.claim_name(bench.key.name)),
            (kube.VOLUME, None, naming.persistent_volume_name(*bench.key)),
        ):
            gone = partial(is_gone, cluster, resource, namespace_of, name)
            await wait_for_async(gone, 30, f"the end of {resource.kind} {name} after {fault} at write {at}")
        at += 1
    assert at > 3


class LaterVersion(FaultyCluster):
    """A real cluster whose Registries have a field of a later version of their CRD."""

    def __init__(self, cluster: kube.ApiCluster) -> None:
        super().__init__(cluster)
        self.list = self._list

    async def _list(self, resource: kube.Resource, *arguments: Any, **options: Any) -> AsyncIterator[kube.Object]:
        async for body in self._cluster.list(resource, *arguments, **options):
            if resource is kube.REGISTRY:
                body["spec"]["ofALaterVersion"] = True
            yield body


async def test_a_registry_that_this_version_can_not_read_can_be_deleted(
    namespace: str, cluster: kube.ApiCluster, prober: Prober
) -> None:
    bench = Bench(cluster, prober, Key(namespace, "later"))
    await _made(bench)
    later = LaterVersion(cluster)
    with pytest.raises(InvalidSpecError, match="ofALaterVersion"):
        await bench.look(bench.operator(later))
    body = await cluster.get(kube.REGISTRY, *bench.key)
    await cluster.delete(kube.REGISTRY, *bench.key, uid=body["metadata"]["uid"])
    await bench.look(bench.operator(later))
    for resource, namespace_of, name in (
        (kube.REGISTRY, namespace, bench.key.name),
        (kube.VOLUME, None, naming.persistent_volume_name(*bench.key)),
    ):
        gone = partial(is_gone, cluster, resource, namespace_of, name)
        await wait_for_async(gone, 30, f"the end of {resource.kind} {name}")


async def test_a_volume_whose_claim_went_is_bound_again(
    namespace: str, cluster: kube.ApiCluster, prober: Prober
) -> None:
    bench = Bench(cluster, prober, Key(namespace, "kept"))
    await _made(bench)
    # As after an uninstall: our finalizer is off, and the Registry goes without an operator.
    await cluster.patch(kube.REGISTRY, *bench.key, {"metadata": {"finalizers": None}})
    volume = naming.persistent_volume_name(*bench.key)
    before = await cluster.get(kube.VOLUME, None, volume)
    for resource, name in ((kube.REGISTRY, "kept"), (kube.CLAIM, naming.claim_name("kept"))):
        body = await cluster.get(resource, namespace, name)
        await cluster.delete(resource, namespace, name, uid=body["metadata"]["uid"])
    for resource, name in (
        (kube.CLAIM, naming.claim_name("kept")),
        (kube.CONFIG_MAP, naming.config_map_name("kept")),
        (kube.SERVICE, "kept"),
        (kube.DEPLOYMENT, "kept"),
    ):
        gone = partial(is_gone, cluster, resource, namespace, name)
        await wait_for_async(gone, 60, f"the garbage collector to take {resource.kind} {name}")
    again = await _made(bench)
    assert ("StorageReady", "True", "Bound") in again["conditions"]
    after = await cluster.get(kube.VOLUME, None, volume)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["claimRef"]["uid"] != before["spec"]["claimRef"]["uid"]


async def is_gone(cluster: kube.ApiCluster, resource: kube.Resource, namespace: str | None, name: str) -> bool:
    try:
        await cluster.get(resource, namespace, name)
    except kube.NotFoundError:
        return True
    return False


async def _create(bench: Bench) -> None:
    namespace, name = bench.key
    storage = {"local": {"node": NODE, "path": f"/srv/{name}"}}
    await bench.cluster.create(registry_object(name, namespace=namespace, storage=storage))


async def _made(bench: Bench) -> dict[str, Any]:
    await _create(bench)
    return await bench.settled_state()
