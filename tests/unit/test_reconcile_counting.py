"""When counts are made again."""

from collections.abc import Callable

import pytest

from regkeeper.distribution import Counts
from regkeeper.reconcile.counting import Tally, pause_after

ONE = Counts(1, 1, complete=True)
TWO = Counts(2, 2, complete=True)


@pytest.mark.parametrize(
    ("seconds", "registries", "longest", "pause"),
    [
        (0.01, 1, 300, 15),  # cheap: a newcomer soon sees what they pushed
        (0.5, 1, 300, 50),  # one percent of the time
        (20, 1, 300, 300),
        (0.01, 100, 300, 60),  # of many, each less often
        (0.01, 500, 300, 300),
        (0.01, 1, 2, 2),  # the setting has the last word
    ],
)
def test_counts_are_as_frequent_as_they_are_cheap(
    seconds: float, registries: int, longest: float, pause: float
) -> None:
    assert pause_after(seconds, registries=registries, longest=longest) == pytest.approx(pause)


class Clock:
    """Time that passes while something is counted."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def counting(self, result: Counts | None, seconds: float) -> "Count":
        return Count(self, result, seconds)


class Count:
    """A count that takes a while, and how often it was made."""

    def __init__(self, clock: Clock, result: Counts | None, seconds: float) -> None:
        self._clock, self._result, self._seconds = clock, result, seconds
        self.made = 0

    async def __call__(self) -> Counts | None:
        self.made += 1
        self._clock.now += self._seconds
        return self._result


async def refresh(tally: Tally, count: Count, clock: Callable[[], float]) -> float:
    return await tally.refresh(count, clock, registries=1, longest=300)


async def test_a_look_in_between_counts_nothing() -> None:
    clock, tally = Clock(), Tally()
    count = clock.counting(ONE, seconds=1)
    assert await refresh(tally, count, clock) == pytest.approx(100)
    clock.now += 40
    assert await refresh(tally, count, clock) == pytest.approx(60)
    assert count.made == 1
    clock.now += 60
    await refresh(tally, clock.counting(TWO, seconds=0), clock)
    assert tally.counts == TWO


async def test_a_count_that_fails_keeps_the_last_one_and_waits_like_any_other() -> None:
    clock, tally = Clock(), Tally(counts=ONE)
    failing = clock.counting(None, seconds=2)
    assert await refresh(tally, failing, clock) == pytest.approx(200)
    assert await refresh(tally, failing, clock) == pytest.approx(200)
    assert failing.made == 1
    assert tally.counts == ONE
