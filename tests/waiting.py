"""Waiting for a condition instead of sleeping for a while: the one helper of all tests and of `tests.cluster`."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar, overload

T = TypeVar("T")

Describe = str | Callable[[], object]
"""What is awaited; as a function it is called at the deadline, to tell what was there instead."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25  # seconds


class WaitTimeoutError(AssertionError):
    """The condition did not hold before the deadline. An AssertionError, so that pytest reports a failed test."""


def wait_for(condition: Callable[[], T], timeout: float, describe: Describe) -> T:
    """Call `condition` until its answer is true, and return that answer.

    An exception in `condition` ends the wait at once: what may fail for a while has to say so itself.

    Args:
        condition: asked at growing intervals of 10 to 250 ms, the last time at the deadline.
        timeout: seconds.
        describe: completes the sentence "waited N s for …".

    Raises:
        WaitTimeoutError: the deadline passed.
    """
    for pause in _pauses(timeout):
        if answer := condition():
            return answer
        time.sleep(pause)
    if answer := condition():
        return answer
    raise WaitTimeoutError(_message(timeout, describe))


@overload
async def wait_for_async(condition: Callable[[], Awaitable[T]], timeout: float, describe: Describe) -> T: ...  # noqa: ASYNC109
@overload
async def wait_for_async(condition: Callable[[], T], timeout: float, describe: Describe) -> T: ...  # noqa: ASYNC109
async def wait_for_async(condition: Callable[[], Awaitable[T] | T], timeout: float, describe: Describe) -> T:  # noqa: ASYNC109
    """Like `wait_for`, for a coroutine function (or a plain function) under a running event loop."""

    async def ask() -> T:
        answer = condition()
        return await answer if inspect.isawaitable(answer) else answer

    for pause in _pauses(timeout):
        if answer := await ask():
            return answer
        await asyncio.sleep(pause)
    if answer := await ask():
        return answer
    raise WaitTimeoutError(_message(timeout, describe))


def _pauses(timeout: float) -> Iterator[float]:
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while (remaining := deadline - time.monotonic()) > 0:
        yield min(pause, remaining)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _message(timeout: float, describe: Describe) -> str:
    return f"waited {timeout:g} s for {describe() if callable(describe) else describe}"
