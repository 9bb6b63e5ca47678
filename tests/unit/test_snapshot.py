"""A snapshot is read as it was written, and never in part, of another run or of an older generation."""

import gzip
import hashlib
import os
import threading
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from regkeeper.snapshot import (
    MOST_DECODED_BYTES,
    PART_BYTES,
    PARTS,
    Document,
    Part,
    SnapshotError,
    SnapshotTooLargeError,
    Stage,
    decode,
    encode,
    read,
    wait_for_run,
)
from tests.snapshot_volume import mount, mount_part

RUN = "0f5e9a3c-2d1b-4c7e-8a6f-1234567890ab"
DOCUMENT = Document(
    action="retain",
    name="keep-last",
    policy={"kind": "ImageRetention", "spec": {"rules": [{"keep": {"last": 5}}]}},
    in_use=[("k8smaster:5000/boke/wordpress:4.9", "Deployment shop/web")],
    end_time="2026-11-24T11:31:45Z",
    approved="0" * 64,
)
LATER = 10.0


def large(generation: int, stage: Stage = Stage.PLAN) -> list[Part]:
    """A snapshot of several parts: random names are what can't be compressed."""
    names = [(f"a:{os.urandom(500).hex()}", "Pod") for _ in range(2 * PART_BYTES // 500)]
    document = Document(action="retain", name="large", in_use=names, end_time="2026-11-24T11:31:45Z")
    parts = encode(document, run=RUN, generation=generation, stage=stage)
    assert sum(bool(part.content) for part in parts) > 1
    return parts


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    mount(tmp_path, encode(DOCUMENT, run=RUN, generation=3, stage=Stage.PLAN))
    snapshot = read(str(tmp_path), RUN)
    assert (snapshot.stage, snapshot.generation, snapshot.document) == (Stage.PLAN, 3, DOCUMENT)


def test_the_same_document_gives_the_same_parts() -> None:
    one, other = (encode(DOCUMENT, run=RUN, generation=3, stage=Stage.PLAN) for _ in range(2))
    assert one == other
    assert len(one) == PARTS


def test_many_images_take_several_parts(tmp_path: Path) -> None:
    mount(tmp_path, large(1))
    assert read(str(tmp_path), RUN).document.name == "large"


def test_more_than_fits_is_refused_by_its_writer() -> None:
    names = [(f"a:{os.urandom(5000).hex()}", "Pod") for _ in range((PARTS + 1) * PART_BYTES // 5000)]
    document = Document(action="retain", name="huge", in_use=names, end_time="2026-11-24T11:31:45Z")
    with pytest.raises(SnapshotTooLargeError, match=r"narrow them with protect\.hosts"):
        encode(document, run=RUN, generation=1, stage=Stage.PLAN)


def test_what_is_missing_foreign_older_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="part 0 of the snapshot is missing"):
        read(str(tmp_path), RUN)
    parts = large(1)
    mount(tmp_path, parts[:1])
    with pytest.raises(SnapshotError, match="part 1 of the snapshot is missing"):
        read(str(tmp_path), RUN)
    mount(tmp_path, parts)
    with pytest.raises(SnapshotError, match="part 0 of the snapshot is of another run"):
        read(str(tmp_path), "another")
    mount(tmp_path, large(2)[:1])
    with pytest.raises(SnapshotError, match="of different generations"):
        read(str(tmp_path), RUN)
    mount(tmp_path, [Part(parts[0].header, parts[0].content[:-1] + b"?"), *parts[1:]])
    with pytest.raises(SnapshotError, match="its checksum differs"):
        read(str(tmp_path), RUN)
    mount(tmp_path, [Part("{}", b"?")])
    with pytest.raises(SnapshotError, match="part 0 of the snapshot can't be read"):
        read(str(tmp_path), RUN)


def forged(content: bytes) -> list[Part]:
    """What whoever may write ConfigMaps can put there."""
    header = {"run": RUN, "generation": 1, "stage": "plan", "part": 0, "parts": 1}
    header["checksum"] = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return [Part(msgspec.json.encode(header).decode(), content)]


def test_what_a_run_was_told_is_read_back() -> None:
    assert decode(encode(DOCUMENT, run=RUN, generation=1, stage=Stage.RUN), RUN) == DOCUMENT
    assert decode(encode(DOCUMENT, run=RUN, generation=1, stage=Stage.RUN), "another") is None


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(
            b'{"action":"retain","name":"n","endTime":"t","policy":{"a":' + b"[" * 99999 + b"]" * 99999 + b"}}"
        ),
        gzip.compress(b"{}")[:10] + b"\xff" * 20,
        gzip.compress(b"{}")[:-9],
    ],
    ids=["deep", "damaged", "cut off"],
)
def test_what_was_forged_badly_is_nothing_that_a_run_was_told(tmp_path: Path, content: bytes) -> None:
    assert decode(forged(content), RUN) is None
    mount(tmp_path, forged(content))
    with pytest.raises(SnapshotError, match="the snapshot can't be understood"):
        read(str(tmp_path), RUN)


def test_what_was_forged_to_grow_takes_the_operator_no_memory() -> None:
    """It looks after all Registries: one tenant's ConfigMap of half a megabyte would take it half a gigabyte."""
    grown = msgspec.json.encode(msgspec.structs.replace(DOCUMENT, name="a" * (16 * MOST_DECODED_BYTES)))
    parts = forged(gzip.compress(grown, 1))
    del grown
    tracemalloc.start()
    try:
        assert decode(parts, RUN) is None
        assert tracemalloc.get_traced_memory()[1] < 4 * MOST_DECODED_BYTES
    finally:
        tracemalloc.stop()


def test_parts_that_are_not_needed_any_more_do_not_count(tmp_path: Path) -> None:
    mount(tmp_path, large(1))
    mount(tmp_path, encode(DOCUMENT, run=RUN, generation=2, stage=Stage.RUN))
    assert read(str(tmp_path), RUN).generation == 2


def test_waiting_ends_when_the_last_part_says_run(tmp_path: Path) -> None:
    mount(tmp_path, large(1))
    parts = large(2, Stage.RUN)
    arrived = []

    def bring() -> None:
        for number in reversed(range(len(parts))):
            arrived.append(number)
            mount_part(tmp_path / str(number), parts[number])

    thread = threading.Thread(target=bring)
    thread.start()
    snapshot = wait_for_run(str(tmp_path), RUN, LATER, lambda: 0.0)
    thread.join()
    assert arrived[-1] == 0
    assert (snapshot.stage, snapshot.generation) == (Stage.RUN, 2)


def test_waiting_ends_at_the_end_time_and_says_what_was_missing(tmp_path: Path) -> None:
    mount(tmp_path, encode(DOCUMENT, run=RUN, generation=1, stage=Stage.PLAN))
    with pytest.raises(SnapshotError, match=r"before its end time: it still says to plan only"):
        wait_for_run(str(tmp_path), RUN, LATER, lambda: LATER)
