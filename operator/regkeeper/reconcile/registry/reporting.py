"""What a pass over a Registry saw, put into its status: whether it serves, and if not, why."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from regkeeper import kube
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import ACCESS_INCOMPLETE, READY, RECONCILING, STORAGE_READY, State
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry import claims, readiness
from regkeeper.reconcile.registry.addresses import Endpoint, Prober, endpoints
from regkeeper.reconcile.registry.counting import Counting
from regkeeper.reconcile.registry.diagnosis import Problem, diagnose, event_problem, worth_asking_about
from regkeeper.reconcile.registry.exclusivity import matching_nodes
from regkeeper.reconcile.registry.probing import Probes
from regkeeper.reconcile.registry.storage import Storage
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.settings import Settings


@dataclass(slots=True)
class Memory:
    """What is remembered of a Registry between passes. All of it can be lost."""

    peeks: int = 0
    """Looks in a row that found it not ready for the same reason."""
    reason: str = ""
    """That reason."""


@dataclass(slots=True)
class Observation:
    """What a pass saw."""

    deployment: kube.Object
    service: kube.Object
    pods: list[kube.Object]
    storage: Storage
    endpoints: list[Endpoint] = field(default_factory=list)


class Reporter:
    """Writes the status of Registries. `clock` gives seconds that only grow; `again` is told whom to look at again."""

    def __init__(
        self,
        *,
        cluster: kube.Cluster,
        store: Store,
        settings: Settings,
        nodes: Nodes,
        prober: Prober,
        status: StatusWriter,
        clock: Callable[[], float],
        again: Callable[[Key], None],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._nodes = nodes
        self._probes = Probes(prober.check, clock, again)
        self._counting = Counting(prober.count, clock, again, longest=settings.resync_seconds)
        self._status = status
        self._memories: dict[Key, Memory] = {}

    def forget(self, key: Key) -> None:
        """The Registry is gone."""
        self._memories.pop(key, None)
        self._probes.drop(key)
        self._counting.drop(key)

    async def close(self) -> None:
        """Ask the registries no more."""
        await self._probes.close()
        await self._counting.close()

    async def report(self, key: Key, body: kube.Object, registry: Registry, seen: Observation) -> float | None:
        """Write what a pass saw; return the seconds after which to look again, or None.

        Raises:
            ApiError: the API server did not answer a question, or refused the write.
        """
        memory = self._memories.setdefault(key, Memory())
        progress = readiness.progress(seen.deployment)
        problem = None if progress is None else await self._find_problem(seen)
        storage = claims.state(
            registry, seen.storage.claim, seen.storage.notes, problem if problem and problem.storage else None
        )
        before = body.get("status") or {}
        last = readiness.lasting_addresses(before, seen.deployment)
        seen.endpoints = await endpoints(registry, seen.service, seen.pods, self._nodes, last=last)
        unserved = await self._unserved_nodes(body, registry, seen.deployment)
        was_ready = conditions.is_true(before.get("conditions") or (), READY)
        if progress is not None and not (was_ready and readiness.keeps_serving(seen.deployment)):
            self._probes.drop(key)
            ready: State | None = readiness.not_serving(progress, problem, unserved)
        else:
            ready = self._answer(key, registry, seen, progress, was_ready=was_ready)
        if ready is None:
            return None  # the addresses are being asked
        states = {READY: ready, STORAGE_READY: storage}
        if ready.status == "True" and progress is None:
            registries = len(self._store.registry_keys())
            delay = self._counting.refresh(key, seen.endpoints[0], registries=registries)
        else:
            memory.peeks = memory.peeks + 1 if memory.reason == ready.reason else 0
            delay = readiness.peek_after(memory.peeks)
            awaited = ready
            if ready.status == "True" and progress is not None:
                awaited = readiness.not_serving(progress, problem, unserved)
            states[RECONCILING] = conditions.true(awaited.reason, awaited.message)
        if unserved is not None:
            states[ACCESS_INCOMPLETE] = unserved
        memory.reason = ready.reason
        fields = readiness.fields(before, seen.endpoints, self._counting.counts(key))
        await self._status.write(body, states, fields)
        return delay

    async def _unserved_nodes(self, body: kube.Object, registry: Registry, deployment: kube.Object) -> State | None:
        access = registry.spec.access
        if access.host_port is None and access.node_port is None:
            return None
        labels = await self._nodes.labels()
        matching = None if access.host_port is None else matching_nodes(body["spec"], labels)
        named = () if access.node_port is None else access.node_port.nodes
        return readiness.unserved_nodes(matching, [node for node in named if node not in labels], deployment)

    async def _find_problem(self, seen: Observation) -> Problem | None:
        """Why the pods do not serve. Their Events are asked for only where nothing in their status tells."""
        problem = diagnose(seen.deployment, seen.pods, ())
        about = worth_asking_about(seen.pods)
        if problem is not None or not about:
            return problem
        claim = seen.storage.claim
        if claim is not None and (claim.get("status") or {}).get("phase") != "Bound":
            about.append(claim)
        events = [event for listing in await asyncio.gather(*map(self._events, about)) for event in listing]
        problem = diagnose(seen.deployment, seen.pods, events)
        if problem is None and claim is not None:
            problem = event_problem(
                (event for event in events if event["involvedObject"].get("uid") == claim["metadata"]["uid"]),
                f"PersistentVolumeClaim {claim['metadata']['name']}",
            )
        return problem

    async def _events(self, body: Mapping[str, Any]) -> list[kube.Object]:
        metadata = body["metadata"]
        listing = self._cluster.list(
            kube.EVENT, metadata["namespace"], field_selector=f"involvedObject.uid={metadata['uid']}"
        )
        return [event async for event in listing]

    def _answer(
        self, key: Key, registry: Registry, seen: Observation, progress: State | None, *, was_ready: bool
    ) -> State | None:
        """Whether it serves, as its addresses say; None while they are being asked."""
        if seen.deployment["spec"].get("replicas") == 0:
            return conditions.false("ScaledToZero", "spec.replicas is 0: no pod serves.")
        # While some pods are missing, so are the ports of their nodes.
        wanted = [endpoint for endpoint in seen.endpoints if progress is None or endpoint.kind != "HostPort"]
        found = self._probes.find(key, registry.metadata.uid, wanted, was_ready=was_ready)
        if found is None:
            return None
        if found.problem is not None:
            return conditions.false(found.problem.reason, found.problem.message)
        return readiness.serving(wanted, progress)
