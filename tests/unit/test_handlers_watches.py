"""The watches: their end, for which each roll-out of the operator waits, and their beginning anew."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from regkeeper import kube
from regkeeper.handlers import watches
from regkeeper.handlers.watches import EventType, Watches
from regkeeper.settings import Settings
from tests.waiting import wait_for_async

KOPFS_PATIENCE = 5  # seconds, with tasks that nobody ended
SOON = 30  # seconds; takes a fraction of one

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def api_server(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The one that the watches ask."""
    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    async with TestServer(application) as server:

        async def login(**_: object) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=str(server.make_url("")))

        monkeypatch.setattr(watches, "_login", login)
        yield


async def test_they_end_at_once_when_kubelet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set[str]()

    async def answer(request: web.Request) -> web.Response:
        asked.add(request.path)
        return web.json_response({"versions": [], "groups": []})

    async with api_server(answer, monkeypatch):
        running = asyncio.ensure_future(Watches(Settings(), (), show=lambda *_: None, began_anew=lambda: None).run())
        await wait_for_async(
            lambda: asked >= {"/api", "/apis"}, SOON, "kopf to ask for the kinds, with its ear on signals"
        )
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, "it would end pytest"
        loop = asyncio.get_running_loop()
        told = loop.time()
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(running, SOON)
        assert loop.time() - told < KOPFS_PATIENCE


class Jobs:
    """What an API server says of Jobs. Its first watch ends with `410 Gone` as soon as a test says so."""

    def __init__(self) -> None:
        self.there = ["stays", "goes"]
        self.is_lost = asyncio.Event()
        self.is_over = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watched(request)
        group = {"name": "batch", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}
        watched = {"namespaced": True, "verbs": ["list", "watch"]}
        kind = {"kind": "Job", "name": "jobs", "singularName": "job", **watched}
        # kopf waits until it knows of them.
        namespaces = {"kind": "Namespace", "name": "namespaces", "singularName": "namespace", **watched}
        metadata = [{"name": name, "namespace": "images", "uid": name, "resourceVersion": "1"} for name in self.there]
        listed = {"kind": "JobList", "apiVersion": "batch/v1", "metadata": {"resourceVersion": "1"}}
        return web.json_response(
            {
                "/api": {"versions": ["v1"]},
                "/api/v1": {"resources": [namespaces]},
                "/apis": {"groups": [group]},
                "/apis/batch/v1": {"resources": [kind]},
                "/apis/batch/v1/jobs": {**listed, "items": [{"metadata": each} for each in metadata]},
            }[request.path]
        )

    async def _watched(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if self.is_lost.is_set():
            await self.is_over.wait()
        else:
            await self.is_lost.wait()
            await response.write(b'{"type": "ERROR", "object": {"code": 410}}\n')
        return response


async def test_of_a_watch_that_begins_anew_is_told_and_not_of_one_that_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows what is there: that something has gone meanwhile is in no event."""
    jobs, said = Jobs(), list[str]()

    def show(event: EventType, body: kube.Object) -> None:
        assert event is None
        said.append(body["metadata"]["name"])

    async with api_server(jobs.answer, monkeypatch):
        watching = Watches(Settings(), (kube.JOB,), show=show, began_anew=lambda: said.append("anew"))
        running = asyncio.ensure_future(watching.run())
        await wait_for_async(lambda: len(said) >= 2, SOON, "the first listing")
        jobs.there = ["stays"]
        jobs.is_lost.set()
        await wait_for_async(lambda: len(said) >= 4, SOON, lambda: f"the second listing, after {said}")
        assert sorted(said[:2]) == ["goes", "stays"]
        assert said[2:] == ["anew", "stays"]
        jobs.is_over.set()
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(running, SOON)
