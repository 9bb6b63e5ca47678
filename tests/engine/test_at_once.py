"""Work in several threads: each item once, nothing after a failure, and no thread that is not allowed or stays."""

import errno
import os
import threading
from pathlib import Path

import pytest

from regkeeper.retention.errors import StorageError
from regkeeper.retention.processes.at_once import at_once
from tests.engine.running import Runner, content
from tests.engine.volumes import DAY, Volume

ITEMS = 500
KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}


def refuse(*_: object) -> None:
    """As where a limit of processes is reached (RLIMIT_NPROC, pids.max of a container)."""
    raise RuntimeError("can't start new thread")


@pytest.fixture
def many_repositories(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path / "volume")
    for number in range(70):
        repository = volume.repository(f"app-{number}")
        repository.push_image("v1", layers=[b"%d" % number], age=20 * DAY)
        repository.push_image("v2", layers=[b"%d, 2" % number], age=10 * DAY)
    return volume


def test_each_item_is_done_once_and_several_at_a_time() -> None:
    done: list[int] = []
    together = threading.Barrier(4, timeout=10)

    def work(item: int) -> None:
        if item < 4:
            together.wait()
        done.append(item)

    before = threading.active_count()
    at_once(work, range(ITEMS), 4)
    assert sorted(done) == list(range(ITEMS))
    assert threading.active_count() == before


def test_after_a_failure_no_further_item_is_begun() -> None:
    begun: list[int] = []
    failed = threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item == 10:
            failed.set()
            raise KeyError(item)
        if item > 10:
            failed.wait(10)

    before = threading.active_count()
    with pytest.raises(KeyError, match="10"):
        at_once(work, range(ITEMS), 4)
    assert len(begun) < ITEMS
    assert threading.active_count() == before


def test_where_no_thread_is_allowed_one_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[int] = []
    at_once(done.append, range(ITEMS), 4)
    assert done == list(range(ITEMS))


def test_a_run_that_may_have_no_thread_makes_many_directories_durable_all_the_same(
    many_repositories: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended in a traceback, with everything moved by then, and so did each later one that was to put that back."""
    monkeypatch.setattr(threading.Thread, "start", refuse)
    runner = Runner(many_repositories.root, many_repositories.now)
    before = content(many_repositories.root)
    outcome = runner.retain(KEEP_ONE)
    assert outcome.journal is not None
    runner.restore()
    assert content(many_repositories.root) == before


def test_one_of_many_directories_that_can_not_be_made_durable_fails_the_run(
    many_repositories: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = str(many_repositories.repository("app-35").tags)
    sync = os.fsync

    def fail(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    before = content(many_repositories.root)
    runner = Runner(many_repositories.root, many_repositories.now)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="app-35/_manifests/tags: Input/output error"):
        runner.retain(KEEP_ONE)
    monkeypatch.undo()
    runner.restore()  # puts back what had not ended
    assert content(many_repositories.root) == before
