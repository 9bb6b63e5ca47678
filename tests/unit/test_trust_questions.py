"""The operator believes an agent's answer to its own question, and nothing else that comes from its address.

Proves of nodes.md: "a forged pod, a replayed reply, a stranger's request".
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from regkeeper.distribution import open_session
from regkeeper.nodes.desired import TrustList
from regkeeper.nodes.report import MAXIMUM_BYTES, SIGNATURE_HEADER, ReportRefusedError, StaleReportError
from regkeeper.reconcile.trust import questions
from regkeeper.reconcile.trust.agents import Agent
from regkeeper.reconcile.trust.questions import AgentSilentError, Questioner
from tests.fake_agents import FakeAgent, FakeAgents, fake_agents

KEY = b"k" * 32
ADDRESS = "127.0.7.1"
TOLD = TrustList(generation=5, cluster="here", sets=(("a:5000",),), nodes={"node": 0})
AGENT = Agent(node="node", pod="agent", uid="uid", address=ADDRESS, told=TOLD, runs=True, trouble="")


@pytest.fixture
async def agents() -> AsyncIterator[FakeAgents]:
    async with fake_agents() as running:
        running.by_address[ADDRESS] = FakeAgent("node", "uid", KEY, generation=5, hosts=("a:5000",))
        yield running


@pytest.fixture
async def questioner(agents: FakeAgents) -> AsyncIterator[Questioner]:
    async with open_session(keep_alive=False) as session:
        yield Questioner(session, port=agents.port)


async def test_an_agent_answers(questioner: Questioner) -> None:
    report = await questioner.ask(AGENT, KEY)
    assert (report.node, report.generation) == ("node", 5)


async def test_a_stranger_gets_no_answer(questioner: Questioner, agents: FakeAgents) -> None:
    with pytest.raises(ReportRefusedError, match="403"):
        await questioner.ask(AGENT, b"x" * 32)
    assert agents.refused == 1


async def test_a_question_for_another_pod_gets_no_answer(questioner: Questioner) -> None:
    """Who takes over an address can't send on what the operator asks there."""
    with pytest.raises(ReportRefusedError, match="403"):
        await questioner.ask(replace(AGENT, uid="other"), KEY)


async def test_a_forger_without_the_key_is_not_believed(questioner: Questioner, agents: FakeAgents) -> None:
    async def forge(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"{}", headers={SIGNATURE_HEADER: "0" * 64})

    agents.impostor = forge
    with pytest.raises(ReportRefusedError, match="signature"):
        await questioner.ask(AGENT, KEY)


async def test_a_replayed_answer_is_not_believed(questioner: Questioner, agents: FakeAgents) -> None:
    recorded: list[tuple[bytes, str]] = []

    async def record(request: web.Request) -> web.StreamResponse:
        response = await agents.answer(request)
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        recorded.append((response.body, response.headers[SIGNATURE_HEADER]))
        body, signature = recorded[0]
        return web.Response(body=body, headers={SIGNATURE_HEADER: signature})

    agents.impostor = record
    await questioner.ask(AGENT, KEY)
    with pytest.raises(ReportRefusedError, match="signature"):
        await questioner.ask(AGENT, KEY)


async def test_another_nodes_answer_is_not_believed(questioner: Questioner) -> None:
    with pytest.raises(ReportRefusedError, match="node"):
        await questioner.ask(replace(AGENT, node="other"), KEY)


async def test_an_answer_about_another_list_is_stale(questioner: Questioner, agents: FakeAgents) -> None:
    agents.by_address[ADDRESS].generation = 9
    with pytest.raises(StaleReportError) as caught:
        await questioner.ask(AGENT, KEY)
    assert caught.value.generation == 9


async def test_an_endless_answer_is_cut_off(questioner: Questioner, agents: FakeAgents) -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * (MAXIMUM_BYTES + 1))

    agents.impostor = flood
    with pytest.raises(ReportRefusedError, match="too large"):
        await questioner.ask(AGENT, KEY)


async def test_an_answer_that_trickles_is_left(
    questioner: Questioner, agents: FakeAgents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never ends and is never too large."""

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    agents.impostor = trickle
    monkeypatch.setattr(questions, "ANSWER_SECONDS", 0.2)
    async with asyncio.timeout(10):
        with pytest.raises(AgentSilentError, match="in time"):
            await questioner.ask(AGENT, KEY)


async def test_nobody_answers(questioner: Questioner, agents: FakeAgents) -> None:
    async with open_session() as session:
        with pytest.raises(AgentSilentError):
            await Questioner(session, port=1).ask(AGENT, KEY)


async def test_no_redirect_is_followed(questioner: Questioner, agents: FakeAgents) -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://127.0.0.1:1/")

    agents.impostor = elsewhere
    with pytest.raises(ReportRefusedError, match="302"):
        await questioner.ask(AGENT, KEY)
