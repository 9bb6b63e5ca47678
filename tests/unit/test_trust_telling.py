"""Agents are told in portions, and one that can't be told holds up no other.

Proves of nodes.md: "with pod patches rate-limited".
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest

from regkeeper import kube
from regkeeper.nodes.desired import MAXIMUM_HOSTS, TrustList, encode
from regkeeper.reconcile.trust.agents import Agent, AgentPods
from regkeeper.reconcile.trust.plan import Plan
from regkeeper.reconcile.trust.reports import Reports
from regkeeper.reconcile.trust.telling import BETWEEN_WRITES_SECONDS, REFUSED_SECONDS, TOLD_AT_ONCE, Teller


class Stage:
    """Agents, one a node, and what their pods were told."""

    def __init__(self, count: int, *, apply_pending_edits: bool = False) -> None:
        self.now = 100.0
        self.refusing: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.agents = {
            node: Agent(node=node, pod=node, uid=node, address="", told=None, runs=True, trouble="")
            for node in (f"node-{number:02}" for number in range(count))
        }
        self.teller = Teller(
            cast(kube.Cluster, self),
            cast(AgentPods, self),
            cast(Reports, self),
            apply_pending_edits=apply_pending_edits,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            clock=lambda: self.now,
        )

    async def get(self, resource: kube.Resource, namespace: str | None, name: str) -> kube.Object:
        return {"metadata": {"uid": "cluster"}}

    def floor(self, agent: Agent) -> int:
        return 0

    async def tell(self, agent: Agent, trust: TrustList) -> None:
        encode(trust)
        self.asked.append(agent.node)
        if agent.node in self.refusing:
            raise self.refusing[agent.node]
        self.agents[agent.node] = replace(agent, told=trust)

    async def have_told(self, *hosts: str) -> bool:
        plan = Plan(hosts=dict.fromkeys(self.agents, hosts))
        return await self.teller.tell(plan, dict(self.agents))

    @property
    def told(self) -> int:
        return sum(agent.told is not None for agent in self.agents.values())


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_agents_are_told_whether_a_reload_may_apply_what_others_edited(is_allowed: bool) -> None:
    stage = Stage(1, apply_pending_edits=is_allowed)
    await stage.have_told("h:1")
    (agent,) = stage.agents.values()
    assert agent.told
    assert agent.told.apply_pending_edits is is_allowed


async def test_however_often_a_pass_is_woken_only_so_many_are_written_to_at_once() -> None:
    stage = Stage(2 * TOLD_AT_ONCE + 1)
    for expected in (1, 2):
        for _ in range(3):
            assert await stage.have_told("h:1")
            assert stage.told == expected * TOLD_AT_ONCE
        stage.now += BETWEEN_WRITES_SECONDS
    assert not await stage.have_told("h:1")
    assert stage.told == len(stage.agents)
    stage.now += BETWEEN_WRITES_SECONDS
    assert not await stage.have_told("h:1")
    assert len(stage.asked) == len(stage.agents), "who was told is not told again"


async def test_no_two_lists_have_one_generation_although_the_watch_shows_an_earlier_one() -> None:
    """A report about one would pass for a report about the other."""
    stage = Stage(1)
    await stage.have_told("h:1")
    earlier = dict(stage.agents)
    generations = set()
    for hosts in (("h:1", "h:2"), ("h:2",), ()):
        stage.now += BETWEEN_WRITES_SECONDS
        stage.agents = dict(earlier)
        await stage.have_told(*hosts)
        told = stage.agents["node-00"].told
        assert told is not None
        assert told.sets == (hosts,)
        generations.add(told.generation)
    assert len(generations) == 3


async def test_who_refuses_is_named_tried_again_later_and_holds_up_nobody() -> None:
    stage = Stage(3)
    stage.refusing["node-01"] = kube.ForbiddenError("a webhook says no", code=403)
    await stage.have_told("h:1")
    assert stage.told == 2
    assert stage.teller.refusal(stage.agents["node-01"]) == "its agent can't be told what to trust: a webhook says no"
    assert stage.teller.refusal(stage.agents["node-00"]) == ""
    stage.now += REFUSED_SECONDS / 2
    await stage.have_told("h:1")
    assert stage.asked.count("node-01") == 1
    del stage.refusing["node-01"]
    stage.now += REFUSED_SECONDS
    await stage.have_told("h:1")
    assert stage.told == 3
    assert stage.teller.refusal(stage.agents["node-01"]) == ""


async def test_more_hosts_than_an_agent_takes_are_no_reason_to_stop() -> None:
    stage = Stage(2)
    await stage.have_told(*(f"h-{number}:1" for number in range(MAXIMUM_HOSTS + 1)))
    assert stage.told == 0
    assert stage.teller.refusal(stage.agents["node-00"])


async def test_an_api_server_that_does_not_answer_ends_the_pass() -> None:
    stage = Stage(2)
    stage.refusing["node-00"] = kube.TransientError("busy", code=429)
    with pytest.raises(kube.TransientError):
        await stage.have_told("h:1")
    assert stage.told == 1
