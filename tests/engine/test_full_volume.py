"""Volumes on real, small filesystems: without a byte and an inode left, as is common, read-only, or split."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from regkeeper.retention.errors import NotQuietError, RefusedError, StoppedError, StorageError
from regkeeper.retention.planning.plan_files import awaiting, record_awaiting
from regkeeper.retention.processes.stop import never
from regkeeper.retention.quarantine.storage import WritableVolume
from tests.engine import planning
from tests.engine.mounts import formatted, mounted
from tests.engine.running import STATE, Runner, content
from tests.engine.volumes import DAY, SECOND, Volume

pytestmark = pytest.mark.root


@contextmanager
def small_volume(kind: str, tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 64 MiB with few inodes: large enough for a reserve."""
    with ExitStack() as stack:
        if kind == "tmpfs":
            options = ["-t", "tmpfs", "-o", "size=64m,nr_inodes=400", "none"]
        else:
            # Without blocks that only root may use: then 0 bytes are 0 bytes.
            image = formatted(tmp_path / "image", 64, "mkfs.ext4", "-m", "0", "-N", "400")
            options = ["-o", "loop", str(image)]
        yield stack.enter_context(mounted(tmp_path / kind, *options))


@pytest.fixture(autouse=True)
def quick() -> None:
    """The reserve is as large as it is: it is what these tests are about."""


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Volume]:
    """A volume with ten images, the first two of which an earlier run has deleted."""
    with small_volume(request.param, tmp_path) as folder:
        volume = Volume(folder / "registry")
        app = volume.repository("app")
        for number in range(10):
            app.push_image(f"v{number}", layers=[b"base", b"layer %d" % number], age=(30 - number) * DAY)
        yield volume


def fill(folder: Path) -> None:
    """Take every inode and every byte that is left."""
    filler = folder / "filler"
    filler.mkdir()
    descriptor = os.open(filler / "bytes", os.O_WRONLY | os.O_CREAT)
    with no_space_left():
        for number in range(10_000):
            (filler / str(number)).touch()
    for size in (1 << 20, 4096, 1):
        with no_space_left():
            for _ in range(10_000):
                os.write(descriptor, b"x" * size)
    os.close(descriptor)
    left = os.statvfs(folder)
    assert (left.f_bavail, left.f_favail) == (0, 0)


@contextmanager
def no_space_left() -> Iterator[None]:
    with pytest.raises(OSError, match="No space left") as raised:
        yield
    assert raised.value.errno == errno.ENOSPC


def test_a_full_volume_can_be_cleaned_and_the_cleaning_undone(small: Volume) -> None:
    runner = Runner(small.root, small.now)
    runner.delete("app:v0")
    fill(small.root.parent)
    before = content(small.root)
    outcome = runner.retain({"rules": [{"keep": {"last": 2}}]})
    assert outcome.journal is not None
    assert outcome.plan.count(*{move.kind for move in outcome.plan.moves}) == outcome.journal.count > 30
    runner.restore()
    assert content(small.root) == before


def test_what_a_run_frees_on_a_volume_that_is_full_and_small_is_for_pushes(tmp_path: Path) -> None:
    """The reserve took it all: 1.9 MiB were freed, and none of 12 MiB was free afterwards."""
    with mounted(tmp_path / "volume", "-t", "tmpfs", "-o", "size=12m,nr_inodes=400", "none") as folder:
        volume = Volume(folder / "registry")
        for tag in ("v1", "v2"):
            volume.repository("app").push_image(tag, layers=[tag.encode() * (1 << 20)], age=9 * DAY)
        for name in ("app", "other", "spare"):  # the directories of a first run
            volume.repository(name).uploads.mkdir(parents=True)
        fill(folder)
        journals = tmp_path / "journals"
        journals.mkdir()
        Runner(volume.root, volume.now, journal=journals).delete("app:v1", undo_window=0)
        left = os.statvfs(folder)
        assert left.f_bavail * left.f_frsize >= 2 << 20


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_refused_on_a_full_volume_leaves_the_reserve_to_the_next(small: Volume, when: str) -> None:
    """It was spent for nothing, pushes took what that had freed, and no later run could even begin."""
    runner = Runner(small.root, small.now)
    runner.delete("app:v0")
    fill(small.root.parent)
    keep_two = {"rules": [{"keep": {"last": 2}}]}

    def refuse() -> None:
        raise NotQuietError(when)

    refused = replace(runner, quiet=refuse)
    if when == "after":
        refused = replace(runner, progress=lambda _: os.utime(small.repository("app").tag_link("v9")))
    with pytest.raises(NotQuietError):
        refused.retain(keep_two)
    shutil.rmtree(small.root.parent / "filler")
    fill(small.root.parent)
    outcome = runner.retain(keep_two)
    assert outcome.journal is not None
    assert outcome.journal.count > 30


def test_what_a_rollback_has_spent_of_the_reserve_is_there_again_though_the_run_is_refused(small: Volume) -> None:
    other = small.repository("other")
    other.push_image("v1", layers=[b"other"])
    runner = Runner(small.root, small.now)
    runner.delete("app:v0")
    stopped = replace(runner, stop=lambda: None if other.tag_link("v1").exists() else "enough")
    with pytest.raises(StoppedError):
        stopped.delete("other:v1")
    other.tags.rmdir()
    fill(small.root.parent)

    def refuse() -> None:
        raise NotQuietError("after the rollback")

    with pytest.raises(NotQuietError):
        replace(runner, quiet=refuse).delete("app:v1")
    assert other.tag_link("v1").exists()
    shutil.rmtree(small.root.parent / "filler")
    fill(small.root.parent)
    assert runner.delete("app:v1").journal is not None


def test_a_plan_can_wait_for_its_approval_on_a_full_volume(small: Volume) -> None:
    """The largest plans wait for one, and they are made when a volume is full."""
    runner = Runner(small.root, small.now)
    runner.delete("app:v0")
    fill(small.root.parent)
    plan = planning.retain(small, {"rules": [{"keep": {"last": 2}}]}).plan
    with runner.changing() as (volume, _):
        record_awaiting(volume, plan)
        assert awaiting(volume, plan.hash).hash == plan.hash
    assert (small.root / STATE / "reserve" / "space").stat().st_size > 0, "what is left of it"
    assert runner.retain({"rules": [{"keep": {"last": 2}}]}).journal is not None


def test_a_rollback_makes_a_directory_that_is_gone_from_the_reserve(small: Volume) -> None:
    app = small.repository("other")
    app.push_image("v1", layers=[b"other"])
    runner = Runner(small.root, small.now)
    runner.delete("app:v0")
    before = content(small.root)
    runner.stop = lambda: None if app.tag_link("v1").exists() else "enough"
    with pytest.raises(StoppedError):
        runner.delete("other:v1")
    runner.stop = never
    app.tags.rmdir()
    fill(small.root.parent)
    runner.restore()
    assert content(small.root) == before


def test_a_full_volume_is_freed_for_good(small: Volume) -> None:
    runner = Runner(small.root, small.now)
    runner.delete("app:v0")
    fill(small.root.parent)
    outcome = runner.retain({"rules": [{"keep": {"last": 2}}], "undoWindow": "0s"})
    assert sum(purged.bytes for purged in outcome.purged) == outcome.plan.deleted_bytes
    assert not (small.root / STATE / "reserve" / "space").exists(), "what was freed is for pushes"
    shutil.rmtree(small.root.parent / "filler")
    runner.delete("app:v8")
    assert (small.root / STATE / "reserve" / "space").stat().st_size > 0, "it is laid in again"


def test_a_purge_needs_no_space(small: Volume) -> None:
    runner = Runner(small.root, small.now)
    runner.delete("app:v0", "app:v1")
    shutil.rmtree(small.root / STATE / "reserve")
    fill(small.root.parent)
    assert runner.purge().bytes > 0


def test_a_run_that_is_held_for_another_stops_no_purge_though_its_journal_grows(small: Volume) -> None:
    """Each purge writes that it looked at it, until the space that was kept behind its plan is used up."""
    small.repository("app").tag("also", small.repository("app").push_image("v1", layers=[b"one"]).digest)
    runner = Runner(small.root, small.now)
    runner.delete("app:also", undo_window=4000 * DAY)
    held = runner.delete("app:v1").journal
    assert held is not None
    journal = small.root / STATE / "journals" / held.run
    day, size = 2, journal.stat().st_size
    while len(journal.read_bytes().rstrip(b"\0")) < size - 60:
        runner.purge(now=small.now + day * DAY * SECOND)
        day += 1
    fill(small.root.parent)
    for _ in range(100):
        assert runner.purge(now=small.now + day * DAY * SECOND).untouched == {held.run}
        day += 1
    assert journal.stat().st_size > size + 4096


def test_a_first_run_on_a_full_volume_needs_a_journal_elsewhere_and_nothing_more(small: Volume, tmp_path: Path) -> None:
    """Not even a directory fits: it takes those in which a registry keeps uploads that are under way, and has none."""
    for name in ("app", "other", "other/again", "spare"):
        small.repository(name).uploads.mkdir(parents=True)
    fill(small.root.parent)
    before = content(small.root)
    journals = tmp_path / "journals"
    journals.mkdir()
    outcome = Runner(small.root, small.now, journal=journals).delete("app:v0", undo_window=0)
    assert sum(purged.bytes for purged in outcome.purged) == outcome.plan.deleted_bytes > 0
    assert len(before) - len(content(small.root)) == 8, (
        "two links of the tag, one of the manifest, two of layers; blobs"
    )
    left = [name for name in ("app", "other", "other/again", "spare") if small.repository(name).uploads.exists()]
    assert len(left) == 1, "one for each of the three directories, and none for what is only of use"
    assert Runner(small.root, small.now, journal=journals).delete("app:v1").journal is not None


def test_a_first_run_takes_no_directory_on_a_full_volume_that_it_has_planned_to_move(
    small: Volume, tmp_path: Path
) -> None:
    for name in ("app", "other", "spare", "spare/again"):
        small.repository(name).uploads.mkdir(parents=True)
    fill(small.root.parent)
    journals = tmp_path / "journals"
    journals.mkdir()
    assert Runner(small.root, small.now, journal=journals).delete("app").journal is not None
    assert not small.repository("app").tags.exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_run_that_begins_again_with_the_reserve_knows_the_runs_before(
    small: Volume, tmp_path: Path, elsewhere: bool
) -> None:
    """What was left of the first attempt is removed, and the journals are not: their names are in order."""
    journals = tmp_path / "journals"
    journals.mkdir()
    runner = Runner(small.root, small.now, journal=journals if elsewhere else None)
    runner.delete("app:v0")
    runner.delete("app:v1")
    fill(small.root.parent)
    runs = [journal.run for journal in runner.journals()]
    outcome = runner.delete("app:v2")
    assert outcome.journal is not None
    assert [journal.run for journal in runner.journals()] == [*runs, outcome.journal.run]


def test_a_volume_on_which_no_directory_fits_stays_as_it_is(small: Volume, tmp_path: Path) -> None:
    upload = small.repository("app").start_upload("u-1")
    fill(small.root.parent)
    before = content(small.root)
    journals = tmp_path / "journals"
    journals.mkdir()
    with pytest.raises(StorageError, match="no space or no inode is left"):
        Runner(small.root, small.now, journal=journals).delete("app:v0", undo_window=0)
    assert content(small.root) == before
    assert upload.is_dir()
    assert not (small.root / STATE).exists()


def test_a_file_in_the_place_of_uploads_is_not_taken_for_an_empty_directory(small: Volume, tmp_path: Path) -> None:
    (small.repository("app").directory / "_uploads").touch()
    fill(small.root.parent)
    before = content(small.root)
    journals = tmp_path / "journals"
    journals.mkdir()
    with pytest.raises(StorageError, match="no space or no inode is left"):
        Runner(small.root, small.now, journal=journals).delete("app:v0")
    assert content(small.root) == before


def test_a_directory_in_which_an_upload_begins_meanwhile_is_put_back(
    small: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, spare = small.repository("app"), [small.repository(f"spare/{number}") for number in range(3)]
    for repository in (app, *spare):
        repository.uploads.mkdir(parents=True)
    upload = app.start_upload("u-1")
    fill(small.root.parent)
    journals = tmp_path / "journals"
    journals.mkdir()
    names = WritableVolume.names

    def names_before(volume: WritableVolume, path: str, *, symbolic_links: bool = True) -> list[str]:
        return [name for name in names(volume, path, symbolic_links=symbolic_links) if name != upload.name]

    monkeypatch.setattr(WritableVolume, "names", names_before)
    assert Runner(small.root, small.now, journal=journals).delete("app:v0").journal is not None
    assert upload.is_dir()


def test_without_a_reserve_the_failure_is_clear_and_changes_nothing(small: Volume) -> None:
    for name in ("app", "other", "spare"):
        small.repository(name).uploads.mkdir(parents=True)
    fill(small.root.parent)
    before = content(small.root)
    with pytest.raises(StorageError, match="no space or no inode is left"):
        Runner(small.root, small.now).delete("app:v0")
    assert content(small.root) == before
    assert not (small.root / STATE).exists()
    assert all(small.repository(name).uploads.is_dir() for name in ("app", "other", "spare"))


def test_a_read_only_volume_is_told(small: Volume) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small.root.parent)], check=True)
    with pytest.raises(StorageError, match="mounted read-only"):
        Runner(small.root, small.now).delete("app:v0")


def test_a_volume_that_is_split_over_two_filesystems_is_refused_before_the_first_rename(
    volume: Volume, tmp_path: Path
) -> None:
    with mounted(volume.blobs / "sha256", "-t", "tmpfs", "none"):
        volume.repository("app").push_image("v1")
        before = content(volume.root)
        with pytest.raises(RefusedError, match=r"blobs/sha256/.* is on another filesystem than the quarantine"):
            Runner(volume.root, volume.now).delete("app:v1")
        assert content(volume.root) == before


def test_repositories_on_another_device_than_the_blobs_are_refused(volume: Volume, tmp_path: Path) -> None:
    """What is mounted there may be another volume's, or an empty one."""
    with mounted(volume.repositories, "-t", "tmpfs", "none"):
        volume.repository("app").push_image("v1")
        assert "another device" in planning.retain(volume, {"rules": [{"keep": {"last": 0}}]}).plan.refusal


def test_a_mount_within_the_same_filesystem_stops_the_run_and_the_next_one_puts_everything_back(
    volume: Volume, tmp_path: Path
) -> None:
    """The kernel refuses a rename across a bind mount, which no number of a device shows."""
    volume.repository("app").push_image("v1")
    before = content(volume.root)
    layers = volume.repository("app").layers
    subprocess.run(["mount", "--bind", str(layers), str(layers)], check=True)
    try:
        with pytest.raises(StorageError, match="only a rename within one can be undone"):
            Runner(volume.root, volume.now).delete("app:v1")
    finally:
        subprocess.run(["umount", str(layers)], check=True)
    Runner(volume.root, volume.now).restore()
    assert content(volume.root) == before
