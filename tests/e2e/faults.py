"""Writes that meet a fault, and passes over one Registry that make them."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from regkeeper import kube, naming
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.endpoints import Prober
from tests.e2e import directories
from tests.e2e.one_operator import KINDS, OneOperator
from tests.waiting import wait_for_async


class Fault(StrEnum):
    """What happens to a write. A crash before it is one after the write before: only reads are between the two."""

    CRASH_AFTER = "crash after"
    NO_ANSWER = "carried out, but its answer is lost"
    CONFLICT = "409"
    TRANSIENT = "429 or 500"
    """In turn, from one write to the next: both are one error to all that makes a pass (regkeeper/kube/errors.py)."""


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
        self.watch = cluster.watch

    async def _write(self, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.writes.append(what)
        if len(self.writes) != self._at:
            return await call()
        match self._fault:
            case Fault.CRASH_AFTER:
                await call()
                raise CrashError
            case Fault.NO_ANSWER:
                await call()
                raise kube.TransientError("no answer", code=0)
            case Fault.CONFLICT:
                raise kube.ConflictError("changed", code=409, reason="Conflict")
            case _:
                raise kube.TransientError("busy or broken", code=500 if self._at % 2 else 429)

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

    def __init__(self, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober, key: Key) -> None:
        self.cluster = cluster
        """As an administrator has it."""
        self.operators = operators
        """The same as the operator has it."""
        self._prober = prober
        self.key = key

    def operator(self, cluster: kube.Cluster) -> OneOperator:
        """A new one that sees the API server as `cluster`."""
        return OneOperator(cluster, self._prober, self.key.namespace, directories.settings(*self.key))

    async def settle(self) -> list[str]:
        """Undisturbed passes of a new operator until one writes nothing; all that they wrote."""
        recorder = FaultyCluster(self.operators)
        for _ in range(5):
            before = len(recorder.writes)
            await self.operator(recorder).look(self.key.name)
            if len(recorder.writes) == before:
                return recorder.writes
        raise AssertionError(f"it does not come to rest: {recorder.writes}")

    async def disturbed(self, fault: Fault, at: int) -> bool:
        """A pass that meets a fault, repeated as the queue would; False if it has no write number `at`."""
        faulty = FaultyCluster(self.operators, fault, at)
        operator = self.operator(faulty)
        for _ in range(5):
            try:
                await operator.look(self.key.name)
            except CrashError:
                return True  # the next one is a new process
            except kube.ApiError:
                continue
            return len(faulty.writes) >= at
        raise AssertionError(f"one fault, many failures: {faulty.writes}")

    async def settled_state(self) -> dict[str, Any]:
        """The state once the claim is bound, which is the volume controller's, in its own time."""

        async def is_bound() -> bool:
            claim = await self.cluster.get(kube.CLAIM, self.key.namespace, naming.claim_name(self.key.name))
            return bool(claim["status"]["phase"] == "Bound")

        await self.operator(self.operators).look(self.key.name)
        await wait_for_async(is_bound, 30, f"the claim of {self.key}")
        await self.settle()
        return await self.state()

    async def state(self) -> dict[str, Any]:
        """Which objects there are, and what the conditions say."""
        namespace, name = self.key
        objects: list[str] = []
        for resource in (*KINDS, kube.SECRET):
            if resource in (kube.REGISTRY, kube.POD):
                continue  # a pod is the Deployment controller's, in its own time
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


async def is_gone(cluster: kube.ApiCluster, resource: kube.Resource, namespace: str | None, name: str) -> bool:
    try:
        await cluster.get(resource, namespace, name)
    except kube.NotFoundError:
        return True
    return False
