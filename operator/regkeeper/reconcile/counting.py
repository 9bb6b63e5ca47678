"""When to count what a Registry holds: often while that is cheap, so that who pushes sees it in the columns."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf

from regkeeper.distribution import Counts

SHORTEST_SECONDS = 15.0
LARGEST_SHARE = 0.01
"""Of the time that may go into counting one Registry."""
SECONDS_A_REGISTRY = 0.6
"""Of all Registries together: not more than about two counts a second begin."""


def pause_after(seconds: float, *, registries: int, longest: float) -> float:
    """Seconds to wait after a count that took `seconds`, where the operator keeps so many Registries."""
    return min(longest, max(SHORTEST_SECONDS, seconds / LARGEST_SHARE, SECONDS_A_REGISTRY * registries))


@dataclass(slots=True)
class Tally:
    """The counts of one Registry, and when they are due again."""

    counts: Counts | None = None
    """The last ones that could be made."""
    due: float = -inf
    """Clock time of the next count."""

    async def refresh(
        self,
        count: Callable[[], Awaitable[Counts | None]],
        clock: Callable[[], float],
        *,
        registries: int,
        longest: float,
    ) -> float:
        """Count if it is time; return the seconds until it is time again. `clock` gives seconds that only grow."""
        began = clock()
        if began < self.due:
            return self.due - began
        counts = await count()
        if counts is not None:
            self.counts = counts
        ended = clock()
        pause = pause_after(ended - began, registries=registries, longest=longest)
        self.due = ended + pause
        return pause
