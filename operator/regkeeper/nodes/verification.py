"""Asking runtimes whether registries can really be reached, in the background, seldom, and never all nodes at once."""

import random
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from regkeeper.nodes.answers import judge
from regkeeper.nodes.reasons import NodeProblemError, Problem
from regkeeper.nodes.report import HostState

AGAIN_SECONDS = 600.0
"""A registry that answered is asked again after this."""
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 300.0
JITTER = 0.2
"""Each interval varies by this share, so that thousands of nodes do not ask one registry at once."""

_AT_ONCE = 4


@dataclass(slots=True)
class _Host:
    state: HostState = HostState.PENDING
    problem: Problem | None = None
    due: float = 0.0
    failures: int = 0
    asked: "Future[str] | None" = None


class Verifier:
    """What is known of each host at each runtime."""

    def __init__(self, chance: random.Random, answered: Callable[[], None] = lambda: None) -> None:
        """Make one.

        Args:
            chance: for the jitter.
            answered: called from another thread whenever an answer came in.
        """
        self._chance = chance
        self._answered = answered
        self._known: dict[tuple[str, str], _Host] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ask")

    def ask(self, runtime: str, hosts: Iterable[str], ask: Callable[[str], str], now: float) -> None:
        """Take in answers, and start to ask about those of `hosts` that are due. Other hosts are forgotten."""
        wanted = set(hosts)
        for key in [key for key in self._known if key[0] == runtime and key[1] not in wanted]:
            del self._known[key]
        for name in sorted(wanted):
            host = self._known.setdefault((runtime, name), _Host())
            self._take(runtime, name, host, now)
            if host.asked is None and now >= host.due:
                host.asked = self._pool.submit(ask, name)
                host.asked.add_done_callback(lambda _: self._answered())

    def forget(self, runtime: str) -> None:
        """The runtime was changed, so everything is asked again; or it is gone."""
        for key in [key for key in self._known if key[0] == runtime]:
            del self._known[key]

    def known(self, runtime: str, host: str) -> tuple[HostState, Problem | None]:
        """The last answer; pending before the first."""
        found = self._known.get((runtime, host), _Host())
        return found.state, found.problem

    def next_due(self) -> float | None:
        """When the next question is due; None if there is none."""
        return min((host.due for host in self._known.values() if host.asked is None), default=None)

    def wait(self, now: float, timeout: float) -> None:
        """Wait for every answer that is under way, and take it in."""
        wait([host.asked for host in self._known.values() if host.asked], timeout)
        for (runtime, name), host in self._known.items():
            self._take(runtime, name, host, now)

    def close(self) -> None:
        """Ask nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _take(self, runtime: str, name: str, host: _Host, now: float) -> None:
        if host.asked is None or not host.asked.done():
            return
        try:
            host.state, host.problem = judge(name, host.asked.result(), runtime=runtime)
        except NodeProblemError as error:
            host.state, host.problem = HostState.PENDING, error.problem
        host.asked = None
        host.failures = 0 if host.state is HostState.TRUSTED else host.failures + 1
        pause = AGAIN_SECONDS
        if host.failures:
            pause = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(host.failures - 1, 10))
        host.due = now + pause * self._chance.uniform(1 - JITTER, 1 + JITTER)
