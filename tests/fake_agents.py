"""Node agents of nodes that are not there: they answer as real ones do, from loopback addresses."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from regkeeper.nodes.report import (
    NONCE_HEADER,
    SIGNATURE_HEADER,
    HostReport,
    HostState,
    Report,
    ReportedProblem,
    RuntimeReport,
    encode_answer,
    question_is_genuine,
)


@dataclass
class FakeAgent:
    """One agent: what it would say of its node."""

    node: str
    pod_uid: str
    key: bytes
    generation: int = 0
    hosts: tuple[str, ...] = ()
    state: HostState = HostState.TRUSTED
    problems: tuple[ReportedProblem, ...] = ()
    list_problem: ReportedProblem | None = None
    reverted: bool = False
    obeys: bool = True
    """For who plays the agent: whether it does what it is told."""
    asked: int = 0

    def report(self) -> Report:
        hosts = tuple(HostReport(host=host, state=self.state, ours=True) for host in self.hosts)
        runtime = RuntimeReport(runtime="docker", hosts=hosts, reverted=self.reverted)
        return Report(
            node=self.node,
            pod_uid=self.pod_uid,
            generation=self.generation,
            cluster="here",
            list_problem=self.list_problem,
            problems=self.problems,
            runtimes=(runtime,),
        )


@dataclass
class FakeAgents:
    """Agents by their addresses, all at one port."""

    port: int = 0
    by_address: dict[str, FakeAgent] = field(default_factory=dict)
    refused: int = 0
    """Questions that were no operator's."""
    impostor: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    """Answers instead."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer, or let the impostor."""
        return await (self.impostor or self.answer)(request)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """As a real agent does."""
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        agent = self.by_address.get(address)
        if agent is None:
            return web.Response(status=404)
        headers: Mapping[str, str] = {name: request.headers.get(name, "") for name in (NONCE_HEADER, SIGNATURE_HEADER)}
        if not question_is_genuine(agent.key, headers, pod_uid=agent.pod_uid):
            self.refused += 1
            return web.Response(status=403)
        agent.asked += 1
        body, signed = encode_answer(agent.key, agent.report(), nonce=headers[NONCE_HEADER])
        return web.Response(body=body, headers=signed)


@asynccontextmanager
async def fake_agents() -> AsyncIterator[FakeAgents]:
    """Serve agents on every loopback address."""
    agents = FakeAgents()
    app = web.Application()
    app.add_routes([web.get("/report", agents.serve)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", 0).start()
        agents.port = runner.addresses[0][1]
        yield agents
    finally:
        await runner.cleanup()
