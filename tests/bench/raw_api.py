"""An administrator's client for the tens of thousands of requests that a benchmark makes: concurrent, nothing parsed
that nobody reads.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.cluster.api import ApiError
from tests.cluster.plan import Plan

Object = dict[str, Any]

AT_ONCE = 32
"""Requests under way: enough to keep the API server busy on two cores."""
_REQUEST_SECONDS = 60


class RawApi:
    """Plain requests by path."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str) -> Object:
        """An object or a list."""
        async with self._session.get(path) as response:
            await _require_success(response)
            answer: Object = await response.json()
            return answer

    async def create(self, path: str, body: Object) -> None:
        """Create an object in a collection."""
        async with self._session.post(path, json=body) as response:
            await _require_success(response)

    async def merge(self, path: str, body: Object) -> None:
        """Merge a patch into an object."""
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._session.patch(path, data=json.dumps(body), headers=headers) as response:
            await _require_success(response)

    async def watch(self, path: str, selector: str) -> AsyncIterator[Object]:
        """Every object of a collection with that label, then each as it changes; never ends by itself."""
        query = {"labelSelector": selector, "watch": "true", "sendInitialEvents": "true"}
        query |= {"resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
        endless = aiohttp.ClientTimeout(total=None)
        while True:  # the API server ends each watch after half an hour or more
            async with self._session.get(path, params=query, timeout=endless) as response:
                await _require_success(response)
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] in ("ADDED", "MODIFIED"):
                        yield event["object"]


@asynccontextmanager
async def raw_api(plan: Plan) -> AsyncIterator[RawApi]:
    """Open the API server of a cluster as its administrator."""
    certificates = plan.data / "certificates"
    context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    context.load_cert_chain(certificates / "admin.crt", certificates / "admin.key")
    async with aiohttp.ClientSession(
        plan.server,
        connector=aiohttp.TCPConnector(ssl=context, limit=2 * AT_ONCE),
        timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS),
        read_bufsize=1 << 20,
    ) as session:
        yield RawApi(session)


async def all_of(requests: Iterable[Awaitable[None]]) -> None:
    """Make many requests, `AT_ONCE` at a time; the first that fails ends it."""
    waiting = iter(requests)

    async def work() -> None:
        for request in waiting:
            await request

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


async def _require_success(response: aiohttp.ClientResponse) -> None:
    if response.status >= 300:
        said = f"{response.method} {response.url.path}: {response.status} {await response.text()}"
        raise ApiError(said, response.status)
