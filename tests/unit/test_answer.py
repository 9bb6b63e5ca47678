"""What a run answers fits into a termination message, whatever it has to say."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regkeeper.answer import (
    LARGEST,
    Answer,
    AnswerError,
    Deleted,
    Freed,
    Kept,
    Outcome,
    Previous,
    Restored,
    decode,
    encode,
)
from regkeeper.sketch import LARGEST_BYTES

TEXT = st.text(st.characters(), max_size=50) | st.sampled_from(
    ['"' * 400, "\\" * 400, "ü" * 400, "\udc80" * 400, "\0" * 400]
)
NUMBERS = st.integers(0, 2**53)
ANSWERS = st.builds(
    Answer,
    outcome=st.sampled_from(Outcome),
    message=TEXT,
    run=st.just("20261124T103145Z-0002"),
    undo_until=st.just("2026-11-25T10:31:45Z"),
    hash=st.just("0" * 64),
    now=st.just("2026-11-24T10:31:45Z"),
    limits=st.lists(TEXT, max_size=9),
    kept=st.builds(Kept, tags=NUMBERS, reasons=st.dictionaries(TEXT, NUMBERS, max_size=9)),
    deleted=st.builds(Deleted, tags=NUMBERS, manifests=NUMBERS, blobs=NUMBERS, bytes=NUMBERS),
    freed=st.builds(Freed, runs=NUMBERS, bytes=NUMBERS),
    restored=st.none() | st.builds(Restored, entries=NUMBERS, newer=st.lists(TEXT, max_size=9)),
    used=NUMBERS,
    reclaimable=NUMBERS,
    quarantined=NUMBERS,
    purge_due=st.just("2026-11-25T10:31:45Z"),
    unreadable=NUMBERS,
    warnings=NUMBERS,
    texts=st.lists(TEXT, max_size=9),
    victims=st.lists(TEXT, max_size=30),
    omitted=NUMBERS,
    touched=st.none() | st.binary(min_size=1, max_size=LARGEST_BYTES),
    in_use=NUMBERS,
    previous=st.none()
    | st.builds(
        Previous,
        job=st.uuids().map(str),
        outcome=st.sampled_from(Outcome),
        message=TEXT,
        run=st.just("20261124T103145Z-0002"),
        undo_until=st.just("2026-11-25T10:31:45Z"),
        deleted=st.builds(Deleted, tags=NUMBERS, manifests=NUMBERS, blobs=NUMBERS, bytes=NUMBERS),
        freed=st.builds(Freed, runs=NUMBERS, bytes=NUMBERS),
    ),
)


@given(answer=ANSWERS)
def test_every_answer_fits_and_is_read_again(answer: Answer) -> None:
    encoded = encode(answer)
    assert len(encoded) <= LARGEST
    read = decode(encoded)
    assert (read.outcome, read.hash, read.run, read.kept.tags) == (
        answer.outcome,
        answer.hash,
        answer.run,
        answer.kept.tags,
    )
    assert (read.deleted, read.freed, read.used) == (answer.deleted, answer.freed, answer.used)
    assert len(read.victims) + read.omitted == len(answer.victims) + answer.omitted
    assert sum(read.kept.reasons.values()) == sum(answer.kept.reasons.values())
    assert read.touched in (answer.touched, None)


def test_a_short_answer_is_whole_and_in_the_documented_words() -> None:
    answer = Answer(
        outcome=Outcome.DONE, message="deleted", kept=Kept(tags=2, reasons={"in use": 2}), victims=["app:v1 10"]
    )
    assert json.loads(encode(answer)) == {
        "version": 1,
        "outcome": "Done",
        "message": "deleted",
        "kept": {"tags": 2, "reasons": {"in use": 2}},
        "victims": ["app:v1 10"],
    }
    assert decode(encode(answer)) == answer


def test_names_are_told_whole_or_not_at_all() -> None:
    """A part of a sketch would deny what is in it."""
    touched = bytes(range(240)) * 2
    assert decode(encode(Answer(outcome=Outcome.DONE, touched=touched, victims=["v"] * 4000))).touched == touched
    long, moment, most = [character * 400 for character in "abcdefg"], "2026-11-25T10:31:45Z", 2**53
    full = Answer(
        outcome=Outcome.DONE,
        message="m" * 700,
        run="20261124T103145Z-0002",
        undo_until=moment,
        hash="0" * 64,
        now=moment,
        limits=long,
        kept=Kept(tags=most, reasons=dict.fromkeys((reason[:200] for reason in long), most)),
        deleted=Deleted(tags=most, manifests=most, blobs=most, bytes=most),
        restored=Restored(entries=most, newer=long),
        texts=long,
        touched=touched,
        previous=Previous(job="j" * 200, outcome=Outcome.DONE, message="m" * 200),
    )
    assert decode(encode(full)).touched is None
    assert decode(encode(msgspec.structs.replace(full, restored=None))).touched == touched


def test_victims_are_told_as_they_fit() -> None:
    victims = [f"team/app-{number}:v1 {number}" for number in range(1000)]
    read = decode(encode(Answer(outcome=Outcome.DONE, victims=victims)))
    assert read.victims == victims[: len(read.victims)]
    assert len(read.victims) > 100
    assert read.omitted == 1000 - len(read.victims)


def forged(**fields: Any) -> str:
    return json.dumps({"outcome": "Done", **fields})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Killed",
        "{}",
        "[]",
        forged(outcome="Perhaps"),
        forged(version=2),
        forged(purgeDue="tomorrow"),
        forged(purgeDue="2026-13-01T00:00:00Z"),
        forged(undoUntil="2026-01-01T00:00:00"),
        forged(undoUntil="2026-11-26T00000000Z"),
        forged(previous={"job": "j", "outcome": "Done", "undoUntil": "2026-13-01T00:00:00Z"}),
        forged(now="9" * 99),
        forged(run="../../etc"),
        forged(hash="x"),
        forged(touched=""),
        forged(touched="A" * 2000),
        forged(deleted={"tags": 10**300}),
        forged(kept={"reasons": {"r" * 300: 1}}),
        forged(outcome="AwaitingApproval"),
        forged(x=0)[:-2] + "[" * 2000 + "]" * 2000 + "}",
    ],
)
def test_what_is_no_answer_is_told_apart(text: Any) -> None:
    with pytest.raises(AnswerError):
        decode(text)
