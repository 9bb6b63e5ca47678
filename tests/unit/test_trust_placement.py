"""Which nodes there are, as far as agents are concerned: listed anew for a pod that is new, not for each pass."""

from typing import cast

from regkeeper import kube
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.trust.agents import Agent, AgentPods
from regkeeper.reconcile.trust.placement import Placement


class Cluster:
    """Nodes, and how often they were listed."""

    def __init__(self) -> None:
        self.nodes = ["one"]
        self.listings = 0

    async def list(self, resource: kube.Resource, **_: object) -> object:
        assert resource is kube.NODE
        self.listings += 1
        for name in self.nodes:
            yield {"metadata": {"name": name}}


class Pods:
    """Agents by their nodes."""

    def __init__(self, *nodes: str) -> None:
        self.agents = {node: agent(node) for node in nodes}

    def by_node(self) -> dict[str, Agent]:
        return self.agents


def agent(node: str, uid: str = "") -> Agent:
    return Agent(node=node, pod="p", uid=uid or node, address="", told=None, runs=True, trouble="")


async def test_a_pod_on_a_node_that_was_deleted_has_nodes_listed_once_not_at_each_pass() -> None:
    cluster, pods, now = Cluster(), Pods("one"), 0.0
    placement = Placement(Nodes(cast(kube.Cluster, cluster), lambda: now), cast(AgentPods, pods))
    await placement.find()
    now, pods.agents = 5.0, {"one": agent("one"), "gone": agent("gone")}
    for _ in range(10):
        now += 2
        nodes, agents = await placement.find()
        assert list(agents) == list(nodes) == ["one"]
    assert cluster.listings == 2


async def test_a_pod_that_is_new_on_a_node_that_is_new_is_found_at_once() -> None:
    cluster, pods, now = Cluster(), Pods("one", "two"), 0.0
    placement = Placement(Nodes(cast(kube.Cluster, cluster), lambda: now), cast(AgentPods, pods))
    await placement.find()
    now = 2.0
    cluster.nodes.append("two")
    pods.agents["two"] = agent("two", "another pod")
    _, agents = await placement.find()
    assert set(agents) == {"one", "two"}
