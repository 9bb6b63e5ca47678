"""Records of repositories: whatever is or has become of them, a plan is the one that is made without them."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regkeeper.retention.quarantine.storage import open_writable
from regkeeper.retention.records import record_files
from regkeeper.retention.records.record_files import RecordFiles, WritableRecordFiles
from regkeeper.retention.records.remembering import SETTLED_NANOSECONDS, RememberingReader
from regkeeper.retention.volume.layout import open_volume
from regkeeper.retention.volume.places import CACHE
from tests.engine import documents
from tests.engine.cases import cases
from tests.engine.memory import folder_in_memory
from tests.engine.oracle import judge
from tests.engine.registry_history import History, build
from tests.engine.remembered import (
    KEEP_ONE,
    LATER,
    ask_by_records,
    await_tick,
    plan_of_a_run,
    recorded,
    records,
    remember,
    told,
    told_without_records,
)
from tests.engine.running import Counting, Failing, Runner
from tests.engine.strategies import SPECS, histories
from tests.engine.volumes import DAY, OLD, SECOND, Repository, Volume, snapshot


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return recorded(tmp_path / "volume")


def test_what_has_not_changed_is_not_read_again(volume: Volume) -> None:
    asked = ask_by_records(volume, KEEP_ONE)
    assert asked.trusted == 2
    assert told(asked.plan) == told_without_records(volume, KEEP_ONE)
    assert asked.plan.moves


def test_a_plan_by_records_changes_nothing(volume: Volume) -> None:
    before = snapshot(volume.root)
    ask_by_records(volume, KEEP_ONE)
    assert snapshot(volume.root) == before


def rewrite_in_place(app: Repository) -> None:
    """What distribution before 3.1 does when a tag is pushed again: no directory changes."""
    digest = app.push_image(layers=[b"base", b"1"], age=OLD - DAY).digest
    app.volume.replace(app.tag_link("v0"), digest.encode())


def become_manifest(app: Repository) -> None:
    """A child of which only the layer link was there arrives, as the blob of another repository."""
    child = documents.image(app.push_blob(b"{}"), [app.push_blob(b"of the child")])
    app.mount(documents.digest_of(child.content))
    app.push(documents.index([child.descriptor()]), "late")
    remember(app.volume)
    await_tick(app.volume)
    app.volume.put_blob(child.content)


def redirect_alias(app: Repository) -> None:
    """What no registry does: a link by which an image needs a layer changes in place, and no directory shows it."""
    layer = app.push_blob(b"gone", algorithm="sha512")
    app.push(documents.image(app.push_blob(b"{}"), [layer]), "wide-layer")
    remember(app.volume)
    await_tick(app.volume)
    app.volume.replace(app.layer_link(layer.digest), app.volume.put_blob(b"other").encode())


def redirect_layer(app: Repository) -> None:
    """A record says of no layer that its directory leads elsewhere, so there is none of such a repository."""
    redirect(app.layer_link(app.push_blob(b"gone").digest).parent)
    remember(app.volume)
    await_tick(app.volume)


CHANGES: dict[str, Callable[[Repository], object]] = {
    "a push": lambda app: app.push_image("v9", layers=[b"9"]),
    "a tag that moves": rewrite_in_place,
    "a tag that is pushed again": lambda app: os.utime(app.tag_link("v0"), ns=(0, app.volume.now - 3600 * SECOND)),
    "a tag that goes": lambda app: app.delete_tag("v1"),
    "a tag that loses its link": lambda app: app.tag_link("v1").unlink(),
    "a tag link that is emptied": lambda app: app.volume.empty(app.tag_link("v1")),
    "a tag link that leads elsewhere": lambda app: redirect(app.tag_link("v1")),
    "a revision link that is emptied": lambda app: app.volume.empty(some_revision(app)),
    "a revision that is deleted": lambda app: some_revision(app).unlink(),
    "a revision that comes back": lambda app: app.push_image(layers=[b"gone"]),
    "a manifest that is damaged": lambda app: app.volume.flip(some_data(app)),
    "a blob among an index's children that becomes one": become_manifest,
    "a manifest that is emptied": lambda app: app.volume.empty(some_data(app)),
    "a manifest that has gone": lambda app: some_data(app).unlink(),
    "a layer that is mounted": lambda app: app.mount(app.volume.put_blob(b"mounted")),
    "a layer that is pushed again by another digest": lambda app: app.push_blob(b"gone", algorithm="sha384"),
    "a layer link that names another blob": redirect_alias,
    "a layer's directory that leads elsewhere": redirect_layer,
    "a layer link that goes": lambda app: app.volume.remove(next(app.layers.rglob("link")).parent),
    "an upload that begins": lambda app: app.start_upload("1"),
    "a repository that goes": lambda app: app.volume.remove(app.directory),
    "a repository that nests": lambda app: app.volume.repository("team/app/deep").push_image("v1"),
}


def some_revision(app: Repository) -> Path:
    return sorted(app.revisions.glob("sha256/*/link"))[0]


def some_data(app: Repository) -> Path:
    return app.volume.blob_data(app.tag_link("v1").read_text())


def redirect(link: Path) -> None:
    target = link.with_name("elsewhere")
    link.rename(target)
    link.symlink_to(target.name)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_whatever_changed_the_plan_is_the_one_without_records(
    volume: Volume, change: Callable[[Repository], object]
) -> None:
    change(volume.repository("team/app"))
    asked = ask_by_records(volume, KEEP_ONE)
    assert asked.trusted >= 1  # the other repository, or manifests of this one
    assert told(asked.plan) == told_without_records(volume, KEEP_ONE)


def test_manifests_of_a_repository_that_changed_are_not_read_again(volume: Volume) -> None:
    app = volume.repository("team/app")
    app.push_image("v9", layers=[b"9"])
    read: list[bytes] = []
    with open_volume(str(volume.root)) as opened:

        class Noting(RememberingReader):
            def read_document(self, digest: bytes) -> bytes:
                read.append(digest)
                return super().read_document(digest)

        Noting(opened, RecordFiles(opened), now=LATER, trusting=True).read("team/app")
    assert len(read) == 2  # the new manifest, and the blob in an index that might be one


def test_that_nothing_is_to_be_done_is_told_by_records(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    spec = {"rules": [{"keep": {"last": 9}}], "garbage": {"deleteAfter": "9999d"}}
    truth = told_without_records(volume, spec)
    monkeypatch.setattr(RememberingReader, "read_document", lambda _, digest: pytest.fail(f"it read {digest.hex()}"))
    plan = plan_of_a_run(volume, spec, progress=read.append)
    assert sorted(read) == ["other", "team/app"]  # each once
    assert told(plan) == truth


@pytest.mark.parametrize("processes", [1, 3])
def test_a_run_records_what_each_of_its_processes_has_read(tmp_path: Path, processes: int) -> None:
    volume = Volume(tmp_path)
    names = [f"app-{number}" for number in range(12)]
    for name in names:
        volume.repository(name).push_image("v1", layers=[name.encode()])
        volume.repository(name).push_image("v2", layers=[name.encode(), b"2"])

    spec = {"rules": [{"keep": {"last": 1}}]}
    plan_of_a_run(volume, spec, processes=processes)
    written = {path: path.stat().st_ino for path in records(volume)}
    assert len(written) == len(names)
    assert ask_by_records(volume, KEEP_ONE).trusted == len(names)
    plan = plan_of_a_run(volume, spec, processes=processes)  # by records, then, since it deletes, without them
    assert told(plan) == told_without_records(volume, spec)
    assert {path: path.stat().st_ino for path in records(volume)} == written


def test_what_changed_lately_is_not_recorded(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.repository("app").push_image("v1")
    written = volume.repository("app").tag_link("v1").stat().st_ctime_ns
    remember(volume, now=written + SETTLED_NANOSECONDS)
    assert not (volume.v2 / CACHE).exists()
    remember(volume, now=written + 2 * SETTLED_NANOSECONDS)
    assert len(records(volume)) == 1


def test_what_cannot_be_read_is_not_recorded(volume: Volume) -> None:
    volume.empty(volume.repository("other").tag_link("v1"))
    remember(volume)
    assert ask_by_records(volume, KEEP_ONE).trusted == 2  # the record from before still knows some manifests
    assert told(ask_by_records(volume, KEEP_ONE).plan) == told_without_records(volume, KEEP_ONE)


def test_records_of_repositories_that_are_gone_are_removed(volume: Volume) -> None:
    volume.remove(volume.repository("other").directory)
    with open_writable(str(volume.root)) as opened:
        files = WritableRecordFiles(opened)
        reader = RememberingReader(opened, files, now=LATER, trusting=False)
        reader.read("team/app")
        reader.remember(reader.notes())
        files.drop_others()
    assert len(records(volume)) == 1


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EPERM])
def test_a_failure_to_write_records_fails_nothing(tmp_path: Path, error: int) -> None:
    volume = Volume(tmp_path)
    for name in ("app", "other"):
        volume.repository(name).push_image("v1")
    counting = Counting()
    remember(volume, guard=counting)
    for number in range(1, len(counting.calls) + 1):
        shutil.rmtree(volume.v2 / CACHE, ignore_errors=True)
        remember(volume, guard=Failing(number, error, lasting=True))
        assert told(ask_by_records(volume, KEEP_ONE).plan) == told_without_records(volume, KEEP_ONE)


@pytest.mark.parametrize(("blocks", "files", "written"), [(5, 5, True), (4, 5, False), (5, 4, False), (5, 0, False)])
def test_records_are_written_where_a_twentieth_stays_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, files: int, written: bool
) -> None:
    volume = Volume(tmp_path / "volume")
    volume.repository("app").push_image("v1", layers=[b"1"])
    monkeypatch.setattr(record_files, "_FREE", 20)
    free = os.statvfs_result((4096, 4096, 100, blocks, blocks, 100, files, files, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda _: free)
    remember(volume)
    assert (volume.v2 / CACHE).exists() is written


def test_no_record_is_written_through_a_symbolic_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    volume = Volume(tmp_path / "volume")
    volume.repository("app").push_image("v1")
    (volume.v2 / CACHE).parent.mkdir()
    (volume.v2 / CACHE).symlink_to(outside)
    remember(volume)
    assert not list(outside.iterdir())


def test_a_run_leaves_no_records_of_what_it_has_moved(volume: Volume) -> None:
    """After a run, its undo and its purge the records still agree with the volume."""
    runner = Runner(volume.root, volume.now)
    runner.retain(KEEP_ONE)
    assert told(ask_by_records(volume, KEEP_ONE).plan) == told_without_records(volume, KEEP_ONE)
    runner.restore()
    assert told(ask_by_records(volume, KEEP_ONE).plan) == told_without_records(volume, KEEP_ONE)


@cases(60)
@given(before=histories(), after=histories(damages=3), specs=st.lists(SPECS, min_size=1, max_size=2))
def test_with_records_from_before_the_plan_is_what_the_oracle_says(
    before: History, after: History, specs: list[dict[str, Any]]
) -> None:
    with folder_in_memory() as folder:
        volume = Volume(Path(folder))
        build(volume, before)
        remember(volume)
        await_tick(volume)
        build(volume, after, settle=False)
        plan = ask_by_records(volume, *specs).plan
        assert told(plan) == told_without_records(volume, *specs)
        expected = judge(volume.v2, specs, now=volume.now)
        assert {(entry.name, row.tag) for entry in plan.entries for row in entry.tags if row.deleted} == expected.tags
