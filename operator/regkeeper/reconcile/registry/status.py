"""What a pass over a Registry saw, put into its status: whether it serves, and if not, why."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from regkeeper import kube
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.distribution import Counts
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import ACCESS_INCOMPLETE, READY, RECONCILING, STORAGE_READY, State
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry import claims
from regkeeper.reconcile.registry.conflicts import matching_nodes
from regkeeper.reconcile.registry.diagnosis import Problem, diagnose, event_problem, worth_asking_about
from regkeeper.reconcile.registry.endpoints import Counting, Endpoint, Prober, Probes, endpoints
from regkeeper.reconcile.registry.storage import Storage
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.settings import Settings

FIRST_ATTEMPT_SECONDS = 0.1
LAST_ATTEMPT_SECONDS = 30.0
"""Between looks at a Registry that is not ready and gives no sign: its Events and addresses are not watched."""


def next_attempt(attempts: int) -> float:
    """Seconds until the next look at what was not ready for the same reason `attempts` times: soon, then less often."""
    return min(LAST_ATTEMPT_SECONDS, FIRST_ATTEMPT_SECONDS * 2.0 ** min(attempts, 10))


def rollout_progress(deployment: Mapping[str, Any]) -> State | None:
    """How far the roll-out is; None when it is done."""
    status = deployment.get("status") or {}
    replicas = deployment["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if seen and updated == replicas == available == status.get("replicas", 0):
        return None
    count = min(updated, available) if seen else 0
    return conditions.false("Progressing", f"{count} of {replicas} pods are up to date and ready.")


def lasting_addresses(before: Mapping[str, Any], deployment: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """Addresses in the status that stay although no pod may be there to show them: until all pods are."""
    is_complete = rollout_progress(deployment) is None and deployment["spec"].get("replicas") != 0
    return () if is_complete else before.get("addresses") or ()


def keeps_serving(deployment: Mapping[str, Any]) -> bool:
    """Whether as many pods serve as the Deployment's strategy promises at any time of a roll-out."""
    status = deployment.get("status") or {}
    available = conditions.find(status.get("conditions") or (), "Available")
    return (
        deployment["spec"]["strategy"]["type"] == "RollingUpdate"
        and status.get("availableReplicas", 0) > 0
        and available is not None
        and available["status"] == "True"
    )


def unserved_nodes(
    matching: Sequence[str] | None, unknown: Sequence[str], deployment: Mapping[str, Any]
) -> State | None:
    """What to say where nodes and `spec.access` don't agree.

    Args:
        matching: Nodes that match, where each pod wants a port of one; None where none does.
        unknown: Names in `spec.access.nodePort.nodes` of nodes that are not there.
        deployment: The live one.
    """
    replicas = deployment["spec"].get("replicas", 1)
    if matching is not None and len(matching) != replicas and replicas != 0:
        return conditions.true(
            "NodesNotReplicas",
            f"spec.access.hostPort needs as many nodes as replicas: {replicas} replicas, matching nodes: "
            f"{', '.join(matching) or 'none'}. Set spec.nodeSelector or spec.replicas so that they agree",
        )
    if unknown:
        return conditions.true(
            "NodeNotFound", f"spec.access.nodePort.nodes: there is no node {', '.join(unknown)}: correct the name"
        )
    return None


def not_serving(progress: State, problem: Problem | None, unserved: State | None) -> State:
    """Why a roll-out does not come to its end: for want of nodes, for what ails its pods, or it only takes time."""
    lacks_nodes = unserved is not None and unserved.reason == "NodesNotReplicas"
    if unserved is not None and lacks_nodes and (problem is None or problem.reason == "Unschedulable"):
        return conditions.false(unserved.reason, unserved.message)
    return conditions.false(problem.reason, problem.message) if problem is not None else progress


def serving(endpoints: Sequence[Endpoint], progress: State | None) -> State:
    """That it answers, with all of its pods, or, while `progress` is not None, with some."""
    where = f"It answers at {', '.join(endpoint.host for endpoint in endpoints)}."
    if progress is None:
        return conditions.true("Serving", where)
    return conditions.true("PartlyServing", f"{where} {progress.message}")


COUNT_FIELDS = ("repositories", "tags", "countsIncomplete")
NODE_FIELDS = ("trustedNodes", "trustedHosts", "nodes")
"""Of the pass over nodes (`reconcile/trust`)."""
RUN_FIELDS = ("usage",)
"""Of runs on its volume (`reconcile/retention`)."""


def status_fields(before: Mapping[str, Any], endpoints: Sequence[Endpoint], counts: Counts | None) -> dict[str, Any]:
    """Everything in the status but conditions. Without `counts` the last ones stay; so does what others say."""
    after: dict[str, Any] = {key: before.get(key) for key in (*COUNT_FIELDS, *NODE_FIELDS, *RUN_FIELDS)}
    if counts is not None:
        after |= {
            "repositories": counts.repositories,
            "tags": counts.tags,
            "countsIncomplete": None if counts.complete else True,
        }
    after["addresses"] = [{"type": endpoint.kind, "host": endpoint.host} for endpoint in endpoints]
    after["imagePrefix"] = endpoints[0].host
    return after


@dataclass(slots=True)
class Memory:
    """What is remembered of a Registry between passes. All of it can be lost."""

    attempts: int = 0
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
        progress = rollout_progress(seen.deployment)
        problem = None if progress is None else await self._find_problem(seen)
        storage = claims.state(
            registry, seen.storage.claim, seen.storage.notes, problem if problem and problem.storage else None
        )
        before = body.get("status") or {}
        last = lasting_addresses(before, seen.deployment)
        seen.endpoints = await endpoints(registry, seen.service, seen.pods, self._nodes, last=last)
        unserved = await self._unserved_nodes(body, registry, seen.deployment)
        was_ready = conditions.is_true(before.get("conditions") or (), READY)
        if progress is not None and not (was_ready and keeps_serving(seen.deployment)):
            self._probes.drop(key)
            ready: State | None = not_serving(progress, problem, unserved)
        else:
            ready = self._answer(key, registry, seen, progress, was_ready=was_ready)
        if ready is None:
            return None  # the addresses are being asked
        states = {READY: ready, STORAGE_READY: storage}
        if ready.status == "True" and progress is None:
            registries = len(self._store.registry_keys())
            delay = self._counting.refresh(key, seen.endpoints[0], registries=registries)
        else:
            memory.attempts = memory.attempts + 1 if memory.reason == ready.reason else 0
            delay = next_attempt(memory.attempts)
            awaited = ready
            if ready.status == "True" and progress is not None:
                awaited = not_serving(progress, problem, unserved)
            states[RECONCILING] = conditions.true(awaited.reason, awaited.message)
        if unserved is not None:
            states[ACCESS_INCOMPLETE] = unserved
        memory.reason = ready.reason
        await self._status.write(body, states, status_fields(before, seen.endpoints, self._counting.counts(key)))
        return delay

    async def _unserved_nodes(self, body: kube.Object, registry: Registry, deployment: kube.Object) -> State | None:
        access = registry.spec.access
        if access.host_port is None and access.node_port is None:
            return None
        labels = await self._nodes.labels()
        matching = None if access.host_port is None else matching_nodes(body["spec"], labels)
        named = () if access.node_port is None else access.node_port.nodes
        return unserved_nodes(matching, [node for node in named if node not in labels], deployment)

    async def _find_problem(self, seen: Observation) -> Problem | None:
        """Why the pods do not serve. Their Events are asked for only where nothing in their status tells."""
        claim = seen.storage.claim
        unbound = claim if claim is not None and not claims.is_bound(claim) else None
        # First: the scheduler's "unbound immediate PersistentVolumeClaims" names neither the class nor the remedy.
        if unbound is not None and not await self._has_class(unbound):
            return claims.no_class(unbound)
        problem = diagnose(seen.deployment, seen.pods, ())
        about = worth_asking_about(seen.pods)
        if problem is not None or not about:
            return problem
        if unbound is not None:
            about.append(unbound)
        events = [event for listing in await asyncio.gather(*map(self._events, about)) for event in listing]
        problem = diagnose(seen.deployment, seen.pods, events)
        if problem is None and claim is not None:
            problem = event_problem(
                (event for event in events if event["involvedObject"].get("uid") == claim["metadata"]["uid"]),
                f"PersistentVolumeClaim {claim['metadata']['name']}",
            )
        return problem

    async def _has_class(self, claim: kube.Object) -> bool:
        name = claim["spec"].get("storageClassName")
        if not name:
            # Empty: it is to get a volume without a class. Absent: the cluster has no default.
            return name is not None
        try:
            await self._cluster.get(kube.STORAGE_CLASS, None, name)
        except kube.NotFoundError:
            return False
        return True

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
        return serving(wanted, progress)
