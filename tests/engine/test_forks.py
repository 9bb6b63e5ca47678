"""A forked process does its work and nothing of the first one's, and only it is ended."""

import os
import signal

import pytest

from regkeeper.retention.processes.forks import end, fork
from tests.engine.processes import lives
from tests.waiting import wait_for

# The tests' own process may have threads (pytest-xdist); what is forked here takes none of their locks.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def fail() -> None:
    raise ValueError


def test_it_ends_with_its_work_and_tells_nobody_how(capfd: pytest.CaptureFixture[str]) -> None:
    child = fork(fail)
    assert os.waitpid(child, 0) == (child, 0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_at_once_runs_nothing_of_the_first_process(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, between the fork and its first line: the other printed, and ended processes that were none of its own."""
    os_fork, here = os.fork, os.getpid()
    reading, writing = os.pipe()

    def interrupted() -> int:
        child = os_fork()
        if child == 0:
            os.kill(os.getpid(), number)
        return child

    monkeypatch.setattr(os, "fork", interrupted)
    before = signal.signal(number, signal.default_int_handler)
    try:
        child = fork(lambda: os.write(writing, b"worked"))
    finally:
        if os.getpid() != here:
            os.write(writing, b"ran what is the first one's")
            os._exit(1)
        signal.signal(number, before)
    os.waitpid(child, 0)
    os.close(writing)
    assert os.read(reading, 100) == b"worked"
    os.close(reading)


def test_signals_arrive_in_the_first_process_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    end(fork(signal.pause))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_one_that_is_at_work_is_ended() -> None:
    child = fork(signal.pause)
    end(child)
    assert not lives(child)


def test_another_that_has_its_number_by_now_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SIGCHLD is ignored, as a supervisor may leave it, the kernel forgets each as it ends."""
    killed: list[int] = []
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        child = fork(lambda: None)
        wait_for(lambda: not lives(child), 10, "it to end")
        monkeypatch.setattr(os, "kill", lambda process, _: killed.append(process))
        end(child)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert not killed
