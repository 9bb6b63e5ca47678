"""Reading ahead: the same items in the same order, touched before only while the reader waits."""

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from regkeeper.retention.processes.read_ahead import BATCH, DISTANCE, SAMPLE, WAITS, read_ahead
from regkeeper.retention.volume.layout import open_volume
from regkeeper.retention.volume.repository_reader import RepositoryReader
from tests.engine.volumes import Volume


def test_a_reader_that_never_waits_has_no_help() -> None:
    touched: list[int] = []
    assert list(read_ahead(range(1000), touched.append, waits=lambda: 0)) == list(range(1000))
    assert not touched


def test_a_reader_that_waits_finds_everything_touched() -> None:
    touched: set[int] = set()
    always = count(step=WAITS)
    for item in read_ahead(range(1000), touched.add, waits=lambda: next(always)):
        position = item % (SAMPLE + BATCH)
        assert (item in touched) == (position >= SAMPLE)
    assert touched == {item for item in range(1000) if item % (SAMPLE + BATCH) >= SAMPLE}


def test_help_ends_when_the_reader_waits_no_more() -> None:
    touched: set[int] = set()
    waits = iter((0, WAITS))
    list(read_ahead(range(1000), touched.add, waits=lambda: next(waits, WAITS)))
    assert touched == set(range(SAMPLE, SAMPLE + BATCH))


def test_where_no_thread_is_allowed_the_reader_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a limit of processes is reached (RLIMIT_NPROC, pids.max of a container): it ended in a traceback."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    always = count(step=WAITS)
    assert list(read_ahead(range(1000), lambda _: None, waits=lambda: next(always))) == list(range(1000))


def test_items_are_asked_for_no_further_ahead_than_agreed() -> None:
    asked = 0

    def items() -> Iterator[int]:
        nonlocal asked
        for item in range(BATCH):
            asked = item
            yield item

    always = count(step=WAITS)
    assert all(asked - item <= DISTANCE for item in read_ahead(items(), lambda _: None, waits=lambda: next(always)))


def test_the_threads_end_with_the_reader() -> None:
    before = threading.active_count()
    always = count(step=WAITS)
    ahead = read_ahead(range(1000), lambda _: None, waits=lambda: next(always))
    for item in ahead:
        if item == SAMPLE + 10:
            break
    assert threading.active_count() > before
    ahead.close()
    assert threading.active_count() == before


def test_touching_a_repository_raises_nothing_and_changes_nothing(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1")
    broken = app.push_image("v2", layers=[b"2"])
    volume.remove(volume.blob_data(broken.digest))
    volume.empty(app.tag_link("v1"))
    (volume.repositories / "file").write_text("")
    with open_volume(str(volume.root)) as opened:
        reader = RepositoryReader(opened, pause=lambda _: None)
        before = reader.read("app")
        for name in ("app", "file", "absent", "../outside"):
            reader.touch(name)
        assert reader.read("app") == before
