"""Processes that touch ahead of who reads: part after part, not too far, and no longer than somebody reads."""

import errno
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from regkeeper.retention.processes.shared_counter import SharedCounter
from regkeeper.retention.processes.spread import spread
from regkeeper.retention.processes.touching import DISTANCE, THREADS, TOUCHERS, touching
from tests.engine.processes import lives
from tests.waiting import wait_for

# The tests' own process may have threads (pytest-xdist); what is forked here takes none of their locks.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

PARTS = 500


class Touched:
    """Notes in a file, which processes share, what was touched and by whom."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def close(self) -> None:
        os.close(self._descriptor)

    def __call__(self, number: int) -> None:
        os.write(self._descriptor, b"%d %d %d\n" % (number, os.getpid(), threading.get_native_id()))

    def _column(self, number: int) -> list[int]:
        return [int(line.split()[number]) for line in self.path.read_text().splitlines()]

    @property
    def parts(self) -> list[int]:
        return sorted(self._column(0))

    @property
    def processes(self) -> set[int]:
        return set(self._column(1))

    @property
    def threads(self) -> set[int]:
        return set(self._column(2))

    def wait_for(self, count: int) -> None:
        wait_for(lambda: len(self.parts) >= count, 10, f"{count} parts to be touched")


@pytest.fixture
def touched(tmp_path: Path) -> Iterator[Touched]:
    touched = Touched(tmp_path / "touched")
    yield touched
    touched.close()


@pytest.fixture
def counter() -> Iterator[SharedCounter]:
    counter = SharedCounter()
    yield counter
    counter.close()


def test_parts_are_touched_ahead_of_those_that_are_read_and_no_further(
    touched: Touched, counter: SharedCounter
) -> None:
    with touching(PARTS, touched, counter) as touchers:
        touched.wait_for(DISTANCE)
        assert list(touchers.follow(range(10))) == list(range(10))
        touched.wait_for(DISTANCE + 10)
        assert touched.parts == list(range(DISTANCE + 10))


def test_what_is_being_read_already_is_not_touched(touched: Touched, counter: SharedCounter) -> None:
    with touching(PARTS, touched, counter) as touchers:
        touched.wait_for(DISTANCE)
        for _ in range(300):
            counter.take()
        list(touchers.follow(range(300)))
        touched.wait_for(2 * DISTANCE)
        assert touched.parts == [*range(DISTANCE), *range(300, 300 + DISTANCE)]


def test_while_one_waits_for_the_storage_the_others_touch_on(touched: Touched, counter: SharedCounter) -> None:
    storage, _ = pipe = os.pipe()

    def wait(number: int) -> None:
        touched(number)
        os.read(storage, 1)

    with touching(PARTS, wait, counter):
        touched.wait_for(TOUCHERS * THREADS)
        assert touched.parts == list(range(TOUCHERS * THREADS))
        assert len(touched.threads) == TOUCHERS * THREADS
    for descriptor in pipe:
        os.close(descriptor)


def test_where_no_thread_is_allowed_each_process_touches_alone(
    touched: Touched, counter: SharedCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with touching(PARTS, touched, counter) as touchers:
        list(touchers.follow(range(PARTS)))
        touched.wait_for(PARTS)
    assert touched.threads == touched.processes


def test_the_processes_end_with_who_reads(touched: Touched, counter: SharedCounter) -> None:
    with touching(PARTS, touched, counter):
        touched.wait_for(DISTANCE)
    assert 1 <= len(touched.processes) <= TOUCHERS
    assert os.getpid() not in touched.processes
    assert not any(map(lives, touched.processes))


def test_the_processes_end_when_who_reads_is_killed(touched: Touched, counter: SharedCounter) -> None:
    child = os.fork()
    if child == 0:
        with touching(PARTS, touched, counter):
            signal.pause()
    touched.wait_for(DISTANCE)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_for(lambda: not any(map(lives, touched.processes)), 10, "the processes to end")


def test_several_who_read_have_one_part_after_the_other_touched_ahead_of_all(touched: Touched) -> None:
    def work(numbers: Iterator[int]) -> Iterator[int]:
        for position, number in enumerate(numbers):
            if position == 0:
                touched.wait_for(DISTANCE // 2)
            yield number

    assert sorted(spread(PARTS, work, 2, touched)) == list(range(PARTS))
    assert len(set(touched.parts)) == len(touched.parts)
    assert max(touched.parts) < PARTS


def test_where_no_process_is_allowed_one_reads_it_all(touched: Touched, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    assert list(spread(PARTS, iter, 2, touched)) == list(range(PARTS))
    assert touched.parts == []
