"""Work that waits for the storage, done in several threads, as far as these are allowed."""

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def at_once(work: Callable[[T], object], items: Iterable[T], threads: int) -> None:
    """Do a work with each of some items.

    Args:
        work: called once with each, in any thread. After it has raised, no further item is begun.
        items: in no order; asked for one by one.
        threads: how many at most, this one included. None of the others outlives the call: a later fork has only one.

    Raises:
        BaseException: what the work raised first.
    """
    waiting = iter(list(items))  # a list's iterator gives each item to one thread
    failures: list[BaseException] = []

    def do() -> None:
        try:
            for item in waiting:
                if failures:
                    return
                work(item)
        except BaseException as error:
            failures.append(error)

    others: list[threading.Thread] = []
    with suppress(RuntimeError):  # no further thread is allowed, or no memory for it: there are fewer
        for _ in range(threads - 1):
            other = threading.Thread(target=do)
            other.start()
            others.append(other)
    do()
    for other in others:
        other.join()
    if failures:
        raise failures[0]
