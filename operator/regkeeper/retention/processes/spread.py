"""Work that only reads, spread over processes: two read twice as fast as one, where two threads would not.

The others are forked, so that they know what this process knows, and answer with pickles through a pipe. Each takes
the next part when it is ready for it, so that none waits for a slower one.
"""

import fcntl
import os
import pickle
import select
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import takewhile
from typing import Any, TypeVar

from regkeeper.retention.errors import RetentionError
from regkeeper.retention.processes.forks import end, fork
from regkeeper.retention.processes.shared_counter import SharedCounter
from regkeeper.retention.processes.touching import Touch, touching

T = TypeVar("T")

Work = Callable[[Iterator[int]], Iterator[T]]
"""Given the numbers of parts, which it asks for one by one, answers whatever it finds."""

MOST = 4
"""Processes; each has some 20 MiB of its own."""

_HEAD = 8
"""Bytes of the length in front of each pickle."""

_PIPE = 1 << 20
"""Bytes that may wait in a pipe, if the system allows so many: who answers seldom waits for who reads."""


def processors() -> int:
    """How many processes can be at work at once; one beside other threads, whose locks a fork would find locked."""
    return 1 if threading.active_count() > 1 else min(MOST, len(os.sched_getaffinity(0)))


def spread(parts: int, work: Work[T], processes: int, touch: Touch | None = None) -> Generator[T, None, None]:
    """What all parts of a work come to, in no order.

    Args:
        parts: how many there are.
        work: called once in each process. It must change nothing outside of that.
        processes: how many at most, this one included.
        touch: called with parts in further processes, while the storage makes one wait; see touching.py.

    Raises:
        RetentionError: one of the others was killed; or whatever the work raises, in whichever process.
    """
    counter = _counter() if min(parts, processes) > 1 else None
    if counter is None:
        yield from work(iter(range(parts)))
        return
    with ExitStack() as stack:
        stack.callback(counter.close)
        follow: Callable[[Iterator[int]], Iterator[int]] = iter
        if touch is not None:
            with suppress(OSError):
                follow = stack.enter_context(touching(parts, touch, counter)).follow
        first = os.getpid()

        def other_work() -> Iterator[T]:
            return work(follow(takewhile(lambda _: os.getppid() == first, _taken(counter, parts))))

        others: list[_Other] = []
        for _ in range(min(parts, processes) - 1):
            with suppress(OSError):  # no further process is allowed, or no memory for it: there are fewer
                others.append(stack.enter_context(_forked(other_work)))
        for result in work(follow(_taken(counter, parts))):
            yield result
            for other in others:
                yield from other.answers(wait=False)
        for other in others:
            while not other.done:
                yield from other.answers(wait=True)


def _counter() -> SharedCounter | None:
    try:
        return SharedCounter()
    except OSError:
        return None


def _taken(counter: SharedCounter, parts: int) -> Iterator[int]:
    """The parts that this process takes."""
    while (number := counter.take()) < parts:
        yield number


class _Other:
    """Another process, as the one that reads its answers sees it."""

    def __init__(self, descriptor: int) -> None:
        self.done = False
        self._descriptor = descriptor
        self._received = bytearray()

    def answers(self, *, wait: bool) -> Iterator[Any]:
        """What it has answered since; `wait`: until it has answered something more.

        Raises:
            RetentionError: it ended before it was done.
        """
        if self.done or not (wait or select.select([self._descriptor], [], [], 0)[0]):
            return
        received = self._received
        while some := os.read(self._descriptor, _PIPE):
            received += some
            if not select.select([self._descriptor], [], [], 0)[0]:
                break
        position = 0
        while len(received) >= (start := position + _HEAD):
            end = start + int.from_bytes(received[position:start], "big")
            if len(received) < end:
                break
            with memoryview(received)[start:end] as content:
                kind, value = pickle.loads(content)  # noqa: S301 - what a fork of this process has written
            position = end
            if kind == "failed":
                raise value
            if kind == "done":
                self.done = True
            else:
                yield value
        del received[:position]
        if not some and not self.done:
            raise RetentionError("a process that read the volume was killed: is there enough memory?")


@contextmanager
def _forked(work: Callable[[], Iterator[Any]]) -> Iterator[_Other]:
    """A process that does the work, and ends with the context, done or not.

    Raises:
        OSError: there can be no further process.
    """
    reading, writing = os.pipe()
    try:
        try:
            with suppress(OSError):
                fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE)
            child = fork(partial(_answer, reading, writing, work))
        finally:
            os.close(writing)
        try:
            yield _Other(reading)
        finally:
            end(child)
    finally:
        os.close(reading)


def _answer(reading: int, writing: int, work: Callable[[], Iterator[Any]]) -> None:
    """Work in the place of the forked process. When the first one is gone, the next answer can't be written."""
    os.close(reading)
    try:
        for result in work():
            _write(writing, ("found", result))
        _write(writing, ("done", None))
    except Exception as error:
        _write(writing, ("failed", error))


def _write(descriptor: int, answer: tuple[str, Any]) -> None:
    content = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    for part in (len(content).to_bytes(_HEAD, "big"), content):
        left = memoryview(part)
        while left:
            left = left[os.write(descriptor, left) :]
