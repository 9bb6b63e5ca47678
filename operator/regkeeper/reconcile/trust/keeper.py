"""One pass over all nodes: tell each agent what its node is to trust, ask it what came of that, say so in each status.

One for the whole cluster, since there is one agent a node, whatever the number of Registries. What an agent is told
stands in an annotation of its own pod, which it reads as a mounted file: the write that brings the data also makes
kubelet refresh the file at once. A ConfigMap would be sent whole to each kubelet at every change, and its readers had
to be nudged one by one all the same (docs/architecture.md).

A pass may be cut off anywhere and be repeated any number of times. What it remembers can be lost: Registries that nodes
may still trust bear a finalizer, and pods say what they were told.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from regkeeper import kube, naming
from regkeeper.nodes.desired import TrustList
from regkeeper.nodes.report import Report
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import NODES_TRUSTED, State
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.queue import LONGEST_LOOK_SECONDS, Key, Result, judge
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust import wishes as asking
from regkeeper.reconcile.trust.agents import Agent, AgentPods
from regkeeper.reconcile.trust.daemon_set import AgentDaemonSet, is_complete
from regkeeper.reconcile.trust.farewell import Farewell
from regkeeper.reconcile.trust.judgement import Standing, is_reverted
from regkeeper.reconcile.trust.judgement import judge as judge_nodes
from regkeeper.reconcile.trust.plan import Labels, Plan, make_plan
from regkeeper.reconcile.trust.reports import Reports
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.settings import Settings

logger = logging.getLogger(__name__)

TOLD_AT_ONCE = 25
"""Pods that a pass writes to; the next pass goes on. With the pause, some 50 a second."""
BETWEEN_WRITES_SECONDS = 0.5
SHORTEST_PAUSE_SECONDS = 0.1
"""Between two passes, so that a thousand answers are not a thousand passes."""
LONGEST_PAUSE_SECONDS = 30.0
JOINED_SECONDS = 1.0
"""How old the listing of nodes may be when a pod runs on one that is not in it."""
REFUSAL_SECONDS = 10.0
"""Between two looks at the Events that tell why there are no pods."""


class TrustKeeper:
    """Keeps what nodes trust. `clock` gives seconds that only grow, `now` the time of day, `random` is in [0, 1)."""

    def __init__(
        self,
        *,
        cluster: kube.Cluster,
        store: Store,
        settings: Settings,
        ask: Callable[[Agent, bytes], Awaitable[Report]],
        status: TrustStatusWriter,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._settings = settings
        self._status = status
        self._clock = clock
        self._now = now
        self._random = random
        self._woken = asyncio.Event()
        self._nodes = Nodes(cluster, clock)
        self._daemon_set = AgentDaemonSet(cluster, settings, clock)
        self._pods = AgentPods(cluster, settings.trust.agents_namespace, self._woken.set)
        self._reports = Reports(ask, clock=clock, random=random, arrived=self._woken.set)
        self._marks: dict[Key, object] = {}
        """What of each Registry matters here, as it was when it was last considered."""
        self._farewell = Farewell(cluster, store, status, now=now, freed=self._woken.set)
        self._refused = ("", -REFUSAL_SECONDS)
        """Why there are no pods, and when that was looked up."""
        self._cluster_id = ""
        self._called_back = False
        """Whether nodes are to forget everything, since regkeeper is being uninstalled; until this process ends."""
        self._deletions = 0
        """Of agents' pods, that were known of at the last pass."""

    def consider(self, key: Key) -> None:
        """Make a pass soon if what matters here of a Registry has changed."""
        body = self._store.registry(key)
        mark = _mark(body) if body is not None else None
        if self._marks.get(key) != mark:
            self._marks[key] = mark
            self._woken.set()
        if body is None:
            self._marks.pop(key, None)

    async def run(self) -> None:
        """Make passes, for ever."""
        failures = 0
        while True:
            self._woken.clear()
            began = self._clock()
            try:
                async with asyncio.timeout(LONGEST_LOOK_SECONDS):
                    delay = await self.look()
                failures = 0
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                delay = 0.0  # kopf cancels what was born under it when it restarts; we waited for some of that
            except Exception as error:
                failures += 1
                delay = await self._failed(error, failures)
            # A pass over many nodes takes its time, and leaves as much to the Registries.
            await asyncio.sleep(max(SHORTEST_PAUSE_SECONDS, self._clock() - began))
            try:
                async with asyncio.timeout(delay):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Ask and follow no more."""
        await self._pods.close()
        await self._reports.close()

    async def look(self) -> float | None:
        """Make a pass; return the seconds after which to make the next anyway, or None.

        Raises:
            RegkeeperError, ApiError: the pass could not be finished.
        """
        try:
            return await self._pass()
        except Exception as error:
            # Whatever is wrong with one Registry or node, it must not hold those that are being deleted.
            await self._farewell.free_overdue(str(error))
            raise

    async def _pass(self) -> float | None:
        self._called_back |= _calls_back(await self._daemon_set.find())
        wishes, leaving = await self._read_wishes()
        if self._pods.deletions != self._deletions:
            self._deletions = self._pods.deletions
            self._daemon_set.doubt()
        if not wishes and not leaving and await self._daemon_set.find() is None:
            self._pods.stop()
            return None
        wishes = {key: wish for key, wish in wishes.items() if await self._hold(key)}
        daemon_set = await self._daemon_set.ensure()
        self._pods.watch(daemon_set["metadata"]["uid"])
        if not self._pods.is_listed:
            await self._farewell.free_overdue("the agents' pods can't be listed")
            return LONGEST_PAUSE_SECONDS
        nodes, agents = await self._find_agents()
        plan = make_plan(wishes, nodes)
        unwritten = await self._tell(plan, agents)
        delay = min(LONGEST_PAUSE_SECONDS, self._reports.refresh(agents, self._daemon_set.key))
        standings = {node: self._reports.standing(agent) for node, agent in agents.items()}
        refused = await self._find_refusal(daemon_set, plan, agents)
        for key in wishes:
            with self._passing_over():
                await self._report(key, plan, standings, refused)
        for key in leaving:
            with self._passing_over():
                delay = min(delay, await self._let_go(key, plan, nodes, standings))
        if not wishes and not leaving:
            await self._leave(standings)
        return BETWEEN_WRITES_SECONDS if unwritten else delay

    async def _read_wishes(self) -> tuple[dict[Key, asking.Wish], list[Key]]:
        """What Registries ask for, and which of them nodes have to forget. Says why to those that may not ask."""
        wishes: dict[Key, asking.Wish] = {}
        leaving: list[Key] = []
        for body in self._store.registries():
            key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
            state: State | None = None
            if _is_paused(body):
                if asking.was_trusted(body):
                    # A pause keeps things as they are for their owner, not against the administrator.
                    state = asking.refusal(body, self._settings)
                    if self._called_back or (state is not None and state.reason == asking.NOT_ALLOWED):
                        leaving.append(key)
                    else:
                        wishes[key] = asking.kept_wish(body)
                continue
            if asking.asks(body):
                state = CALLED_BACK if self._called_back else asking.refusal(body, self._settings)
                wish = None if state is not None else await self._wish_of(body)
                if wish is not None:
                    state = asking.refused_for_image(wish, self._settings)
                    if state is None and wish.hosts:
                        wishes[key] = wish
                        continue
                    state = state or NOT_SERVING
            with self._passing_over():
                if asking.was_trusted(body):
                    leaving.append(key)
                elif state is not None:
                    await self._status.state(body, state)
                elif "deletionTimestamp" not in body["metadata"]:
                    await self._status.clear(body)
        return wishes, leaving

    async def _wish_of(self, body: kube.Object) -> asking.Wish:
        named = asking.nodes_named(body)
        return asking.wish_of(body, {node: await self._nodes.addresses(node) for node in named})

    async def _hold(self, key: Key) -> bool:
        """Have the Registry bear our finalizer before any node hears of it; False if it could not be put there yet."""
        body = self._store.registry(key)
        if body is not None and not asking.was_trusted(body):
            with self._passing_over():
                await self._farewell.hold(body)
        body = self._store.registry(key)
        return body is not None and asking.was_trusted(body)

    async def _find_agents(self) -> tuple[Labels, dict[str, Agent]]:
        """All nodes, and the agents of those that are still there."""
        agents = self._pods.by_node()
        nodes = await self._nodes.labels()
        if not agents.keys() <= nodes.keys():
            nodes = await self._nodes.labels(fresh_seconds=JOINED_SECONDS)
        return nodes, {node: agent for node, agent in agents.items() if node in nodes}

    async def _tell(self, plan: Plan, agents: Mapping[str, Agent]) -> bool:
        """Write to the pods that were told something else; return whether some are left to be written to."""
        cluster = await self._find_cluster_id()
        pending: list[tuple[Agent, TrustList]] = []
        for node, agent in sorted(agents.items()):
            trust = TrustList(
                generation=self._generation(agent),
                cluster=cluster,
                apply_pending_edits=self._settings.trust.apply_pending_edits,
                sets=(plan.hosts.get(node, ()),),
                nodes={node: 0},
            )
            if not _is_told(agent, trust, self._reports.floor(agent)):
                pending.append((agent, trust))
        if pending:
            now = pending[:TOLD_AT_ONCE]
            await asyncio.gather(*(self._pods.tell(agent, trust) for agent, trust in now))
            logger.info("told %d of %d agents what their nodes are to trust", len(now), len(pending))
        return len(pending) > TOLD_AT_ONCE

    def _generation(self, agent: Agent) -> int:
        """Of the next list for an agent: the time, so that it grows even where every trace of the last one is lost."""
        last = agent.told.generation if agent.told else 0
        return max(int(self._now().timestamp()), last + 1, self._reports.floor(agent))

    async def _find_cluster_id(self) -> str:
        """Uid of kube-system, which lives as long as the cluster."""
        if not self._cluster_id:
            body = await self._cluster.get(kube.NAMESPACE, None, "kube-system")
            self._cluster_id = body["metadata"]["uid"]
        return self._cluster_id

    async def _find_refusal(self, daemon_set: kube.Object, plan: Plan, agents: Mapping[str, Agent]) -> str:
        """Why nodes have no agent, where not one has."""
        if agents or not any(plan.selected.values()):
            return ""
        said, at = self._refused
        if self._clock() - at >= REFUSAL_SECONDS:
            said = await self._daemon_set.refusal(daemon_set)
            self._refused = said, self._clock()
        return said

    async def _report(self, key: Key, plan: Plan, standings: Mapping[str, Standing], refused: str) -> None:
        body = self._store.registry(key)
        if body is None or _is_paused(body):
            return
        hosts = plan.wishes[key].hosts
        selected = {node: standings.get(node, Standing(silence=refused)) for node in plan.selected[key]}
        await self._status.verdict(body, hosts, judge_nodes(hosts, selected, plan.uncovered[key]))

    async def _let_go(self, key: Key, plan: Plan, nodes: Labels, standings: Mapping[str, Standing]) -> float:
        body = self._store.registry(key)
        if body is None:
            return LONGEST_PAUSE_SECONDS
        daemon_set = await self._daemon_set.find(fresh_seconds=SHORTEST_PAUSE_SECONDS)
        complete = daemon_set is not None and is_complete(daemon_set, len(standings))
        waits = await self._farewell.let_go(body, plan.all_hosts, nodes, standings, all_are_there=complete)
        return LONGEST_PAUSE_SECONDS if waits is None else waits

    async def _leave(self, standings: Mapping[str, Standing]) -> None:
        """Take the DaemonSet away if no node has anything of ours any more."""
        if all(is_reverted(standing) for standing in standings.values()):
            daemon_set = await self._daemon_set.find(fresh_seconds=0)
            if daemon_set is not None and is_complete(daemon_set, len(standings)):
                await self._daemon_set.remove()
                self._pods.stop()

    async def _failed(self, error: Exception, failures: int) -> float | None:
        """Log an error of a pass, and say it in the status of every Registry that nodes are to trust."""
        verdict = judge(error, failures, self._random)
        if verdict.reason == "InternalError":
            logger.error("unexpected error in the pass over nodes", exc_info=error)
        elif verdict.result is not Result.CONFLICT:
            logger.warning("node trust: %s: %s", verdict.reason, error)
        for body in self._store.registries() if verdict.tell else ():
            if asking.asks(body) and not _is_paused(body) and asking.refusal(body, self._settings) is None:
                try:
                    await self._status.state(body, conditions.false(verdict.reason, str(error)))
                except kube.ApiError as told:
                    logger.warning("the condition %s could not be written: %s", NODES_TRUSTED, told)
        return verdict.delay

    @contextmanager
    def _passing_over(self) -> Iterator[None]:
        """One Registry that somebody else changed meanwhile, or that is gone, holds up no other."""
        try:
            yield
        except (kube.ConflictError, kube.NotFoundError):
            self._woken.set()


NOT_SERVING = conditions.false("NotServing", "nodes are to trust it as soon as it answers at its addresses")
CALLED_BACK = conditions.false(
    "Uninstalling", "nodes forget every Registry, as regkeeper is about to go; to go on instead, restart the operator"
)


def _calls_back(daemon_set: kube.Object | None) -> bool:
    annotations = (daemon_set or {}).get("metadata", {}).get("annotations") or {}
    return bool(annotations.get(naming.REVERT_ANNOTATION) == "true")


def _is_told(agent: Agent, trust: TrustList, floor: int) -> bool:
    """Whether the pod says just this, of whatever generation, and the agent may accept it."""
    told = agent.told
    return (
        told is not None
        and told.generation >= floor
        and (told.cluster, told.apply_pending_edits, told.sets, told.nodes)
        == (trust.cluster, trust.apply_pending_edits, trust.sets, trust.nodes)
    )


def _is_paused(body: kube.Object) -> bool:
    annotations = body["metadata"].get("annotations") or {}
    return annotations.get(naming.PAUSED_ANNOTATION) == "true" and "deletionTimestamp" not in body["metadata"]


def _mark(body: kube.Object) -> tuple[Any, ...]:
    """All of a Registry that a pass looks at."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    return (
        metadata["uid"],
        metadata.get("deletionTimestamp"),
        metadata.get("finalizers"),
        _is_paused(body),
        spec.get("nodeTrust"),
        spec.get("access"),
        status.get("addresses"),
        conditions.is_true(status.get("conditions") or (), conditions.READY),
    )
