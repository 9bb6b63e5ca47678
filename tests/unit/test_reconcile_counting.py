"""When counts are made again."""

import asyncio

import pytest
from yarl import URL

from regkeeper.distribution import Counts
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.addresses import Endpoint
from regkeeper.reconcile.registry.counting import Counting, pause_after

ONE = Counts(1, 1, complete=True)
TWO = Counts(2, 2, complete=True)
KEY = Key("default", "main")
ENDPOINT = Endpoint("ClusterIP", "main.default.svc:5000", URL("http://192.0.2.1:5000"))


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


class Registries:
    """Registries that take a while to be counted, on a clock of their own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.result: Counts | None = ONE
        self.seconds = 1.0
        self.asked = 0
        self.counted = asyncio.Queue[Key]()
        self.counting = Counting(self.count, lambda: self.now, self.counted.put_nowait, longest=300)

    async def count(self, _: Endpoint) -> Counts | None:
        self.asked += 1
        self.now += self.seconds
        return self.result

    def refresh(self) -> float | None:
        return self.counting.refresh(KEY, ENDPOINT, registries=1)

    async def count_once(self) -> float | None:
        assert self.refresh() is None, "it is being counted"
        assert await asyncio.wait_for(self.counted.get(), 5) == KEY
        return self.refresh()


async def test_a_look_in_between_counts_nothing() -> None:
    registries = Registries()
    assert await registries.count_once() == pytest.approx(100)
    assert registries.counting.counts(KEY) == ONE
    registries.now += 40
    assert registries.refresh() == pytest.approx(60)
    assert registries.asked == 1
    registries.now += 60
    registries.result, registries.seconds = TWO, 0
    assert await registries.count_once() == pytest.approx(15)
    assert registries.counting.counts(KEY) == TWO


async def test_a_count_that_fails_keeps_the_last_one_and_waits_like_any_other() -> None:
    registries = Registries()
    await registries.count_once()
    registries.now += 100
    registries.result, registries.seconds = None, 2
    assert await registries.count_once() == pytest.approx(200)
    assert registries.counting.counts(KEY) == ONE
