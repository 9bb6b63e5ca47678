"""Which nodes there are, and the agents that run on them."""

from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.trust.agents import Agent, AgentPods
from regkeeper.reconcile.trust.plan import Labels

JOINED_SECONDS = 1.0
"""How old the listing of nodes may be when a pod turns up on one that is not in it."""


class Placement:
    """Brings nodes and agents together."""

    def __init__(self, nodes: Nodes, pods: AgentPods) -> None:
        self._nodes = nodes
        self._pods = pods
        self._homeless: frozenset[str] = frozenset()
        """Pods, by their uids, on nodes that a listing made after they had turned up did not have."""

    async def find(self) -> tuple[Labels, dict[str, Agent]]:
        """All nodes, and the agents of those that are still there.

        Raises:
            kube.ApiError: the nodes can't be listed.
        """
        agents = self._pods.by_node()
        nodes = await self._nodes.labels()
        if {agent.uid for node, agent in agents.items() if node not in nodes} - self._homeless:
            nodes = await self._nodes.labels(fresh_seconds=JOINED_SECONDS)
        # A pod stays for a while on a node that was deleted: that is no reason to list all nodes again and again.
        self._homeless = frozenset(agent.uid for node, agent in agents.items() if node not in nodes)
        return nodes, {node: agent for node, agent in agents.items() if node in nodes}
