"""What unit tests share."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from regkeeper.distribution import open_session


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as session:
        yield session
