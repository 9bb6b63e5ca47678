"""The helper that all tests wait with."""

import asyncio

import pytest

from tests.waiting import WaitTimeoutError, wait_for, wait_for_async


def test_returns_the_first_true_answer() -> None:
    answers = iter([None, 0, "there"])

    assert wait_for(lambda: next(answers), 5, "an answer") == "there"


def test_tells_at_the_deadline_what_was_there_instead() -> None:
    seen: list[int] = []

    with pytest.raises(WaitTimeoutError, match=r"^waited 0\.05 s for more than \d+ calls$"):
        wait_for(lambda: seen.append(1), 0.05, lambda: f"more than {len(seen)} calls")


def test_asks_once_even_without_time() -> None:
    assert wait_for(lambda: 7, 0, "seven") == 7


def test_an_exception_ends_the_wait() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_for(lambda: 1 / 0, 5, "never")


async def test_waits_beside_other_coroutines() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.03, event.set)

    assert await wait_for_async(event.is_set, 5, "the event")


async def test_awaits_what_a_coroutine_function_answers() -> None:
    async def answer() -> str:
        return "there"

    assert await wait_for_async(answer, 5, "an answer") == "there"
