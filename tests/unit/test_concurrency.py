"""Waiting for an event, or a while."""

import asyncio

from regkeeper.concurrency import wait_at_most


async def test_no_task_is_born_that_kopf_would_wait_for_and_cancel_at_its_end() -> None:
    """The operator's status was 1 then, and its end took five seconds, from its second look at everything on."""
    event = asyncio.Event()
    waiting = asyncio.ensure_future(wait_at_most(event, 30))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {waiting, asyncio.current_task()}
    event.set()
    assert await waiting


async def test_it_says_whether_the_event_came() -> None:
    event = asyncio.Event()
    assert not await wait_at_most(event, 0.01)
    event.set()
    assert await wait_at_most(event, None)
