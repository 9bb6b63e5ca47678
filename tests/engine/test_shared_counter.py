"""A number is taken once, by whichever process, and by whichever of its threads."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest

from regkeeper.retention.processes.shared_counter import SharedCounter
from tests.waiting import wait_for

# The tests' own process may have threads (pytest-xdist); what is forked here takes none of their locks.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

NUMBERS = 10_000
PROCESSES = 4


def test_each_number_is_taken_once() -> None:
    """By the position of a memfd a part in a hundred was taken twice: its blobs went twice, and the run stopped."""
    counter = SharedCounter()
    reading, writing = os.pipe()
    children = []
    for _ in range(PROCESSES):
        child = os.fork()
        if child == 0:
            while (number := counter.take()) < NUMBERS:
                os.write(writing, b"%08d" % number)
            os._exit(0)
        children.append(child)
    os.close(writing)
    with open(reading, "rb") as file:
        found = file.read()
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert sorted(int(found[start : start + 8]) for start in range(0, len(found), 8)) == list(range(NUMBERS))
    assert counter.taken == NUMBERS + PROCESSES
    counter.close()


def test_threads_of_a_process_take_each_number_once_too() -> None:
    """A process has its lock on the file for all of them at once."""

    class Interrupted(SharedCounter):
        @property
        def taken(self) -> int:
            taken = super().taken
            os.stat(os.curdir)  # a call of the system, in which other threads go on
            return taken

    counter = Interrupted()
    with ThreadPoolExecutor(PROCESSES) as pool:
        some = [pool.submit(lambda: [counter.take() for _ in range(NUMBERS)]) for _ in range(PROCESSES)]
        found = list(chain.from_iterable(each.result() for each in some))
    assert sorted(found) == list(range(PROCESSES * NUMBERS))
    counter.close()


def test_it_goes_on_after_one_who_took_was_killed() -> None:
    counter = SharedCounter()
    child = os.fork()
    if child == 0:
        while True:
            counter.take()
    wait_for(lambda: counter.taken > 0, 10, "a number to be taken")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    taken = counter.taken
    assert counter.take() == taken
    counter.close()
