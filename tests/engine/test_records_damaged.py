"""Records of repositories that are damaged, outdated or made up: no plan is another for them."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from regkeeper.retention.records.record import MAGIC
from regkeeper.retention.volume.places import CACHE
from tests.engine.remembered import (
    KEEP_ONE,
    ask_by_records,
    plan_of_a_run,
    recorded,
    records,
    told,
    told_without_records,
)
from tests.engine.volumes import Volume


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return recorded(tmp_path / "volume")


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
    "manifests of less than nothing": altered(8, lambda entries: [[*entry[:3], -1, *entry[4:]] for entry in entries]),
    "manifests of a terabyte": altered(8, lambda entries: [[*entry[:3], 1 << 40, *entry[4:]] for entry in entries]),
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
    assert told(plan_of_a_run(volume, KEEP_ONE)) == truth
    assert told(ask_by_records(volume, KEEP_ONE).plan) == truth  # they were replaced
