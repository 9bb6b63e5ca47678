"""Which nodes there are, as far as agents are concerned: listed anew for a pod that is new, not for each pass."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from regkeeper import kube
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.trust.agents import Agent, AgentPods
from regkeeper.reconcile.trust.placement import Placement


class Cluster:
    """Nodes, and how often they were listed. `breaks` is the number of those after which a listing is cut off."""

    def __init__(self) -> None:
        self.nodes = ["one"]
        self.listings = 0
        self.breaks: int | None = None

    async def list(self, resource: kube.Resource, **_: object) -> AsyncIterator[kube.Object]:
        assert resource is kube.NODE
        self.listings += 1
        for number, name in enumerate(self.nodes):
            if number == self.breaks:
                raise kube.TransientError("too old resource version", code=500)
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


async def test_half_a_listing_is_none() -> None:
    """nodes.md: "The operator writes the list only after a complete listing": who is missing would be told nothing."""
    cluster, pods, now = Cluster(), Pods("one", "two"), 0.0
    cluster.nodes = ["one", "two"]
    placement = Placement(Nodes(cast(kube.Cluster, cluster), lambda: now), cast(AgentPods, pods))
    for broken in (0, 1):
        cluster.breaks = broken
        with pytest.raises(kube.TransientError):
            await placement.find()
        now += 1
    cluster.breaks = None
    nodes, agents = await placement.find()
    assert set(nodes) == set(agents) == {"one", "two"}
    now += 1000
    cluster.breaks = 1
    with pytest.raises(kube.TransientError):
        await placement.find()
