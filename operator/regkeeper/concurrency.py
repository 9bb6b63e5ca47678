"""Work on many items at once with answers in the order of the items; wait for an event, or a while."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def in_order(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Answer]], *, ahead: int
) -> AsyncGenerator[Answer, None]:
    """Yield `await work(item)` for each item in turn, with up to `ahead` items under way.

    Memory is bounded by `ahead` answers, however many items there are. Leave it early through
    `contextlib.aclosing`: what is under way is then cancelled and awaited.
    """

    async def run(item: Item) -> Answer:
        return await work(item)

    under_way: deque[asyncio.Task[Answer]] = deque()
    try:
        for item in items:
            under_way.append(asyncio.create_task(run(item)))
            if len(under_way) >= ahead:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def wait_at_most(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until an event is set; False if it was not within so many seconds (None: without limit).

    In this very task: `asyncio.wait_for` makes another before Python 3.12, and kopf, at its end, waits five seconds for
    every task that was born while it ran, and cancels it.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
