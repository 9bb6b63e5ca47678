"""Is it quiet? What writes to the volume stops a run: uploads, pushes, copies; and what its registry answers."""

import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from regkeeper.retention.errors import (
    NotQuietError,
)
from regkeeper.retention.quarantine.moves import Move
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.runs.quiet import Mode, refuse_changes, refuse_pull_through_cache
from regkeeper.retention.volume.beneath import open_directory
from regkeeper.retention.volume.layout import open_volume
from tests.engine.remembered import await_tick
from tests.engine.running import Runner, content, quarantined
from tests.engine.samples import whole_tags
from tests.engine.volumes import DAY, SECOND, Volume

# The tests' own process may have threads (pytest-xdist); what is forked here takes none of their locks.
pytestmark = [
    pytest.mark.usefixtures("two_images"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]

KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}


@pytest.mark.parametrize("age", [1, 599])
def test_an_upload_under_way_stops_the_run(volume: Volume, runner: Runner, age: int) -> None:
    volume.repository("other").start_upload("u-1", age=age)
    before = content(volume.root)
    with pytest.raises(NotQuietError, match=rf"other \(u-1\) was touched {age} s ago.* in {600 - age} s"):
        runner.retain(KEEP_ONE)
    assert content(volume.root) == before


def test_an_old_upload_stops_nothing(volume: Volume, runner: Runner) -> None:
    volume.repository("other").start_upload("u-1", age=601)
    assert runner.retain(KEEP_ONE).journal is not None


def test_a_push_after_the_mark_stops_the_run_before_its_first_rename(volume: Volume, runner: Runner) -> None:
    runner.quiet = lambda: volume.repository("app").tag("v3", volume.put_blob(b"pushed"), age=0)
    with pytest.raises(NotQuietError, match=r"something writes here: .*app.* changed"):
        runner.retain(KEEP_ONE)
    assert volume.repository("app").tag_link("v1").exists()


def test_a_push_during_the_sweep_brings_everything_back_at_once(volume: Volume, runner: Runner) -> None:
    """Old layers may be needed again by it."""
    before = content(volume.root)
    mounted = volume.repository("app")

    def push(move: Move) -> None:
        if move.kind == "blob":
            mounted.mount("sha256:" + "0" * 64, age=0)

    runner.progress = push
    with pytest.raises(NotQuietError, match="something writes here"):
        runner.retain(KEEP_ONE)
    after = content(volume.root)
    assert {path: entry for path, entry in after.items() if "0" * 64 not in path} == before
    assert [journal.state for journal in runner.journals()] == ["rolled-back"]


def test_a_candidate_that_changed_since_the_plan_stays(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")

    def push_again(move: Move) -> None:
        if move.kind == "tag":
            app.push_image("v1", layers=[b"one"], age=0)

    runner.progress = push_again
    with pytest.raises(NotQuietError):
        runner.retain(KEEP_ONE)
    assert app.tag_link("v1").exists()
    assert volume.blob_data(volume.put_blob(b"one")).exists()


def test_a_pull_through_cache_is_for_offline_only(volume: Volume) -> None:
    (volume.root / "scheduler-state.json").write_text("{}")
    with open_volume(str(volume.root)) as opened:
        with pytest.raises(NotQuietError, match="pull-through cache"):
            refuse_pull_through_cache(opened, Mode.READ_ONLY)
        refuse_pull_through_cache(opened, Mode.OFFLINE)


def preserving_times(source: Path, target: Path) -> None:
    """As rsync -a, cp -a and tar write."""
    shutil.copytree(source, target, copy_function=shutil.copy2)
    for directory in (target.parent, target.parent.parent):
        os.utime(directory, (1, 1))


@pytest.mark.parametrize("kind", ["layers", "revisions"])
def test_a_writer_that_keeps_old_times_stops_the_run(volume: Volume, runner: Runner, kind: str) -> None:
    app, other = volume.repository("app"), volume.repository("other")
    other.push_image("v1", layers=[b"other"])
    source = next((getattr(app, kind) / "sha256").iterdir())
    runner.quiet = lambda: preserving_times(source, getattr(other, kind) / "sha256" / ("0" * 64))
    with pytest.raises(NotQuietError, match=r"something writes here: .*other.* changed"):
        runner.retain(KEEP_ONE)


def test_times_of_a_clock_that_was_ahead_stop_nothing(volume: Volume, runner: Runner) -> None:
    other = volume.repository("other")
    other.push_image("v1", layers=[b"other"])
    other.start_upload("u-1", age=-300 * DAY)
    for directory in (other.layers / "sha256", other.revisions / "sha256"):
        os.utime(directory, (2 << 30, 2 << 30))
    assert runner.retain(KEEP_ONE).journal is not None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_process_that_may_open_nothing_more_does_not_call_it_quiet(
    volume: Volume, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(directory: int, path: str) -> int:
        if path.endswith("_manifests/tags"):
            raise OSError(number, os.strerror(number), path)
        return open_directory(directory, path)

    with open_volume(str(volume.root)) as opened:
        monkeypatch.setattr("regkeeper.retention.volume.layout.open_directory", refuse)
        with pytest.raises(OSError, match=os.strerror(number)):
            refuse_changes(opened, time.time_ns(), time.time_ns)


def test_a_change_that_lies_ahead_of_the_clock_is_none(volume: Volume, runner: Runner) -> None:
    """A machine that once booted with a wrong clock left ctimes that no writer could set."""
    with open_volume(str(volume.root)) as opened:
        refuse_changes(opened, 1, lambda: time.time_ns() - DAY * SECOND)
        with pytest.raises(NotQuietError, match="something writes here"):
            refuse_changes(opened, 1, time.time_ns)


@pytest.mark.parametrize("ahead", [-120, 120])
def test_a_push_is_seen_whatever_the_clock_of_journals_elsewhere(
    volume: Volume, runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """The times of a network filesystem are its server's, and those of a directory of this machine are not."""
    runner.journal = tmp_path / "journals"
    runner.journal.mkdir()
    create, touch = WritableVolume.create_file, WritableVolume.touch

    def as_elsewhere(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"{runner.journal}/"):
            moment = time.time_ns() + ahead * SECOND
            os.utime(descriptor, ns=(moment, moment))

    def create_as_elsewhere(opened: WritableVolume, parent: int, name: str) -> int:
        descriptor = create(opened, parent, name)
        as_elsewhere(descriptor)
        return descriptor

    def touch_as_elsewhere(opened: WritableVolume, descriptor: int) -> None:
        touch(opened, descriptor)
        as_elsewhere(descriptor)

    monkeypatch.setattr(WritableVolume, "create_file", create_as_elsewhere)
    monkeypatch.setattr(WritableVolume, "touch", touch_as_elsewhere)
    runner.progress = lambda _: volume.repository("app").mount("sha256:" + "0" * 64, age=0)
    with pytest.raises(NotQuietError, match="something writes here"):
        runner.retain(KEEP_ONE)
    assert volume.repository("app").tag_link("v1").exists()


@pytest.mark.parametrize("processes", [1, 3])
def test_a_change_is_seen_in_whichever_repository(volume: Volume, processes: int) -> None:
    """Several processes look at once, and each repository is one's."""
    repositories = [volume.repository(f"team/app-{number}") for number in range(12)]
    for repository in repositories:
        repository.push_image("v1", layers=[b"base"])
    with open_volume(str(volume.root)) as opened:
        for repository in repositories:
            await_tick(volume)
            since = time.time_ns()
            refuse_changes(opened, since, time.time_ns, processes=processes)
            await_tick(volume)
            repository.tag_link("v1").touch()
            with pytest.raises(NotQuietError, match=rf"{repository.directory.name}/_manifests/tags/v1 changed"):
                refuse_changes(opened, since, time.time_ns, processes=processes)


@pytest.mark.parametrize("tag", ["v1", "unlinked"])
def test_a_push_between_the_last_look_and_the_rename_is_put_back(volume: Volume, runner: Runner, tag: str) -> None:
    """Into the tag that goes: in place, as distribution up to 3.0 writes, or into a directory that had no link."""
    app = volume.repository("app")
    (app.tags / "unlinked").mkdir()
    pushed = app.push_image(layers=[b"pushed"])

    def push(call: str) -> None:
        if call == "rename" and (app.tags / tag).exists():
            app.tag_link(tag).parent.mkdir(exist_ok=True)
            app.tag_link(tag).write_text(pushed.digest)

    runner.guard = push
    with pytest.raises(NotQuietError, match=f"something writes here: .*/{tag} has changed"):
        runner.delete(f"app:{tag}")
    assert app.tag_link(tag).read_text() == pushed.digest
    assert app.revision_link(pushed.digest).exists()


@pytest.mark.parametrize("pushed", ["image", "manifest", "layer", "upload"])
def test_a_push_into_a_repository_that_leaves_the_catalog_is_put_back(
    volume: Volume, runner: Runner, pushed: str
) -> None:
    """Its directories are moved whole, and took along what had come since the plan: acknowledged, and gone."""
    app = volume.repository("app")
    app.uploads.mkdir()
    before: list[set[str]] = []

    def push(call: str) -> None:
        if call == "rename" and not before:
            before.append(set(content(volume.root)))
            if pushed == "upload":
                app.start_upload("u-1", age=0)
            elif pushed == "layer":
                app.push_blob(b"new", age=0)
            else:
                app.push_image(*(["v3"] if pushed == "image" else []), layers=[b"new"], age=0)

    runner.guard = push
    with pytest.raises(NotQuietError, match=r"something writes here: repositories/app/_.* has changed"):
        runner.delete("app")
    after = set(content(volume.root))
    assert after > before[0]
    assert not quarantined(volume.root)


def test_a_push_by_digest_of_what_was_deleted_through_the_api_is_seen(volume: Volume, runner: Runner) -> None:
    """Its directory is there, so that none which is listed changes; its layers were garbage, and went."""
    app = volume.repository("app")
    deleted = app.push_image(layers=[b"deleted"])
    app.delete_revision(deleted.digest)
    await_tick(volume)

    def push(call: str) -> None:
        if call == "rename" and not app.revision_link(deleted.digest).exists():
            volume.write(app.revision_link(deleted.digest), deleted.digest.encode(), age=0)

    runner.guard = push
    with pytest.raises(NotQuietError, match=f"something writes here: .*/{deleted.digest[7:]} changed"):
        runner.retain({})
    assert volume.blob_data(deleted.digest).exists()
    assert not quarantined(volume.root)


def test_a_push_while_everything_goes_back_does_not_hold_that_up(volume: Volume, runner: Runner) -> None:
    """Of a repository that had left the catalog: its directory was made again just before the old one came back."""
    app = volume.repository("app")
    blobs = set(volume.blobs.rglob("data"))
    swept: list[bool] = []

    def push(call: str) -> None:
        if call != "rename" or app.tags.exists():
            return
        if app.layers.exists() and not swept:
            app.push_blob(b"new", age=0)  # for which everything goes back
        back = blobs <= set(volume.blobs.rglob("data"))
        swept.append(not back)
        if any(swept) and back:  # just before the manifests are
            app.push_image("v3", layers=[b"new"], age=0)

    runner.guard = push
    with pytest.raises(NotQuietError, match="repositories/app/_layers has changed"):
        runner.delete("app")
    assert whole_tags(volume.root) >= {"app:v1", "app:v2", "app:v3"}
