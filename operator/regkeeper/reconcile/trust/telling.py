"""Tell agents what their nodes are to trust: those whose pods say something else, some at a time."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from regkeeper import kube
from regkeeper.nodes.desired import TrustList
from regkeeper.nodes.reasons import NodeProblemError
from regkeeper.reconcile.trust.agents import Agent, AgentPods
from regkeeper.reconcile.trust.plan import Plan
from regkeeper.reconcile.trust.reports import Reports

logger = logging.getLogger(__name__)

TOLD_AT_ONCE = 25
"""Pods that a pass writes to; a later pass goes on."""
BETWEEN_WRITES_SECONDS = 0.5
"""Until that pass: each write wakes passes by its watch event, and 50 a second are enough for the API server."""
REFUSED_SECONDS = 30.0
"""Until a pod that the API server does not let us write to is tried again."""


class Teller:
    """Writes lists into agents' pods. `now` gives the time of day, `clock` seconds that only grow."""

    def __init__(
        self,
        cluster: kube.Cluster,
        pods: AgentPods,
        reports: Reports,
        *,
        apply_pending_edits: bool,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._pods = pods
        self._reports = reports
        self._apply_pending_edits = apply_pending_edits
        self._now = now
        self._clock = clock
        self._cluster_id = ""
        self._wrote = -BETWEEN_WRITES_SECONDS
        """When pods were written to last."""
        self._written: dict[str, int] = {}
        """Generation that was written into a pod, by its uid. The watch may show what it said before for a moment."""
        self._refused: dict[str, tuple[float, str]] = {}
        """When a pod, by its uid, could not be written to, and why."""

    async def tell(self, plan: Plan, agents: Mapping[str, Agent]) -> bool:
        """Write to pods that say something else than the plan; return whether some are left to be written to.

        A pod that can't be written to holds up no other.

        Raises:
            kube.TransientError: the API server does not answer as it should.
        """
        cluster = await self._find_cluster_id()
        uids = {agent.uid for agent in agents.values()}
        self._refused = {uid: refused for uid, refused in self._refused.items() if uid in uids}
        self._written = {uid: generation for uid, generation in self._written.items() if uid in uids}
        pending: list[tuple[Agent, TrustList]] = []
        for node, agent in sorted(agents.items()):
            hosts = plan.hosts_of(node, agent.told.hosts_of(node) if agent.told else None)
            if hosts is None:
                continue
            trust = TrustList(
                generation=self._generation(agent),
                cluster=cluster,
                apply_pending_edits=self._apply_pending_edits,
                sets=(hosts,),
                nodes={node: 0},
            )
            if _is_told(agent, trust, self._reports.floor(agent)):
                self._refused.pop(agent.uid, None)
            elif self._may_be_tried(agent):
                pending.append((agent, trust))
        if pending and self._clock() - self._wrote >= BETWEEN_WRITES_SECONDS:
            self._wrote = self._clock()
            now, pending = pending[:TOLD_AT_ONCE], pending[TOLD_AT_ONCE:]
            answers = await asyncio.gather(*(self._tell(agent, trust) for agent, trust in now), return_exceptions=True)
            for answer in answers:
                if answer is not None:
                    raise answer
            logger.info("told %d of %d agents what their nodes are to trust", len(now), len(now) + len(pending))
        return bool(pending)

    def refusal(self, agent: Agent) -> str:
        """Why an agent could not be told what it is to be told; empty: it could."""
        return self._refused.get(agent.uid, (0.0, ""))[1]

    async def _tell(self, agent: Agent, trust: TrustList) -> None:
        try:
            await self._pods.tell(agent, trust)
        except kube.TransientError:
            raise
        except (kube.ApiError, NodeProblemError) as error:
            logger.warning("pod %s can't be told what its node is to trust: %s", agent.pod, error)
            self._refused[agent.uid] = self._clock(), f"its agent can't be told what to trust: {error}"
        else:
            self._refused.pop(agent.uid, None)
            self._written[agent.uid] = trust.generation

    def _may_be_tried(self, agent: Agent) -> bool:
        refused = self._refused.get(agent.uid)
        return refused is None or self._clock() - refused[0] >= REFUSED_SECONDS

    def _generation(self, agent: Agent) -> int:
        """Of the next list for an agent: the time, so that it grows even where every trace of the last one is lost."""
        told = agent.told.generation if agent.told else 0
        last = max(told, self._written.get(agent.uid, 0))
        return max(int(self._now().timestamp()), last + 1, self._reports.floor(agent))

    async def _find_cluster_id(self) -> str:
        """Uid of kube-system, which lives as long as the cluster."""
        if not self._cluster_id:
            body = await self._cluster.get(kube.NAMESPACE, None, "kube-system")
            self._cluster_id = body["metadata"]["uid"]
        return self._cluster_id


def _is_told(agent: Agent, trust: TrustList, floor: int) -> bool:
    """Whether the pod says just this, of whatever generation, and the agent may accept it."""
    told = agent.told
    return (
        told is not None
        and told.generation >= floor
        and (told.cluster, told.apply_pending_edits, told.sets, told.nodes)
        == (trust.cluster, trust.apply_pending_edits, trust.sets, trust.nodes)
    )
