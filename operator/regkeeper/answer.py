"""What a run answers to the operator: a summary that always fits into a container's termination message.

kubelet keeps 4,096 bytes. Counts, hash and outcome come first in importance: of victims, warnings and reasons there
are as many as fit, and the number of those left out. The job's log and the volume have everything.

Whoever may make pods can forge one: what is decoded here has only values that the status takes and that can be
reckoned with.
"""

from collections import Counter
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from regkeeper.sketch import LARGEST_BYTES

VERSION = 1
LARGEST = 4000
"""Bytes of an answer."""

Number = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""Such as JSON has in every language."""
_DATE, _TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
Moment = Annotated[str, msgspec.Meta(pattern=rf"^{_DATE}T{_TIME}(Z|\+00:00)$")]
Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{1,64}$")]
RunName = Annotated[str, msgspec.Meta(pattern="^[0-9]{8}T[0-9]{6}Z(-[0-9]{4})?$")]
Reason = Annotated[str, msgspec.Meta(max_length=256)]
Sketch = Annotated[bytes, msgspec.Meta(min_length=1, max_length=LARGEST_BYTES)]

_LONGEST_MESSAGE = 700
_LONGEST_TEXT = 120
_MOST_REASONS = 6
_MOST_TEXTS = 3


class Outcome(StrEnum):
    """What came of a stage of a run."""

    SWITCH = "Switch"
    """Planned, and something is to go: make the registry quiet, then let the run go on."""
    SKIPPED = "Skipped"
    """Nothing was planned, as the run may go on at once."""
    DONE = "Done"
    NOTHING_TO_DO = "NothingToDo"
    DRY_RUN = "DryRun"
    AWAITING_APPROVAL = "AwaitingApproval"
    REFUSED = "Refused"
    FAILED = "Failed"

    @property
    def is_final(self) -> bool:
        """Whether a run can end so: the others are the first stage's word to the second."""
        return self not in (Outcome.SWITCH, Outcome.SKIPPED)


class _Struct(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Unknown fields are passed over: a newer Job may answer an older operator."""


class Kept(_Struct, frozen=True, kw_only=True):
    """Tags that stay, by reason."""

    tags: Number = 0
    reasons: dict[Reason, Number] = {}


class Deleted(_Struct, frozen=True, kw_only=True):
    """What went, or would go."""

    tags: Number = 0
    manifests: Number = 0
    blobs: Number = 0
    bytes: Number = 0


class Freed(_Struct, frozen=True, kw_only=True):
    """What a purge freed."""

    runs: Number = 0
    bytes: Number = 0


class Restored(_Struct, frozen=True, kw_only=True):
    """What came back.

    Attributes:
        entries: How many tags, manifests, links and blobs.
        newer: Names that were pushed since and stay as they are.
    """

    entries: Number = 0
    newer: list[str] = []


class Previous(_Struct, frozen=True, kw_only=True):
    """The outcome of an earlier run whose answer was lost."""

    job: str
    outcome: Outcome
    message: str = ""
    run: RunName | None = None
    undo_until: Moment | None = None
    deleted: Deleted = Deleted()
    freed: Freed = Freed()


class Answer(_Struct, frozen=True, kw_only=True):
    """The summary of a stage of a run. Times are RFC 3339 in UTC.

    Attributes:
        outcome: What came of it.
        message: In words, and what helps.
        run: Its name on the volume, if it deleted anything or was undone.
        undo_until: Until when it can be undone.
        hash: Of its plan, to which an approval is bound.
        now: The time by which the plan's ages were judged.
        limits: What the plan exceeds.
        kept: Tags that stay.
        deleted: What went, or would go.
        freed: What was purged.
        restored: What came back.
        undone: Runs that were undone last.
        used: Bytes of all blobs of the registry.
        reclaimable: Bytes among them that the policy lets go, but that this run did not delete.
        quarantined: Bytes that purges will free.
        purge_due: When the next of all runs can be purged; None: there is none.
        unreadable: How many things can't be read and were therefore kept.
        warnings: How many there are.
        texts: The first of them.
        victims: `repository:tag bytes`, the largest first, as they fit.
        omitted: How many victims are not among them.
        touched: A sketch of all names by which an image that went may be in use (`names_of_use`); None: there is none.
        in_use: How many references in use the run knew.
        told: Generation of the snapshot that it went by; None: of none, or its image is older than this field.
        previous: What an earlier run had answered.
    """

    outcome: Outcome
    version: int = VERSION
    message: str = ""
    run: RunName | None = None
    undo_until: Moment | None = None
    hash: Hash | None = None
    now: Moment | None = None
    limits: list[str] = []
    kept: Kept = Kept()
    deleted: Deleted = Deleted()
    freed: Freed = Freed()
    restored: Restored | None = None
    undone: list[RunName] = []
    used: Number | None = None
    reclaimable: Number | None = None
    quarantined: Number | None = None
    purge_due: Moment | None = None
    unreadable: Number = 0
    warnings: Number = 0
    texts: list[str] = []
    victims: list[str] = []
    omitted: Number = 0
    touched: Sketch | None = None
    in_use: Number = 0
    told: Number | None = None
    previous: Previous | None = None


class AnswerError(ValueError):
    """A termination message that is no answer."""


def encode(answer: Answer) -> bytes:
    """The answer as JSON of at most `LARGEST` bytes, whatever its names and texts."""
    short = msgspec.structs.replace(
        answer,
        message=_cut(answer.message, _LONGEST_MESSAGE),
        limits=_texts(answer.limits),
        texts=_texts(answer.texts),
        kept=Kept(tags=answer.kept.tags, reasons=_commonest(answer.kept.reasons)),
        restored=answer.restored and Restored(entries=answer.restored.entries, newer=_texts(answer.restored.newer)),
        previous=answer.previous
        and msgspec.structs.replace(answer.previous, message=_cut(answer.previous.message, _LONGEST_TEXT)),
        victims=[],
        omitted=answer.omitted + len(answer.victims),
    )
    room = LARGEST - len(_json(short))
    if room < 0:
        # Without it the operator asks a Job what it could have told by itself.
        short = msgspec.structs.replace(short, touched=None)
        room = LARGEST - len(_json(short))
    fitting = []
    for victim in answer.victims:
        text = _cut(victim, LARGEST)
        room -= len(msgspec.json.encode(text)) + 1
        if room < len('"victims":[],'):
            break
        fitting.append(text)
    return _json(msgspec.structs.replace(short, victims=fitting, omitted=short.omitted - len(fitting)))


def decode(text: str | bytes) -> Answer:
    """The answer in a termination message.

    Raises:
        AnswerError: it is none: the container was killed, kubelet put its log there, or somebody forged it badly.
    """
    try:
        answer = msgspec.json.decode(text, type=Answer)
        before = None if answer.previous is None else answer.previous.undo_until
        for moment in (answer.undo_until, answer.now, answer.purge_due, before):
            if moment is not None:
                datetime.fromisoformat(moment)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise AnswerError(str(error)) from None
    if answer.version != VERSION:
        raise AnswerError(f"an answer of version {answer.version}")
    if answer.outcome is Outcome.AWAITING_APPROVAL and None in (answer.hash, answer.now):
        raise AnswerError("a plan that waits for an approval, without its hash or its time")
    return answer


def _json(answer: Answer) -> bytes:
    # `version` stands there although it is the default: it is for readers that are newer.
    fields: dict[str, Any] = {"version": answer.version, **msgspec.to_builtins(answer)}
    return msgspec.json.encode(fields)


def _cut(text: str, longest: int) -> str:
    """The beginning of a text that takes no more bytes in JSON; without control characters and surrogates."""
    printable = "".join(character if character.isprintable() else " " for character in text[: longest + 1])
    size, shown = 0, ""
    for character in printable.encode("utf-8", "backslashreplace").decode():
        size += len(msgspec.json.encode(character)) - 2
        if size > longest:
            return f"{shown[:-3]}…"
        shown += character
    return shown


def _texts(texts: list[str]) -> list[str]:
    return [_cut(text, _LONGEST_TEXT) for text in texts[:_MOST_TEXTS]]


def _commonest(reasons: dict[str, int]) -> dict[str, int]:
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    shown: Counter[str] = Counter()
    for number, (reason, tags) in enumerate(ordered):
        shown[_cut(reason, _LONGEST_TEXT) if number < _MOST_REASONS else "other reasons"] += tags
    return dict(shown)
