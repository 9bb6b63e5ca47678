"""The API server's client where an answer says what nobody can read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from regkeeper.kube.client import ApiCluster
from regkeeper.reconcile.in_use import InUseUnknownError, images_in_use


@asynccontextmanager
async def answering(content: bytes) -> AsyncIterator[ApiCluster]:
    """A client of a server whose every answer is the same."""

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=content, content_type="application/json")

    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ApiClient(configuration=Configuration(host=host)) as client:
            yield ApiCluster(client)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "content", [b'{"metadata":{},"items":[' + b"[" * 12000 + b"]" * 12000 + b"]}", b"<html>"], ids=["deep", "no JSON"]
)
async def test_what_can_not_be_read_of_the_images_in_use_stops_a_run_that_then_ends(content: bytes) -> None:
    """Whoever may write ControllerRevisions in one namespace can write such a one, and the lock of a run of another
    came free no more.
    """
    async with answering(content) as cluster:
        with pytest.raises(InUseUnknownError, match=r"deployments of all namespaces can't be listed: .* can't be read"):
            await images_in_use(cluster)
