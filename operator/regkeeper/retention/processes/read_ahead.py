"""Threads that touch what is going to be read, while the storage makes the reader wait for it, and none otherwise.

They only bring files into the kernel's cache, and nothing that they see is used: what is read, and in which order, is
the same with and without them. On a cold cache or a network filesystem that is several times faster; on a warm cache
a second thread would only cost.
"""

import resource
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")

THREADS = 16
SAMPLE = 4
"""Items over which it is measured whether the reader waits."""
WAITS = 8
"""Times that it must have waited meanwhile: a warm cache makes it wait for nothing, a cold one for each file."""
BATCH = 256
"""Items that are read ahead of before it is measured again."""
DISTANCE = 64
"""Items that are touched ahead of the one that is read."""


def waits_of_this_thread() -> int:
    """How often it has waited so far. That others were given the processor does not count."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def waits_for_nothing() -> int:
    """For a reader that is to have no help: others read at the same time, in processes of their own."""
    return 0


def read_ahead(
    items: Iterable[T], touch: Callable[[T], object], *, waits: Callable[[], int] = waits_of_this_thread
) -> Generator[T, None, None]:
    """The items in their order.

    Args:
        items: asked for up to `DISTANCE` before they are given on.
        touch: called with an item, in other threads, before it is given on. It must not raise.
        waits: how often the reader has waited so far.
    """
    waiting = iter(items)
    while sample := list(islice(waiting, SAMPLE)):
        before = waits()
        yield from sample
        if waits() - before >= WAITS:
            from concurrent.futures import ThreadPoolExecutor  # only for who waits: it costs as much as 10,000 stats

            with ThreadPoolExecutor(THREADS) as pool:
                yield from _touched(pool, islice(waiting, BATCH), touch)


def _touched(pool: "ThreadPoolExecutor", items: Iterable[T], touch: Callable[[T], object]) -> Iterator[T]:
    ahead: deque[tuple[T, Future[object] | None]] = deque()
    for item in items:
        touched = None
        with suppress(RuntimeError):  # no thread is allowed: who reads waits
            touched = pool.submit(touch, item)
        ahead.append((item, touched))
        if len(ahead) > DISTANCE:
            yield _done(*ahead.popleft())
    while ahead:
        yield _done(*ahead.popleft())


def _done(item: T, touched: "Future[object] | None") -> T:
    if touched is not None:
        touched.result()
    return item
