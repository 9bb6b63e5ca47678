"""Undo of a run: what comes back, what a newer push or a purge leaves to it, and how it ends."""

import ctypes
import errno
import shutil
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from typer.testing import CliRunner

from regkeeper.cli import app as cli
from regkeeper.retention.errors import NothingToUndoError, NotQuietError, StoppedError
from regkeeper.retention.processes.stop import never
from regkeeper.retention.quarantine import no_replace, renames
from regkeeper.retention.quarantine.moves import Kind, Move
from regkeeper.retention.volume.patient_links import PatientLinks
from tests.engine import driver
from tests.engine.running import STATE, Runner, content
from tests.engine.samples import whole_tags
from tests.engine.volumes import DAY, SECOND, Volume

KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}


def test_an_undo_brings_back_every_byte_and_every_time(volume: Volume, runner: Runner) -> None:
    app = volume.repository("team/app")
    old = app.push_image("v1", layers=[b"base", b"one"], age=30 * DAY)
    app.push_signature(old, age=29 * DAY)
    app.push_image("v2", layers=[b"base", b"two"], age=DAY)
    volume.repository("old").push_index("all", children=[volume.repository("old").push_image(layers=[b"x"])])
    before = content(volume.root)
    runner.retain({**KEEP_ONE, "delete": ["old"]})
    assert content(volume.root) != before
    restored = runner.restore()
    assert content(volume.root) == before
    assert restored.missing == []
    assert restored.newer == []


def test_a_tag_that_was_pushed_since_stays(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    app.push_image("latest", layers=[b"old"])
    runner.delete("app:latest")
    newer = app.push_image("latest", layers=[b"new"], age=0)
    restored = runner.restore()
    assert [move.name for move in restored.newer] == ["latest"]
    assert app.tag_link("latest").read_text() == newer.digest


@pytest.mark.parametrize("entries", [1, 100])
def test_a_push_that_failed_since_takes_no_tag(volume: Volume, runner: Runner, entries: int) -> None:
    """On a full volume it leaves the directory of a link without one, and says so to nobody but its client."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    before = content(volume.root)
    runner.stop_after(entries)
    with suppress(StoppedError):
        runner.delete("app:v1")
    runner.stop = never
    app.tag_link("v1").parent.mkdir(parents=True)
    assert runner.restore().newer == []
    assert content(volume.root) == before


@pytest.mark.parametrize("left", [b"", b"sha256:06d6", bytes(71)], ids=["empty", "cut", "zeros"])
@pytest.mark.parametrize("kind", ["tag", "revision", "manifest", "layer"])
def test_what_a_push_that_failed_since_has_half_written_is_no_obstacle(
    volume: Volume, runner: Runner, kind: str, left: bytes
) -> None:
    """Distribution up to 3.0 leaves such on a full volume: it is written when the file is there already."""
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"one"])
    before = content(volume.root)
    runner.delete("app:v1")
    half_written = {
        "tag": app.tag_link("v1"),
        "revision": app.revision_link(image.digest),
        "manifest": volume.blob_data(image.digest),
        "layer": app.layer_link(volume.put_blob(b"one")),
    }[kind]
    half_written.parent.mkdir(parents=True)
    half_written.write_bytes(left)
    assert runner.restore().newer == []
    assert content(volume.root) == before


def test_a_blob_that_was_pushed_again_stays_where_the_old_one_was_damaged(volume: Volume, runner: Runner) -> None:
    """It was deleted for that, and is longer than it should be: whoever was to heal it pushed it anew."""
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"one"])
    data = volume.blob_data(image.digest)
    sound = data.read_bytes()
    data.write_bytes(sound + bytes(100))
    runner.delete("app:v1")
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_bytes(sound)
    runner.restore()
    assert data.read_bytes() == sound


def test_a_link_of_a_tag_that_is_being_pushed_stays(
    volume: Volume, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes it is about to say what it points to now, and has only just made it."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    newer = app.push_image(layers=[b"two"])
    runner.delete("app:v1")
    app.tag_link("v1").parent.mkdir(parents=True)
    app.tag_link("v1").touch()

    def write(_: float) -> None:
        app.tag_link("v1").write_text(newer.digest)

    monkeypatch.setattr(renames, "PatientLinks", partial(PatientLinks, write))
    assert [move.name for move in runner.restore().newer] == ["v1"]
    assert app.tag_link("v1").read_text() == newer.digest


def test_a_blob_that_was_pushed_again_is_no_obstacle(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"shared", b"one"])
    runner.delete("app:v1")
    app.push_image("v2", layers=[b"shared", b"two"], age=0)
    restored = runner.restore()
    assert restored.missing == []
    assert volume.blob_data(image.digest).exists()
    assert app.tag_link("v1").read_text() == image.digest


@pytest.mark.parametrize("entries", [0, 1, 5])
def test_a_signal_stops_an_undo_between_two_entries_and_the_next_command_ends_it(
    volume: Volume, runner: Runner, entries: int
) -> None:
    """It went on to its end, however many entries there were: a pod has half a minute."""
    app = volume.repository("app")
    app.push_index("v1", children=[app.push_image(layers=[b"base", b"one"])])
    app.push_image("v2", layers=[b"base", b"two"])
    before = content(volume.root)
    moves = len(runner.delete("app:v1").plan.moves)
    runner.stop_after(entries)
    with pytest.raises(StoppedError, match=rf"SIGTERM: stopped after {entries} entries"):
        runner.restore()
    assert len(list((volume.root / STATE / "quarantine").glob("*/*"))) == moves - entries
    assert [journal.state for journal in runner.journals()] == ["restoring"]
    assert whole_tags(volume.root) == {"app:v2"}
    runner.stop = never
    assert len(runner.restore().moves) == moves - entries
    assert content(volume.root) == before


def test_a_signal_stops_a_rollback_and_the_next_command_ends_it(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1", layers=[b"one"])
    before = content(volume.root)
    for entries, words in ((4, "stopped after 4 entries, which"), (2, "stopped after 2 entries had come back")):
        runner.stop_after(entries)
        with pytest.raises(StoppedError, match=words):
            runner.delete("app:v1")
        assert [journal.state for journal in runner.journals()] == ["open"]
    runner.stop = never
    assert len(runner.restore().moves) == 2
    assert content(volume.root) == before


def test_an_undo_is_done_once(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1")
    runner.delete("app:v1")
    runner.restore()
    with pytest.raises(NothingToUndoError):
        runner.restore()


def test_an_undo_is_done_once_though_a_purge_holds_what_it_left(volume: Volume, runner: Runner) -> None:
    """The shared layer, for the later run: the earlier one counted as done again, and as the next to be undone."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"shared", b"one"])
    app.push_image("v2", layers=[b"shared", b"two"])
    runner.delete("app:v1", "app:v2")
    app.push_image("v1", layers=[b"shared", b"one"])
    runner.restore()
    runner.delete("app:v2", undo_window=30 * DAY, now=volume.now + SECOND)
    assert runner.purge().held > 0
    first, last = runner.journals()
    listed = CliRunner().invoke(cli, ["runs", "--root", str(volume.root)]).output.splitlines()
    assert [", until " in line for line in listed] == [False, True]
    outcome = driver.run(volume, "restore", first.run)
    assert f"run {first.run} can't be undone: it was restored at 2026-05-28T20:26:40Z" in outcome.errors
    assert last.run in runner.restore().runs
    with pytest.raises(NothingToUndoError):
        runner.restore()


def test_a_run_that_was_rolled_back_is_never_undone(volume: Volume, runner: Runner) -> None:
    """A purge holds, for the later run, the shared layer that came anew before the rollback."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"shared", b"one"])
    app.push_image("v2", layers=[b"shared", b"two"])

    def push(move: Move) -> None:
        if move.kind == Kind.MANIFEST_BLOB:
            app.push_image("v1", layers=[b"shared", b"one"], age=0)

    runner.progress = push
    with pytest.raises(NotQuietError):
        runner.delete("app:v1", "app:v2")
    runner.progress = lambda _: None
    runner.delete("app:v2", undo_window=30 * DAY, now=volume.now + SECOND)
    assert runner.purge().held > 0
    first, last = runner.journals()
    outcome = driver.run(volume, "restore", first.run)
    assert f"run {first.run} can't be undone: it was rolled back at 2026-05-28T20:26:40Z" in outcome.errors
    assert last.run in runner.restore().runs
    with pytest.raises(NothingToUndoError):
        runner.restore()


def test_a_layer_that_is_pushed_again_just_as_it_comes_back_is_as_young_as_its_push(
    volume: Volume, runner: Runner
) -> None:
    """The API's DELETE had left its directory without a link; the link of before was written over that of the push."""
    app = volume.repository("app")
    app.push_image("v1")
    layer = app.push_blob(b"garbage")
    runner.retain({})
    volume.put_blob(b"garbage")
    app.layer_link(layer.digest).parent.mkdir(parents=True)

    def push(call: str) -> None:
        if call == "rename" and any((volume.root / STATE / "kept").glob("*Z")):
            app.push_blob(b"garbage", age=0)

    runner.guard = push
    runner.restore()
    assert app.layer_link(layer.digest).stat().st_mtime_ns == volume.moment(0)


def test_a_push_that_makes_a_directory_just_before_an_undo_does_holds_nothing_up(
    volume: Volume, runner: Runner
) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    before = content(volume.root)
    runner.delete("app")
    made: list[str] = []

    def push(call: str) -> None:
        if call == "mkdir" and any((volume.root / STATE / "kept").glob("*Z")) and not app.directory.exists():
            app.directory.mkdir()
            made.append(call)

    runner.guard = push
    shutil.rmtree(app.directory)
    runner.restore()
    assert made
    assert content(volume.root) == before


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EINVAL, None])
def test_an_undo_does_without_renameat2_where_that_is_refused(
    volume: Volume, runner: Runner, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    """By an old kernel or gVisor, by seccomp, by NFS; or by the C library, which has it not."""
    volume.repository("app").push_image("v1", layers=[b"one"])
    before = content(volume.root)
    runner.delete("app:v1")

    def refuse(*_: object) -> int:
        ctypes.set_errno(number or 0)
        return -1

    monkeypatch.setattr(no_replace, "_renameat2", None if number is None else refuse)
    runner.restore()
    assert content(volume.root) == before


def test_a_tag_of_which_an_interrupted_purge_has_left_the_directory_is_missing(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1", layers=[b"one"])
    runner.delete("app:v1")

    def stop(call: str) -> None:
        if call == "rmdir" and not any((volume.root / STATE / "quarantine").rglob("current/link")):
            raise StoppedError(call)

    with pytest.raises(StoppedError):
        replace(runner, guard=stop).purge()
    assert runner.restore().missing == ["app:v1"]


@pytest.mark.parametrize("kind", [Kind.REVISION, Kind.LAYER_LINK])
def test_what_an_interrupted_purge_was_just_removing_is_missing(volume: Volume, runner: Runner, kind: Kind) -> None:
    """Between the removal of the file and that of its directory."""
    volume.repository("app").push_image("v1", layers=[b"one"])
    deleted = runner.delete("app:v1")
    move = next(deleted.plan.moves.of(kind))
    number = list(deleted.plan.moves).index(move)
    assert deleted.journal is not None
    directory = volume.root / STATE / "quarantine" / deleted.journal.run / str(number)

    def stop(call: str) -> None:
        if call == "rmdir" and not any(directory.iterdir()):
            raise StoppedError(call)

    with pytest.raises(StoppedError):
        replace(runner, guard=stop).purge()
    assert move.name in runner.restore().missing


def test_after_a_purge_the_refusal_says_when_it_was(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1")
    runner.delete("app:v1")
    runner.purge(now=volume.now + 3 * DAY * SECOND)
    with pytest.raises(NothingToUndoError, match="was purged at 2026-05-31T20:26:40Z"):
        runner.restore()
    with pytest.raises(NothingToUndoError, match=r"app:v1: it was purged at 2026-05-31"):
        runner.restore_image("app:v1")


def test_of_an_image_that_was_pushed_again_the_tag_alone_is_told(volume: Volume, runner: Runner) -> None:
    """Its manifest and blobs are what they were."""
    volume.repository("app").push_image("v1")
    runner.delete("app:v1")
    volume.repository("app").push_image("v1", age=0)
    outcome = driver.run(volume, "restore")
    assert outcome.document["restored"]["newer"] == ["app:v1"]
    assert outcome.errors.count("pushed since") == 1
