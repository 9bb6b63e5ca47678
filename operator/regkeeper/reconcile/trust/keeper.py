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
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from regkeeper import kube
from regkeeper.concurrency import wait_at_most
from regkeeper.nodes.desired import MAXIMUM_HOSTS
from regkeeper.nodes.report import Report
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import NODES_TRUSTED
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.queue import LONGEST_LOOK_SECONDS, Key, Result, judge
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust import recall
from regkeeper.reconcile.trust import wishes as asking
from regkeeper.reconcile.trust.agents import Agent, AgentPods
from regkeeper.reconcile.trust.daemon_set import AgentDaemonSet, is_complete
from regkeeper.reconcile.trust.farewell import Farewell
from regkeeper.reconcile.trust.hosting import LocalRegistryHosting
from regkeeper.reconcile.trust.judgement import MAXIMUM_NAMED, Standing, is_reverted
from regkeeper.reconcile.trust.judgement import judge as judge_nodes
from regkeeper.reconcile.trust.passing_over import passing_over
from regkeeper.reconcile.trust.placement import Placement
from regkeeper.reconcile.trust.plan import Labels, Plan, make_plan
from regkeeper.reconcile.trust.reports import Reports
from regkeeper.reconcile.trust.requests import RequestReader, is_paused
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.reconcile.trust.telling import BETWEEN_WRITES_SECONDS, Teller
from regkeeper.settings import Settings

logger = logging.getLogger(__name__)

SHORTEST_PAUSE_SECONDS = 0.1
"""Between two passes, so that a thousand answers are not a thousand passes."""
LONGEST_PAUSE_SECONDS = 30.0
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
        self._store = store
        self._settings = settings
        self._status = status
        self._clock = clock
        self._random = random
        self._woken = asyncio.Event()
        self._agents_namespace = settings.trust.agents_namespace
        nodes = Nodes(cluster, clock)
        self._daemon_set = AgentDaemonSet(cluster, settings, clock, self._woken.set)
        self._pods = AgentPods(cluster, self._agents_namespace, self._woken.set)
        self._placement = Placement(nodes, self._pods)
        self._reports = Reports(ask, clock=clock, random=random, arrived=self._woken.set)
        self._teller = Teller(
            cluster,
            self._pods,
            self._reports,
            apply_pending_edits=settings.trust.apply_pending_edits,
            now=now,
            clock=clock,
        )
        self._farewell = Farewell(cluster, store, status, settings, now=now, freed=self._woken.set)
        self._requests = RequestReader(
            store=store,
            settings=settings,
            nodes=nodes,
            status=status,
            farewell=self._farewell,
            again=self._woken.set,
        )
        self._hosting = LocalRegistryHosting(cluster, store, settings, status, clock)
        self._marks: dict[Key, object] = {}
        """What of each Registry matters here, as it was when it was last considered."""
        self._refused = ("", -REFUSAL_SECONDS)
        """Why there are no pods, and when that was looked up."""
        self._called_back = False
        """Whether nodes are to forget everything, since regkeeper is being uninstalled."""
        self._awaited: frozenset[str] = frozenset()
        """Nodes for which alone the agents are still there."""

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
            await wait_at_most(self._woken, delay)

    async def close(self) -> None:
        """Ask and follow no more."""
        await self._pods.close()
        await self._daemon_set.close()
        await self._reports.close()

    async def look(self) -> float | None:
        """Make a pass; return the seconds after which to make the next anyway, or None.

        Raises:
            RegkeeperError, ApiError: the pass could not be finished.
        """
        await self._hosting.look()
        try:
            return await self._pass()
        except Exception as error:
            # Whatever is wrong with one Registry or node, it must not hold those that are being deleted.
            await self._farewell.free_overdue(str(error))
            raise

    async def _pass(self) -> float | None:
        live = await self._daemon_set.find()
        if live is not None:
            self._called_back = recall.is_asked(live)
        requests = await self._requests.read(recall.state(self._agents_namespace) if self._called_back else None)
        is_needed = bool(requests.wishes or requests.leaving)
        if not is_needed and await self._daemon_set.find() is None:
            self._pods.stop()
            await self._daemon_set.close()
            self._reports.refresh({}, b"")
            return None
        daemon_set = await self._daemon_set.ensure()
        self._pods.watch(daemon_set["metadata"]["uid"])
        if not self._pods.is_listed:
            if self._pods.trouble:
                await self._farewell.free_overdue(f"the agents' pods can't be listed: {self._pods.trouble}")
            return LONGEST_PAUSE_SECONDS
        nodes, agents = await self._placement.find()
        plan = make_plan(requests.wishes, nodes, given_up=requests.given_up, in_doubt=requests.in_doubt)
        unwritten = await self._teller.tell(plan, agents)
        self._reports.refresh(agents, self._daemon_set.key)
        delay = LONGEST_PAUSE_SECONDS
        standings = {node: self._standing(agent) for node, agent in agents.items()}
        refused = await self._find_refusal(daemon_set, plan, agents)
        for key in requests.wishes:
            with passing_over(key, self._woken.set):
                await self._report(key, plan, standings, refused)
        for key in requests.leaving:
            with passing_over(key, self._woken.set):
                delay = min(delay, await self._let_go(key, plan, nodes, standings))
        if not is_needed and not requests.in_doubt:
            await self._leave(standings)
        return BETWEEN_WRITES_SECONDS if unwritten else delay

    def _standing(self, agent: Agent) -> Standing:
        return replace(self._reports.standing(agent), untold=self._teller.refusal(agent))

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
        if body is None or is_paused(body):
            return
        if key in plan.crowded_out:
            await self._status.state(body, CROWDED_OUT)
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
        remedy = recall.remedy(self._agents_namespace) if self._called_back else ""
        waits = await self._farewell.let_go(
            body, plan.all_hosts, nodes, standings, all_are_there=complete, remedy=remedy
        )
        return LONGEST_PAUSE_SECONDS if waits is None else waits

    async def _leave(self, standings: Mapping[str, Standing]) -> None:
        """Take the DaemonSet away if no node has anything of ours any more."""
        awaited = frozenset(node for node, standing in standings.items() if not is_reverted(standing))
        if awaited and awaited != self._awaited:
            logger.info(
                "the agents stay until %d nodes have said that nothing of ours is left there: %s",
                len(awaited),
                ", ".join(sorted(awaited)[:MAXIMUM_NAMED]),
            )
        self._awaited = awaited
        if not awaited:
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
            if asking.asks(body) and not is_paused(body) and asking.refusal(body, self._settings) is None:
                try:
                    await self._status.state(body, conditions.false(verdict.reason, str(error)))
                except kube.ApiError as told:
                    logger.warning("the condition %s could not be written: %s", NODES_TRUSTED, told)
        return verdict.delay


CROWDED_OUT = conditions.false(
    "TooManyHosts", f"a node can be made to trust {MAXIMUM_HOSTS} hosts, and one that this Registry selects has them"
)


def _mark(body: kube.Object) -> tuple[Any, ...]:
    """All of a Registry that a pass looks at."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    return (
        metadata["uid"],
        metadata.get("deletionTimestamp"),
        metadata.get("finalizers"),
        is_paused(body),
        spec.get("nodeTrust"),
        spec.get("access"),
        status.get("addresses"),
        status.get("trustedHosts"),
        conditions.is_true(status.get("conditions") or (), conditions.READY),
    )
