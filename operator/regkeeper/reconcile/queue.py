"""A work queue of keys: each key once, one worker a key, retries with backoff, and the ONE place that maps errors.

Level-triggered: a key says "look at this object", never what happened to it, so that ten changes are one look.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from regkeeper import kube, logs
from regkeeper.errors import BlockedError, InvalidSpecError, RegkeeperError, WaitingError

logger = logging.getLogger(__name__)

LONGEST_LOOK_SECONDS = 120.0
"""Every request of a look has a time-out of its own; this one bounds their number."""
FIRST_BACKOFF_SECONDS = 0.5
LAST_BACKOFF_SECONDS = 120.0
TERMINATING_SECONDS = 30.0
"""The Registry is about to go with its namespace."""
LASTING_FAILURES = 6
"""In a row, half a minute: what should have passed by then, such as a webhook that fails, needs a person."""
CONFLICT_SECONDS = 0.2
"""A 409 means that somebody else was faster: the next look sees what they did."""


class Key(NamedTuple):
    """An object to look at."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Result(StrEnum):
    """How a look ended, as the metrics count it."""

    DONE = "done"
    WAITING = "waiting"
    INVALID = "invalid"
    CONFLICT = "conflict"
    TRANSIENT = "transient"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error means for its key."""

    result: Result
    delay: float | None
    """Seconds until the next look; None: only when the object changes."""
    reason: str
    """Reason for the object's condition and for the metrics."""
    tell: bool
    """Whether a person should see it in the object's conditions."""


def judge(error: Exception, failures: int, random: Callable[[], float]) -> Verdict:
    """Map an error to what becomes of its key.

    `failures` counts the looks in a row that failed, this one included; `random` gives a number in [0, 1). The backoff
    doubles with each failure, and half of it is random, so that many keys that failed together do not return together.
    """
    ceiling = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(failures - 1, 16))
    backoff = ceiling * (0.5 + 0.5 * random())
    match error:
        case InvalidSpecError():
            return Verdict(Result.INVALID, None, error.reason, tell=True)
        case WaitingError() | BlockedError():
            return Verdict(Result.WAITING, error.delay, error.reason, tell=True)
        case TimeoutError():
            return Verdict(Result.TRANSIENT, backoff, "Timeout", tell=failures >= LASTING_FAILURES)
        case RegkeeperError():
            return Verdict(Result.FAILED, backoff, error.reason, tell=True)
        case kube.ConflictError():
            delay = CONFLICT_SECONDS if failures < 5 else backoff
            return Verdict(Result.CONFLICT, delay, "Conflict", tell=False)
        case kube.TransientError():
            delay = max(backoff, error.retry_after or 0)
            return Verdict(Result.TRANSIENT, delay, "ApiUnavailable", tell=failures >= LASTING_FAILURES)
        case kube.TerminatingError():
            return Verdict(Result.WAITING, TERMINATING_SECONDS, "NamespaceTerminating", tell=False)
        case kube.InvalidError():
            # Mostly an edit helps; but a port of the nodes, say, may become free.
            return Verdict(Result.INVALID, LAST_BACKOFF_SECONDS, error.reason or "Invalid", tell=True)
        case kube.ForbiddenError():
            return Verdict(Result.FAILED, backoff, "Forbidden", tell=True)
        case kube.ApiError():
            return Verdict(Result.FAILED, backoff, error.reason or "ApiError", tell=True)
        case _:
            return Verdict(Result.FAILED, backoff, "InternalError", tell=True)


class Observer(Protocol):
    """Hears how each look ended (the metrics)."""

    def finished(self, result: Result, reason: str, seconds: float) -> None:
        """A look took `seconds`; `reason` is empty when it went well."""
        ...


class WorkQueue:
    """Keys, and the workers that look at them.

    `look` returns the seconds after which to look again anyway (None: never), or raises. `tell` puts an error into
    the object's conditions; it is called with the error and its verdict.
    """

    def __init__(
        self,
        *,
        look: Callable[[Key], Awaitable[float | None]],
        tell: Callable[[Key, Exception, Verdict], Awaitable[None]],
        observer: Observer,
        random: Callable[[], float],
    ) -> None:
        self._look = look
        self._tell = tell
        self._observer = observer
        self._random = random
        self._ready: deque[Key] = deque()
        self._waiting: set[Key] = set()
        """What is in `_ready`."""
        self._running: dict[Key, float] = {}
        """Keys under work, with the loop time at which it began."""
        self._again: set[Key] = set()
        """Keys that were added while under work."""
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """Look at `key` as soon as a worker is free."""
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Look at `key` in `seconds`, or earlier if something asks for that earlier."""
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(when, self.add, key)

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._ready)

    def longest_look(self) -> float:
        """Seconds for which the oldest look under way has been running."""
        if not self._running:
            return 0.0
        return asyncio.get_running_loop().time() - min(self._running.values())

    async def work(self) -> None:
        """Take keys and look at them, for ever. Run as many of these as keys should be looked at at once."""
        while True:
            while not self._ready:
                self._wake.clear()
                await self._wake.wait()
            key = self._ready.popleft()
            self._waiting.discard(key)
            with logs.about(key):
                await self._look_at(key)

    async def _look_at(self, key: Key) -> None:
        loop = asyncio.get_running_loop()
        self._running[key] = begin = loop.time()
        try:
            async with asyncio.timeout(LONGEST_LOOK_SECONDS):
                delay = await self._look(key)
        except Exception as error:
            delay = await self._failed(key, error, loop.time() - begin)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # kopf cancels the tasks that were born under it when it restarts; one of them was ours to wait for.
            delay = 0.0
        else:
            self._failures.pop(key, None)
            self._observer.finished(Result.DONE, "", loop.time() - begin)
        finally:
            del self._running[key]
        if key in self._again:
            self._again.discard(key)
            # After a failure the backoff stands, whatever asks: a broken object's own events must not spin.
            if key not in self._failures:
                self.add(key)
                return
        if delay is not None:
            self.add_after(key, delay)

    async def _failed(self, key: Key, error: Exception, seconds: float) -> float | None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        verdict = judge(error, failures, self._random)
        if verdict.result in (Result.INVALID, Result.WAITING):
            del self._failures[key]
        self._observer.finished(verdict.result, verdict.reason, seconds)
        if verdict.reason == "InternalError":
            logger.error("unexpected error", exc_info=error)
        else:
            level = logging.INFO if verdict.result in (Result.WAITING, Result.CONFLICT) else logging.WARNING
            logger.log(level, "%s: %s", verdict.reason, error)
        if verdict.tell:
            try:
                await self._tell(key, error, verdict)
            except Exception as told:
                logger.warning("the condition could not be written: %s", told)
                return judge(told, failures, self._random).delay
        return verdict.delay

    def close(self) -> None:
        """Drop what waits."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._waiting.clear()
