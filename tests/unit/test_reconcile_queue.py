"""The work queue: each key once, one look at a time, errors mapped to delays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from regkeeper import kube
from regkeeper.errors import BlockedError, InvalidSpecError, WaitingError
from regkeeper.reconcile.queue import (
    CONFLICT_SECONDS,
    FIRST_BACKOFF_SECONDS,
    LAST_BACKOFF_SECONDS,
    LASTING_FAILURES,
    TERMINATING_SECONDS,
    Key,
    Result,
    Verdict,
    WorkQueue,
    judge,
)
from tests.waiting import wait_for_async

A, B = Key("images", "a"), Key("images", "b")


class Outcomes:
    """What the queue reported."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.told: list[tuple[Key, str]] = []

    def finished(self, result: Result, reason: str, seconds: float) -> None:
        self.results.append(result)

    async def tell(self, key: Key, error: Exception, verdict: Verdict) -> None:
        self.told.append((key, str(error)))


@asynccontextmanager
async def running(
    look: Callable[[Key], Awaitable[float | None]], outcomes: Outcomes, workers: int = 2
) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(look=look, tell=outcomes.tell, observer=outcomes, random=lambda: 0.0)
    tasks = [asyncio.create_task(queue.work()) for _ in range(workers)]
    try:
        yield queue
    finally:
        queue.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_changes_during_a_look_are_one_further_look_and_never_two_at_once() -> None:
    looks: list[Key] = []
    under_work: list[Key] = []
    gate = asyncio.Event()

    async def look(key: Key) -> None:
        assert key not in under_work
        under_work.append(key)
        looks.append(key)
        await gate.wait()
        under_work.remove(key)

    async with running(look, Outcomes()) as queue:
        queue.add(A)
        await wait_for_async(lambda: looks == [A], 5, lambda: looks)
        for _ in range(10):
            queue.add(A)
        gate.set()
        await wait_for_async(lambda: looks == [A, A] and not under_work, 5, lambda: looks)
        queue.add(B)
        await wait_for_async(lambda: looks == [A, A, B], 5, lambda: looks)


async def test_a_look_that_hangs_delays_no_other_key() -> None:
    looked: list[Key] = []

    async def look(key: Key) -> None:
        if key == A:
            await asyncio.Event().wait()
        looked.append(key)

    async with running(look, Outcomes()) as queue:
        queue.add(A)
        queue.add(B)
        await wait_for_async(lambda: looked == [B], 5, lambda: looked)
        assert queue.longest_look() > 0


async def test_a_look_that_hangs_is_cut_off_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regkeeper.reconcile.queue.LONGEST_LOOK_SECONDS", 0.01)
    outcomes, cut_off = Outcomes(), list[Key]()

    async def look(key: Key) -> None:
        if not cut_off:
            try:
                await asyncio.Event().wait()
            finally:
                cut_off.append(key)

    async with running(look, outcomes, workers=1) as queue:
        queue.add(A)
        await wait_for_async(lambda: len(outcomes.results) == 2, 5, lambda: outcomes.results)
        assert queue.longest_look() == 0
    assert outcomes.results == [Result.TRANSIENT, Result.DONE]
    assert cut_off == [A]
    assert outcomes.told == [], "once is no reason to speak"


async def test_an_error_is_told_and_the_key_looked_at_again() -> None:
    outcomes = Outcomes()

    async def look(key: Key) -> None:
        if len(outcomes.results) < 2:
            raise WaitingError("no claim yet", delay=0.01)

    async with running(look, outcomes) as queue:
        queue.add(A)
        await wait_for_async(lambda: len(outcomes.results) == 3, 5, lambda: outcomes.results)
    assert outcomes.results == [Result.WAITING, Result.WAITING, Result.DONE]
    assert outcomes.told == [(A, "no claim yet")] * 2


async def test_an_invalid_spec_is_not_looked_at_again_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = Outcomes()

    async def look(key: Key) -> None:
        raise InvalidSpecError("spec.replicas is 3")

    async with running(look, outcomes) as queue:
        queue.add(A)
        await wait_for_async(lambda: len(outcomes.results) == 1, 5, lambda: outcomes.results)
        assert not queue._timers
        assert queue.depth == 0
    assert outcomes.told == [(A, "spec.replicas is 3")]


async def test_an_error_of_the_telling_is_no_error_of_the_worker() -> None:
    outcomes = Outcomes()

    async def look(key: Key) -> None:
        if key == A:
            raise InvalidSpecError("broken")

    async def tell(key: Key, error: Exception, verdict: Verdict) -> None:
        raise kube.TransientError("no answer", code=0)

    outcomes.tell = tell  # type: ignore[method-assign]
    async with running(look, outcomes, workers=1) as queue:
        queue.add(A)
        queue.add(B)
        await wait_for_async(lambda: Result.DONE in outcomes.results, 5, lambda: outcomes.results)
        assert A in queue._timers, "the condition could not be written, so the key has to come back"


async def test_an_unexpected_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = Outcomes()

    async def look(key: Key) -> None:
        raise ZeroDivisionError

    async with running(look, outcomes) as queue:
        queue.add(A)
        await wait_for_async(lambda: len(outcomes.told) == 1, 5, lambda: outcomes.told)
    assert outcomes.results == [Result.FAILED]
    assert "ZeroDivisionError" in caplog.text


async def test_an_earlier_time_wins_over_a_later_one_and_an_event_over_both() -> None:
    looks: list[Key] = []

    async def look(key: Key) -> None:
        looks.append(key)

    async with running(look, Outcomes()) as queue:
        queue.add_after(A, 3600)
        queue.add_after(A, 7200)
        loop = asyncio.get_running_loop()
        assert queue._timers[A].when() - loop.time() <= 3600
        queue.add(A)
        await wait_for_async(lambda: looks == [A], 5, lambda: looks)
        assert not queue._timers


@pytest.mark.parametrize(
    ("error", "result", "delay", "tell"),
    [
        (InvalidSpecError("no"), Result.INVALID, None, True),
        (WaitingError("soon", delay=7), Result.WAITING, 7, True),
        (BlockedError("not yours", reason="ForeignObject", delay=30), Result.WAITING, 30, True),
        (kube.ConflictError("faster", code=409), Result.CONFLICT, CONFLICT_SECONDS, False),
        (kube.TransientError("busy", code=429, retry_after=9), Result.TRANSIENT, 9, False),
        (kube.TransientError("down", code=503), Result.TRANSIENT, FIRST_BACKOFF_SECONDS / 2, False),
        (TimeoutError(), Result.TRANSIENT, FIRST_BACKOFF_SECONDS / 2, False),
        (kube.TerminatingError("going", code=403), Result.WAITING, TERMINATING_SECONDS, False),
        (kube.ForbiddenError("quota", code=403), Result.FAILED, FIRST_BACKOFF_SECONDS / 2, True),
        (kube.InvalidError("bad", code=422, reason="Invalid"), Result.INVALID, LAST_BACKOFF_SECONDS, True),
        (ValueError("bug"), Result.FAILED, FIRST_BACKOFF_SECONDS / 2, True),
    ],
)
def test_each_error_has_its_verdict(error: Exception, result: Result, delay: float | None, tell: bool) -> None:
    verdict = judge(error, 1, lambda: 0.0)
    assert (verdict.result, verdict.delay, verdict.tell) == (result, delay, tell)


@pytest.mark.parametrize("error", [kube.TransientError("down", code=500), TimeoutError()])
def test_what_should_have_passed_long_ago_is_told(error: Exception) -> None:
    assert not judge(error, LASTING_FAILURES - 1, lambda: 0.0).tell
    assert judge(error, LASTING_FAILURES, lambda: 0.0).tell


def test_the_backoff_doubles_up_to_its_limit_and_half_of_it_is_random() -> None:
    error = kube.TransientError("down", code=500)
    lowest = [judge(error, failures, lambda: 0.0).delay for failures in range(1, 5)]
    assert lowest == [FIRST_BACKOFF_SECONDS / 2 * 2**n for n in range(4)]
    assert judge(error, 1000, lambda: 0.999).delay == pytest.approx(LAST_BACKOFF_SECONDS, rel=0.01)
