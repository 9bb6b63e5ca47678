"""Agents are asked again and again, and only an answer that says something new makes a pass over all nodes.

Proves of issue 4: "the operator with 1,000 fake agents' reports stays within its limits".
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest

from regkeeper.nodes.desired import TrustList
from regkeeper.nodes.reasons import Problem, Reason
from regkeeper.nodes.report import (
    HostReport,
    HostState,
    Report,
    ReportedProblem,
    RuntimeReport,
    StaleReportError,
    reported,
)
from regkeeper.reconcile.trust.agents import Agent
from regkeeper.reconcile.trust.questions import AgentSilentError
from regkeeper.reconcile.trust.reports import (
    BEHIND_SECONDS,
    CALM_SECONDS,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    PATIENCE,
    Reports,
)
from tests.waiting import wait_for_async

KEY = b"k" * 32
UNREACHABLE = reported(Problem(Reason.UNREACHABLE, {"host": "a:5000", "detail": "refused"}))


def agent_on(node: str) -> Agent:
    told = TrustList(generation=5, cluster="here", sets=(("a:5000",),), nodes={node: 0})
    return Agent(node=node, pod=node, uid=node, address="127.0.0.1", told=told, runs=True, trouble="")


@dataclass(eq=False)
class Timer:
    """Of a clock that only tests move."""

    due: float
    then: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Agents:
    """Agents that answer at once, the reports about them, and a clock that only tests move."""

    def __init__(self, size: int = 1) -> None:
        self.by_node = {f"node-{number}": agent_on(f"node-{number}") for number in range(size)}
        self.hosts = HostReport(host="a:5000", state=HostState.TRUSTED, ours=True)
        self.silent = False
        self.broken = False
        self.generation: int | None = None
        """Of the list that they carried out; None: of the one that they were told."""
        self.mounted: int | None = None
        """Of the list that they got; None: they are older, and do not say it."""
        self.list_problem: ReportedProblem | None = None
        self.asked = 0
        self.news = 0
        """Answers that the passes were to hear of."""
        self.now = 0.0
        self.chance = 0.5
        self.timers: list[Timer] = []
        self.reports = Reports(
            self.ask, clock=lambda: self.now, random=lambda: self.chance, arrived=self.hear, call_later=self.call_later
        )

    def call_later(self, seconds: float, then: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + seconds, then))
        return self.timers[-1]

    async def ask(self, agent: Agent, key: bytes) -> Report:
        self.asked += 1
        if self.broken:
            raise ZeroDivisionError
        if self.silent:
            raise AgentSilentError("nobody there")
        if self.generation is not None:
            raise StaleReportError(self.generation, self.list_problem, self.mounted)
        runtime = RuntimeReport(runtime="docker", hosts=(self.hosts,), reverted=False)
        return Report(node=agent.node, pod_uid=agent.uid, nonce=f"{self.asked:032}", generation=5, runtimes=(runtime,))

    def hear(self) -> None:
        self.news += 1

    async def after(self, seconds: float) -> int:
        """Let time pass, make a pass, and return how many were asked."""
        self.now += seconds
        before = self.asked
        self.reports.refresh(self.by_node, KEY)
        return await self._answered(before)

    async def without_a_pass(self, seconds: float) -> int:
        """Let time pass that timers alone notice, and return how many were asked."""
        self.now += seconds
        before = self.asked
        for timer in [timer for timer in self.timers if timer.due <= self.now and not timer.cancelled]:
            self.timers.remove(timer)
            timer.then()
        return await self._answered(before)

    async def _answered(self, before: int) -> int:
        await wait_for_async(lambda: not self.reports._inquiries._tasks, 30, "all answers")
        return self.asked - before

    def tell(self, generation: int) -> None:
        """Have the pod of the first node say the same in a list of another generation."""
        told = self.by_node["node-0"].told
        assert told is not None
        later = TrustList(generation=generation, cluster=told.cluster, sets=told.sets, nodes=told.nodes)
        self.by_node["node-0"] = replace(self.by_node["node-0"], told=later)

    @property
    def floor(self) -> int:
        return self.reports.floor(self.by_node["node-0"])

    def report(self, node: str = "node-0") -> Report | None:
        return self.reports.standing(self.by_node[node]).report


@pytest.fixture
async def agents() -> AsyncIterator[Agents]:
    agents = Agents()
    yield agents
    await agents.reports.close()


async def test_a_calm_answer_that_says_the_same_again_makes_no_pass(agents: Agents) -> None:
    assert await agents.after(0) == 1
    assert agents.news == 1, "the first one is news"
    for _ in range(3):
        assert await agents.after(CALM_SECONDS) == 1
    assert agents.news == 1
    agents.hosts = HostReport(host="a:5000", state=HostState.BLOCKED, ours=True, problem=UNREACHABLE)
    await agents.after(CALM_SECONDS)
    assert agents.news == 2
    report = agents.report()
    assert report is not None
    assert report.runtimes[0].hosts == (agents.hosts,)
    await agents.after(LONGEST_PAUSE_SECONDS)
    assert agents.news == 2, "it lags for the same reason still"


async def test_who_lags_is_asked_again_although_no_pass_is_made(agents: Agents) -> None:
    agents.hosts = HostReport(host="a:5000", state=HostState.PENDING, ours=True)
    await agents.after(0)
    assert await agents.without_a_pass(FIRST_PAUSE_SECONDS * 0.9) == 0
    assert await agents.without_a_pass(FIRST_PAUSE_SECONDS * 0.1) == 1
    assert await agents.without_a_pass(FIRST_PAUSE_SECONDS) == 0
    assert await agents.without_a_pass(FIRST_PAUSE_SECONDS) == 1, "it is asked ever more seldom"
    assert agents.news == 1
    agents.hosts = HostReport(host="a:5000", state=HostState.TRUSTED, ours=True)
    await agents.without_a_pass(LONGEST_PAUSE_SECONDS)
    assert agents.news == 2


async def test_silence_is_news_once_it_has_lasted(agents: Agents) -> None:
    await agents.after(0)
    agents.silent = True
    for _ in range(PATIENCE - 1):
        assert await agents.after(CALM_SECONDS) == 1
    assert agents.news == 1
    assert agents.report() is not None
    await agents.after(CALM_SECONDS)
    assert agents.news == 2
    assert agents.reports.standing(agents.by_node["node-0"]).silence == "its agent does not answer: nobody there"
    await agents.after(CALM_SECONDS)
    assert agents.news == 2


async def test_who_is_told_something_else_is_asked_at_once(agents: Agents) -> None:
    await agents.after(0)
    assert await agents.after(1) == 0, "it is calm"
    agents.tell(6)
    assert agents.report() is None, "what it said was about another list"
    assert await agents.after(0) == 1


@pytest.mark.parametrize("reason", [None, Reason.LIST_MISSING], ids=["an earlier list", "none"])
async def test_an_agent_whose_file_kubelet_left_as_it_was_is_told_again(agents: Agents, reason: Reason | None) -> None:
    agents.generation = 4
    agents.list_problem = reported(Problem(reason)) if reason else None
    for generation, patience in ((5, BEHIND_SECONDS), (6, 2 * BEHIND_SECONDS), (7, 4 * BEHIND_SECONDS)):
        agents.tell(generation)
        await agents.after(0)
        news = agents.news
        await agents.after(patience * 0.9)
        assert agents.floor == 0, "kubelet takes its time"
        assert agents.news == news
        await agents.after(patience)
        assert agents.floor == generation + 1
        assert agents.news == news + 1, "a pass writes to its pod"
    agents.generation = None
    agents.tell(8)
    await agents.after(0)
    assert agents.floor == 0
    agents.generation = 8
    agents.tell(9)
    await agents.after(0)
    await agents.after(BEHIND_SECONDS)
    assert agents.floor == 10, "it followed meanwhile"


@pytest.mark.parametrize("reason", [None, Reason.LIST_MISSING], ids=["another before", "none before"])
async def test_who_has_got_the_list_and_is_at_work_on_it_is_not_told_again(
    agents: Agents, reason: Reason | None
) -> None:
    """Else a pass of 16 s is made thrice, and a deletion ends before the node has said that it forgot."""
    agents.generation, agents.mounted = 4, 4
    agents.list_problem = reported(Problem(reason)) if reason else None
    await agents.after(0)
    agents.mounted = 5
    for _ in range(10):
        await agents.after(BEHIND_SECONDS)
        assert agents.floor == 0
    agents.mounted = 4
    await agents.after(LONGEST_PAUSE_SECONDS)
    assert agents.floor == 6, "what it has got is older"


@pytest.mark.parametrize("starts", ["kubelet", "agent"])
async def test_an_agent_that_starts_long_after_it_was_told_is_not_told_again_at_once(
    agents: Agents, starts: str
) -> None:
    running = agents.by_node["node-0"]
    agents.by_node["node-0"] = replace(running, runs=starts != "kubelet")
    agents.silent = True
    await agents.after(0)
    await agents.after(2 * BEHIND_SECONDS)
    agents.by_node["node-0"], agents.silent, agents.generation = running, False, 0
    assert await agents.after(2 * BEHIND_SECONDS) == 1
    assert agents.floor == 0, "it has just begun"
    await agents.after(BEHIND_SECONDS)
    assert agents.floor == 6


@pytest.mark.parametrize("reason", [Reason.OTHER_AGENT, Reason.LIST_INVALID])
async def test_who_does_not_follow_for_a_reason_is_not_told_again(agents: Agents, reason: Reason) -> None:
    agents.generation, agents.list_problem = 4, reported(Problem(reason))
    await agents.after(0)
    await agents.after(2 * BEHIND_SECONDS)
    assert agents.floor == 0


async def test_who_does_not_run_is_asked_once_it_does(agents: Agents) -> None:
    running = agents.by_node["node-0"]
    agents.by_node["node-0"] = replace(running, runs=False)
    assert await agents.after(0) == 0
    agents.by_node["node-0"] = running
    assert await agents.after(0) == 1


async def test_who_is_gone_is_asked_no_more(agents: Agents) -> None:
    agents.hosts = HostReport(host="a:5000", state=HostState.PENDING, ours=True)
    await agents.after(0)
    del agents.by_node["node-0"]
    assert await agents.after(CALM_SECONDS) == 0
    assert await agents.without_a_pass(0) == 0


@pytest.mark.parametrize(
    ("state", "silent", "pause"),
    [(HostState.TRUSTED, False, 250), (HostState.PENDING, False, 50), (HostState.TRUSTED, True, 1000 * 5 / 16)],
    ids=["calm", "lagging", "silent"],
)
async def test_in_a_large_cluster_agents_are_asked_more_seldom(state: HostState, silent: bool, pause: float) -> None:
    agents = Agents(size=1000)
    agents.silent = silent
    agents.hosts = HostReport(host="a:5000", state=state, ours=True)
    try:
        for _ in range(13):
            await agents.after(400)
        assert agents.reports._known["node-0"].due - agents.now == pytest.approx(pause)
    finally:
        await agents.reports.close()


async def test_in_the_largest_cluster_a_calm_agent_is_asked_every_five_minutes_even_so() -> None:
    agents = Agents(size=5000)
    agents.chance = 0.999
    try:
        await agents.after(0)
        assert agents.reports._known["node-0"].due - agents.now == 300, "the guide says so"
    finally:
        await agents.reports.close()


async def test_a_mistake_in_a_question_is_told_by_the_next_pass_and_asked_again(agents: Agents) -> None:
    agents.broken = True
    await agents.after(0)
    assert agents.news == 1
    with pytest.raises(ZeroDivisionError):
        await agents.after(CALM_SECONDS)
    agents.broken = False
    await agents.after(CALM_SECONDS)
    assert agents.report() is not None
