"""The end of the watches: each roll-out of the operator waits for it."""

import asyncio
import signal

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from regkeeper.handlers import watches
from regkeeper.handlers.watches import Watches
from regkeeper.settings import Settings
from tests.waiting import wait_for_async

KOPFS_PATIENCE = 5  # seconds, with tasks that nobody ended


async def test_they_end_at_once_when_kubelet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set[str]()

    async def answer(request: web.Request) -> web.Response:
        asked.add(request.path)
        return web.json_response({"versions": [], "groups": []})

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    async with TestServer(application) as server:

        async def login(**_: object) -> kopf.ConnectionInfo:
            return kopf.ConnectionInfo(server=str(server.make_url("")))

        monkeypatch.setattr(watches, "_login", login)
        running = asyncio.ensure_future(Watches(Settings(), (), show=lambda *_: None, restarted=lambda: None).run())
        await wait_for_async(
            lambda: asked >= {"/api", "/apis"}, 30, "kopf to ask for the kinds, with its ear on signals"
        )
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, "it would end pytest"
        loop = asyncio.get_running_loop()
        told = loop.time()
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(running, 30)
        assert loop.time() - told < KOPFS_PATIENCE
