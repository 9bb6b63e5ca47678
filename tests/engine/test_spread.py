"""Several processes make the plan that one makes; what happens to one of them is never taken for less to read."""

import errno
import io
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regkeeper.commands.progress import progress
from regkeeper.retention.errors import NotPermittedError, RetentionError, StorageError, translated
from regkeeper.retention.judging.question import Question
from regkeeper.retention.planning import freeing
from regkeeper.retention.planning.planner import Planner
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.policies.policy import merge
from regkeeper.retention.processes.read_ahead import WAITS, waits_for_nothing
from regkeeper.retention.processes.spread import spread
from regkeeper.retention.volume.layout import open_volume
from tests.engine.cases import cases
from tests.engine.planning import plan, policies
from tests.engine.processes import lives
from tests.engine.registry_history import History
from tests.engine.strategies import SPECS, histories
from tests.engine.test_properties import built
from tests.engine.volumes import Volume
from tests.waiting import wait_for

# The tests' own process may have threads (pytest-xdist); what is forked here takes none of their locks.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

PARTS = 500


def test_each_part_is_done_once_and_everything_arrives() -> None:
    def work(numbers: Iterator[int]) -> Iterator[tuple[int, int, bytes]]:
        yield os.getpid(), -1, b""
        for number in numbers:
            yield os.getpid(), number, bytes([number % 256]) * 10_000

    found = list(spread(PARTS, work, 3))
    assert len({process for process, _, _ in found}) == 3
    parts = sorted((number, content) for _, number, content in found if number >= 0)
    assert parts == [(number, bytes([number % 256]) * 10_000) for number in range(PARTS)]


def test_what_another_process_raises_is_raised_here() -> None:
    here = os.getpid()

    def work(numbers: Iterator[int]) -> Iterator[int]:
        if os.getpid() != here:
            raise NotPermittedError("blobs: run as root")
        yield from numbers

    with pytest.raises(NotPermittedError, match="run as root"):
        list(spread(PARTS, work, 2))


def test_a_failure_of_the_storage_arrives_with_its_words_and_its_number() -> None:
    """Made of an OSError and a path, it could not be made again from a pickle: the whole run ended in a traceback."""
    here = os.getpid()

    def work(numbers: Iterator[int]) -> Iterator[int]:
        if os.getpid() != here:
            with translated("blobs/sha256"):
                raise OSError(errno.EIO, os.strerror(errno.EIO), "blobs/sha256/00")
        yield from numbers

    with pytest.raises(StorageError, match=r"^blobs/sha256: Input/output error: the storage failed") as raised:
        list(spread(PARTS, work, 2))
    assert raised.value.errno == errno.EIO


def test_a_process_that_is_killed_is_noticed() -> None:
    here = os.getpid()

    def work(numbers: Iterator[int]) -> Iterator[int]:
        if os.getpid() != here:
            yield -1
            os.kill(os.getpid(), signal.SIGKILL)
        yield from numbers

    with pytest.raises(RetentionError, match="was killed"):
        list(spread(PARTS, work, 2))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_is_for_the_first_process_to_decide(number: signal.Signals) -> None:
    """Which notes it and stops between two entries: one that had moved everything lost those that looked once more,
    and failed, asking whether there was enough memory."""
    here = os.getpid()

    def work(numbers: Iterator[int]) -> Iterator[int]:
        if os.getpid() != here:
            os.kill(os.getpid(), number)
        yield from numbers

    assert sorted(spread(PARTS, work, 3)) == list(range(PARTS))


def test_none_goes_on_when_the_first_process_was_killed(tmp_path: Path) -> None:
    """Though it has nothing to answer: those who look for changes have nothing, as a rule."""
    first = os.fork()
    if first == 0:

        def work(numbers: Iterator[int]) -> Iterator[int]:
            (tmp_path / str(os.getpid())).touch()
            if os.getppid() == started_by:
                signal.pause()
            for _ in numbers:
                pass
            yield from ()

        started_by = os.getppid()
        try:
            list(spread(10**9, work, 3))
        finally:
            os._exit(1)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 3, 10, "three processes")
    others = {int(path.name) for path in tmp_path.iterdir()} - {first}
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    try:
        wait_for(lambda: not any(map(lives, others)), 10, "the others to end")
    finally:
        for process in others:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def test_whoever_ignores_that_processes_end_has_the_same_answers() -> None:
    """As a supervisor may leave it to what it starts: the kernel then forgets each process as it ends."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert sorted(spread(PARTS, iter, 3)) == list(range(PARTS))
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_without_room_for_another_process_one_does_it_all() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    free = os.dup(0)
    os.close(free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # room for the counter, and for no pipe
    try:
        assert list(spread(PARTS, iter, 3)) == list(range(PARTS))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_a_file_in_memory_one_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `vm.memfd_noexec=2` has it, and some seccomp profiles."""

    def refuse(name: str) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert list(spread(PARTS, iter, 3)) == list(range(PARTS))


def test_no_process_outlives_who_asked() -> None:
    def work(numbers: Iterator[int]) -> Iterator[int]:
        yield os.getpid()
        for _ in numbers:
            yield os.getpid()

    found = spread(10**9, work, 3)
    others: set[int] = set()
    while len(others) < 2:
        others |= {next(found)} - {os.getpid()}
    found.close()
    for process in others:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@cases(40)
@given(history=histories(), specs=st.lists(SPECS, min_size=1, max_size=2))
def test_several_processes_make_the_same_plan(history: History, specs: list[dict[str, Any]]) -> None:
    with built(history) as volume:
        intent = merge(policies(*specs))
        alone = plan(volume, intent).plan
        for waits in (waits_for_nothing, partial(next, count(step=WAITS))):
            together = plan(volume, intent, processes=3, waits=waits).plan
            assert together.document() == alone.document()
            assert list(together.moves) == list(alone.moves)


def test_one_that_looks_for_very_many_blobs_alone_has_threads_while_the_storage_makes_it_wait(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several have each other instead; the one had neither."""
    for number in range(40):
        volume.repository(f"app-{number}").push_image("v1", layers=[b"layer %d" % number])
        volume.put_blob(b"garbage %d" % number)
    intent = merge(policies({}))
    alone = plan(volume, intent).plan
    asked: list[int] = []

    def waits() -> int:
        asked.append(threading.active_count())
        return len(asked) * WAITS

    monkeypatch.setattr(freeing, "waits_of_this_thread", waits)
    for shared, several in ((1 << 19, True), (0, False)):
        monkeypatch.setattr(freeing, "_SHARED", shared)
        together = plan(volume, intent, processes=3, waits=partial(next, count(step=WAITS))).plan
        assert list(together.moves) == list(alone.moves)
        assert (max(asked, default=1) == 1) is several


def test_it_is_noticed_that_the_storage_makes_who_reads_wait(volume: Volume) -> None:
    for number in range(40):
        volume.repository(f"app-{number}").push_image("v1", layers=[b"layer %d" % number])
    with open_volume(str(volume.root)) as opened:
        for waits, waiting in ((waits_for_nothing, False), (partial(next, count(step=WAITS)), True)):
            planner = Planner(opened, Question(Intent(), volume.now), processes=2, waits=waits)
            planner.make()
            assert planner.waiting is waiting


def test_bars_on_a_terminal_leave_it_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    threads = threading.active_count()
    with progress() as shown:
        shown.read("team/app")
        assert threading.active_count() == threads
    assert "repositories read" in terminal.getvalue()
