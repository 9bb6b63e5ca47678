"""Whether Registries answer at their addresses, as far as a pass can tell without waiting."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from regkeeper.reconcile.inquiries import Inquiries
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.addresses import Endpoint
from regkeeper.reconcile.registry.diagnosis import Problem

AT_A_TIME = 64
"""Registries. A probe costs a few connections and no memory; one that hangs takes seven seconds."""
SECOND_OPINION_SECONDS = 1.0
"""Before a Registry that was ready and does not answer ceases to be ready."""
HOLDS_SECONDS = 5.0
"""How long a good answer serves: the pass that a count asks for needs no other."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the addresses of one Registry answered."""

    uid: str
    endpoints: tuple[Endpoint, ...]
    problem: Problem | None
    """None: it is this Registry that answers, everywhere."""
    at: float
    """Clock time."""


class Probes:
    """Findings, asked for beside the passes.

    `check` tells what is wrong at some endpoints of the Registry with a uid; `clock` gives seconds that only grow;
    `ended` hears the key of each new finding.
    """

    def __init__(
        self,
        check: Callable[[Sequence[Endpoint], str], Awaitable[Problem | None]],
        clock: Callable[[], float],
        ended: Callable[[Key], None],
    ) -> None:
        self._check = check
        self._clock = clock
        self._inquiries = Inquiries[Finding](limit=AT_A_TIME, ended=ended)
        self._good: dict[Key, Finding] = {}

    def find(self, key: Key, uid: str, endpoints: Sequence[Endpoint], *, was_ready: bool) -> Finding | None:
        """What these addresses answer; None while they are being asked: `ended` will hear of it."""
        wanted = tuple(endpoints)
        found = self._inquiries.take(key)
        if found is None:
            found = self._good.get(key)
            if found is not None and self._clock() - found.at > HOLDS_SECONDS:
                found = None
        if found is not None and (found.uid, found.endpoints) == (uid, wanted):
            if found.problem is None:
                self._good[key] = found
            else:
                self._good.pop(key, None)
            return found
        self._good.pop(key, None)
        self._inquiries.ask(key, lambda: self._probe(uid, wanted, was_ready=was_ready))
        return None

    def drop(self, key: Key) -> None:
        """Forget what was found, and what is being asked: the pods are not those of then."""
        self._inquiries.drop(key)
        self._good.pop(key, None)

    async def close(self) -> None:
        """Ask no more."""
        await self._inquiries.close()

    async def _probe(self, uid: str, endpoints: tuple[Endpoint, ...], *, was_ready: bool) -> Finding:
        problem = await self._check(endpoints, uid)
        if problem is not None and was_ready:
            # One lost packet is no outage.
            await asyncio.sleep(SECOND_OPINION_SECONDS)
            problem = await self._check(endpoints, uid)
        return Finding(uid, endpoints, problem, self._clock())
