"""How much Registries hold: counted beside the passes, and as often as it is cheap, so that who pushes soon sees it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf

from regkeeper.distribution import Counts
from regkeeper.reconcile.inquiries import Inquiries
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.addresses import Endpoint

AT_A_TIME = 4
"""Registries. Each has a few answers of at most a mebibyte under way, whatever its server sends."""
SHORTEST_SECONDS = 15.0
LARGEST_SHARE = 0.01
"""Of the time that may go into counting one Registry."""
SECONDS_A_REGISTRY = 0.6
"""Of all Registries together: not more than about two counts a second begin."""


def pause_after(seconds: float, *, registries: int, longest: float) -> float:
    """Seconds to wait after a count that took `seconds`, where the operator keeps so many Registries."""
    return min(longest, max(SHORTEST_SECONDS, seconds / LARGEST_SHARE, SECONDS_A_REGISTRY * registries))


@dataclass(frozen=True, slots=True)
class _Count:
    """One count that was made; clock times."""

    counts: Counts | None
    began: float
    ended: float


@dataclass(slots=True)
class _Tally:
    """What is known of one Registry."""

    counts: Counts | None = None
    """The last ones that could be made."""
    due: float = -inf
    """Clock time of the next count."""


class Counting:
    """The counts of all Registries.

    `count` counts what answers at an endpoint, and gives None where it can't; `clock` gives seconds that only grow;
    `ended` hears the key of each new count; `longest` is the longest pause between two, in seconds.
    """

    def __init__(
        self,
        count: Callable[[Endpoint], Awaitable[Counts | None]],
        clock: Callable[[], float],
        ended: Callable[[Key], None],
        *,
        longest: float,
    ) -> None:
        self._count = count
        self._clock = clock
        self._longest = longest
        self._inquiries = Inquiries[_Count](limit=AT_A_TIME, ended=ended)
        self._tallies: dict[Key, _Tally] = {}

    def refresh(self, key: Key, endpoint: Endpoint, *, registries: int) -> float | None:
        """Have it counted if it is time; return the seconds until it is, None while it is being counted.

        `registries` is the number of those that the operator keeps.
        """
        tally = self._tallies.setdefault(key, _Tally())
        made = self._inquiries.take(key)
        if made is not None:
            if made.counts is not None:
                tally.counts = made.counts
            tally.due = made.ended + pause_after(made.ended - made.began, registries=registries, longest=self._longest)
        left = tally.due - self._clock()
        if left > 0:
            return left
        self._inquiries.ask(key, lambda: self._timed(endpoint))
        return None

    def counts(self, key: Key) -> Counts | None:
        """The last counts of a Registry."""
        tally = self._tallies.get(key)
        return tally.counts if tally is not None else None

    def drop(self, key: Key) -> None:
        """Forget a Registry."""
        self._inquiries.drop(key)
        self._tallies.pop(key, None)

    async def close(self) -> None:
        """Count no more."""
        await self._inquiries.close()

    async def _timed(self, endpoint: Endpoint) -> _Count:
        began = self._clock()
        counts = await self._count(endpoint)
        return _Count(counts, began, self._clock())
