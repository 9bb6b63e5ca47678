"""Records of repositories: whatever is or has become of them, a plan is the one that is made without them."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regkeeper.retention.asking import ask_to_change
from regkeeper.retention.in_use import InUse
from regkeeper.retention.journals import open_journals
from regkeeper.retention.layout import open_volume, walk_repositories
from regkeeper.retention.places import CACHE
from regkeeper.retention.plan import Plan
from regkeeper.retention.planner import Planner
from regkeeper.retention.policy import Intent, merge
from regkeeper.retention.question import Question
from regkeeper.retention.quiet import Mode
from regkeeper.retention.record_files import RecordFiles, WritableRecordFiles
from regkeeper.retention.records import MAGIC
from regkeeper.retention.remembering import SETTLED_NANOSECONDS, RememberingReader
from regkeeper.retention.storage import Guard, no_guard, open_writable
from tests.engine import documents
from tests.engine.cases import cases
from tests.engine.oracle import judge
from tests.engine.planning import UNLIMITED, policies
from tests.engine.running import Counting, Failing, Runner
from tests.engine.strategies import SPECS, History, build, histories
from tests.engine.volumes import DAY, OLD, SECOND, Repository, Volume, snapshot

LATER = 4 * 10**18
"""A `now` in 2096, for which whatever the tests write has been there long enough to be recorded."""

KEEP_ONE = {"rules": [{"keep": {"last": 1}}], "untagged": {"deleteAfter": "0s"}}


def intent(*specs: dict[str, Any]) -> Intent:
    return merge(policies(*({"limits": UNLIMITED, **spec} for spec in specs)))


def remember(volume: Volume, *, now: int = LATER, guard: Guard = no_guard) -> None:
    """Read everything and record it, as a run that deletes does."""
    with open_writable(str(volume.root), guard) as opened:
        reader = RememberingReader(opened, WritableRecordFiles(opened), now=now, trusting=False)
        for found in walk_repositories(opened):
            reader.read(found.name)


def await_tick(volume: Volume) -> None:
    """Return when a change gets another ctime than what was recorded: in life ten minutes lie between the two."""
    probe = volume.root / "probe"
    probe.touch()
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        probe.chmod(0o600)
    probe.unlink()


@dataclass(frozen=True)
class Asked:
    """A plan, and in how many repositories the reader trusted a record."""

    plan: Plan
    trusted: int


def ask_by_records(volume: Volume, *specs: dict[str, Any]) -> Asked:
    with open_volume(str(volume.root)) as opened:
        reader = RememberingReader(opened, RecordFiles(opened), now=LATER, trusting=True)
        plan = Planner(opened, Question(intent(*specs), volume.now), reader=reader).make()
        return Asked(plan, reader.trusted)


def told(plan: Plan) -> tuple[Any, ...]:
    return plan.document(), list(plan.moves), plan.problems


def told_without_records(volume: Volume, *specs: dict[str, Any]) -> tuple[Any, ...]:
    with open_volume(str(volume.root)) as opened:
        return told(Planner(opened, Question(intent(*specs), volume.now)).make())


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """Two repositories with a bit of everything, recorded."""
    volume = Volume(tmp_path / "volume")
    app, other = volume.repository("team/app"), volume.repository("other")
    for number in range(3):
        image = app.push_image(f"v{number}", layers=[b"base", b"%d" % number], age=OLD - number * DAY)
        app.push_signature(image)
    child = app.push_image(layers=[b"child"], platform="linux/arm64")
    app.push_index("multi", children=[child])
    app.push(documents.index([app.push_blob(b"no manifest")]), "cache")
    app.push_image("wide", layers=[b"wide"], algorithm="sha512")
    gone = app.push_image(layers=[b"gone"])
    app.delete_revision(gone.digest)
    other.push_image("v1", layers=[b"base"])
    other.push_image("v2", layers=[b"base", b"2"])
    (other.tags / "half" / "index").mkdir(parents=True)
    lost = other.push_image("lost", layers=[b"lost"])
    volume.remove(volume.blob_data(lost.digest))
    remember(volume)
    await_tick(volume)
    return volume


def records(volume: Volume) -> list[Path]:
    return sorted((volume.v2 / CACHE).iterdir())


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


def signed(body: bytes) -> bytes:
    """A body with the head that it should have."""
    return MAGIC + hashlib.sha256(body).digest() + body


def altered(position: int, value: Any) -> Callable[[bytes], bytes]:
    """A record of which one field is another, with the right checksum."""

    def alter(content: bytes) -> bytes:
        fields = msgspec.msgpack.decode(content[len(MAGIC) + 32 :])
        fields[position] = value(fields[position]) if callable(value) else value
        return signed(msgspec.msgpack.encode(fields))

    return alter


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off in its head": lambda content: content[:20],
    "cut off": lambda content: content[:-1],
    "one bit": lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    "of a later version": lambda content: content[: len(MAGIC) - 1] + b"\x63" + content[len(MAGIC) :],
    "of an earlier version": lambda content: content[: len(MAGIC) - 1] + b"\x00" + content[len(MAGIC) :],
    "no MessagePack": lambda _: signed(b"\xc1"),
    "deeply nested": lambda _: signed(b"\x91" * 100_000 + b"\xc0"),
    "nothing in it": lambda _: signed(msgspec.msgpack.encode([])),
    "another repository": altered(0, "team/other"),
    "too few directories": altered(1, lambda directories: directories[:-1]),
    "digests that are none": altered(2, lambda digests: [b"", *digests[1:]]),
    "digests of an unknown kind": altered(2, lambda digests: [b"\x07" + digests[0][1:], *digests[1:]]),
    "too few digests": altered(2, lambda digests: digests[:3]),
    "more layers than digests": altered(3, 10**12),
    "tags that climb": altered(4, lambda tags: [["../../../../blobs", *tags[0][1:]], *tags[1:]]),
    "tags without a digest": altered(4, lambda tags: [[tags[0][0], 10**6, tags[0][2]], *tags[1:]]),
    "a digest before the first": altered(4, lambda tags: [[tags[0][0], -1, tags[0][2]], *tags[1:]]),
    "tags that are numbers": altered(4, [1, 2, 3]),
    "manifests of an unknown shape": altered(8, lambda entries: [[*entry[:2], 99, *entry[3:]] for entry in entries]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_record_that_is_not_as_it_should_be_is_passed_over(volume: Volume, damage: Callable[[bytes], bytes]) -> None:
    for record in records(volume):
        record.write_bytes(damage(record.read_bytes()))
    asked = ask_by_records(volume, KEEP_ONE)
    assert asked.trusted == 0
    assert told(asked.plan) == told_without_records(volume, KEEP_ONE)


OUTDATED: dict[str, Callable[[bytes], bytes]] = {
    "another directory": altered(1, lambda directories: [[1, 2, 3], *directories[1:]]),
    "another tag link": altered(4, lambda tags: [[tags[0][0], tags[0][1], [1, 2, 3]], *tags[1:]]),
    "a tag fewer": altered(4, lambda tags: tags[1:]),
    "links before all time": altered(6, lambda revisions: [[at, [-1, -1, -1]] for at, _ in revisions]),
    "links after all time": altered(6, lambda revisions: [[at, [2**63, 2**63, 2**63]] for at, _ in revisions]),
    "no revisions": altered(6, []),
    "another file of a manifest": altered(8, lambda entries: [[at, [1, 2, 3], *rest] for at, _, *rest in entries]),
}


@pytest.mark.parametrize("change", OUTDATED.values(), ids=OUTDATED.keys())
def test_a_record_of_what_was_otherwise_shows_no_other_plan(volume: Volume, change: Callable[[bytes], bytes]) -> None:
    """Whoever makes such a record changes the volume with it: directories have the times of their last change."""
    for name in ("team/app", "other"):
        repository = volume.repository(name)
        os.utime(repository.tags, ns=(0, 0))
        os.utime(repository.revisions / "sha256", ns=(0, 0))
    for record in records(volume):
        record.write_bytes(change(record.read_bytes()))
    assert told(ask_by_records(volume, KEEP_ONE).plan) == told_without_records(volume, KEEP_ONE)


def test_the_records_of_another_volume_are_passed_over(volume: Volume, tmp_path: Path) -> None:
    """A backup that was copied back file by file, records too: its files have other inodes."""
    copy = Volume(tmp_path / "copy")
    app = copy.repository("team/app")
    app.push_image("v0", layers=[b"another"])
    app.push_image("v7", layers=[b"7"])
    (copy.v2 / CACHE).mkdir(parents=True)
    for record in records(volume):
        (copy.v2 / CACHE / record.name).write_bytes(record.read_bytes())
    asked = ask_by_records(copy, KEEP_ONE)
    assert asked.trusted == 0
    assert told(asked.plan) == told_without_records(copy, KEEP_ONE)


def test_records_that_lie_delete_nothing(volume: Volume) -> None:
    """They say that no manifest refers to anything. A plan that deletes is made without them."""
    forget = altered(8, lambda entries: [[*entry[:4], None, [], [], *entry[7:]] for entry in entries])
    for record in records(volume):
        record.write_bytes(forget(record.read_bytes()))
    truth = told_without_records(volume, KEEP_ONE)
    with open_writable(str(volume.root)) as opened, open_journals(opened) as journals:
        plan = ask_to_change(
            opened,
            journals,
            intent(KEEP_ONE),
            now=volume.now,
            in_use=InUse(),
            mode=Mode.READ_ONLY,
            clock=LATER,
            progress=lambda _: None,
        )
    assert told(plan) == truth
    assert told(ask_by_records(volume, KEEP_ONE).plan) == truth  # they were replaced


def test_that_nothing_is_to_be_done_is_told_by_records(volume: Volume) -> None:
    read: list[str] = []
    spec = {"rules": [{"keep": {"last": 9}}], "garbage": {"deleteAfter": "9999d"}}
    with open_writable(str(volume.root)) as opened, open_journals(opened) as journals:
        plan = ask_to_change(
            opened,
            journals,
            intent(spec),
            now=volume.now,
            in_use=InUse(),
            mode=Mode.READ_ONLY,
            clock=LATER,
            progress=read.append,
        )
    assert sorted(read) == ["other", "team/app"]  # each once
    assert told(plan) == told_without_records(volume, spec)


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
        RememberingReader(opened, files, now=LATER, trusting=False).read("team/app")
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
    with tempfile.TemporaryDirectory() as folder:
        volume = Volume(Path(folder))
        build(volume, before)
        remember(volume)
        await_tick(volume)
        build(volume, after, settle=False)
        plan = ask_by_records(volume, *specs).plan
        assert told(plan) == told_without_records(volume, *specs)
        expected = judge(volume.v2, specs, now=volume.now)
        assert {(entry.name, row.tag) for entry in plan.entries for row in entry.tags if row.deleted} == expected.tags
