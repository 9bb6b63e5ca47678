"""The operator's own HTTP: probes and metrics, each on a port of its own."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from regkeeper.metrics import CONTENT_TYPE, Metrics


def probe_app(ailment: Callable[[], str | None], is_synced: Callable[[], bool]) -> web.Application:
    """`/livez` fails with what ails the operator, `/readyz` until everything was listed once.

    That `/livez` answers at all proves that the event loop turns.
    """

    async def livez(_: web.Request) -> web.Response:
        trouble = ailment()
        return web.Response(text=trouble or "ok", status=503 if trouble else 200)

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok") if is_synced() else web.Response(text="listing", status=503)

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz)])
    return app


def metrics_app(metrics: Metrics) -> web.Application:
    """`/metrics` in prometheus' text format."""

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/metrics", exposition)])
    return app


@asynccontextmanager
async def serve(app: web.Application, port: int) -> AsyncIterator[None]:
    """Serve `app` on every address of the pod."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, None, port).start()
        yield
    finally:
        await runner.cleanup()
