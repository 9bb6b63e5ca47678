"""Processes that touch what is going to be read, so that who reads it has not to wait for the storage.

They bring files into the kernel's cache and nothing else: what is read, and in which order, is the same without them.
Their threads wait for one file after the other, which costs no processor, so there may be many of them. They are not
those that read, since these have much in memory that each change of process would drive out of the processors' caches.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from msgspec import Struct

from regkeeper.retention.processes.forks import end, fork
from regkeeper.retention.processes.shared_counter import SharedCounter

Touch = Callable[[int], None]
"""Touches the part of this number, as far as it can be read; called in threads, and must not raise."""

TOUCHERS = 4
"""Processes. Each has some 3 MiB of its own."""

THREADS = 4
"""In each of them. Python lets one at a time do more than wait, so that many in one process would get in each other's
way; and as many processes of one thread would take four times the memory."""

DISTANCE = 64
"""Parts that are touched ahead of those that are read: who reads soon loses nothing that the kernel would forget."""


class Touchers(Struct, frozen=True):
    """Those that touch the parts of one work."""

    allowing: int

    def follow(self, numbers: Iterable[int]) -> Iterator[int]:
        """The parts that a process reads, for each of which one more is touched."""
        for number in numbers:
            with suppress(OSError):  # there is room for more in the pipe than parts are touched ahead
                os.write(self.allowing, b"+")
            yield number


@contextmanager
def touching(parts: int, touch: Touch, read: SharedCounter) -> Iterator[Touchers]:
    """Touch the parts of a work in their order; the processes end with the context, or with this process.

    Args:
        parts: how many there are.
        touch: called in the processes.
        read: counts the parts that were taken by those who read.

    Raises:
        OSError: there can be no such processes.
    """
    with ExitStack() as stack:
        allowed, allowing = os.pipe()
        stack.callback(os.close, allowed)
        stack.callback(os.close, allowing)
        os.set_blocking(allowing, False)
        os.write(allowing, bytes(DISTANCE))
        touched = SharedCounter()
        stack.callback(touched.close)
        for _ in range(min(parts, TOUCHERS)):
            stack.callback(end, fork(partial(_touch, parts, touch, allowed, allowing, touched, read)))
        yield Touchers(allowing)


def _touch(parts: int, touch: Touch, allowed: int, allowing: int, touched: SharedCounter, read: SharedCounter) -> None:
    """Touch in the place of the forked process as long as anybody reads."""
    os.close(allowing)

    def work() -> None:
        while os.read(allowed, 1) and (number := touched.take()) < parts:
            if number >= read.taken:
                touch(number)

    others = [threading.Thread(target=work) for _ in range(THREADS - 1)]
    with suppress(RuntimeError):  # no further thread is allowed: there are fewer
        for other in others:
            other.start()
    work()
    for other in others:
        if other.ident is not None:
            other.join()
