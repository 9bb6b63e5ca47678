"""Answers that stay on the volume for a while, as the operator may not have got one: the next Job repeats it."""

import re

from regkeeper.answer import Answer, AnswerError, Previous, decode, encode
from regkeeper.retention.errors import translated
from regkeeper.retention.planning.plan_files import keep_newest
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.volume.layout import Volume, read_file
from regkeeper.retention.volume.places import ANSWERS

_KEPT = 20
_UID = re.compile(r"[0-9A-Za-z-]+")


def remember(volume: WritableVolume, job: str, answer: Answer) -> None:
    """Keep the answer of a Job.

    Raises:
        StorageError: there is no room.
    """
    with translated(ANSWERS):
        volume.replace_file(f"{ANSWERS}/{job}", encode(answer))
    keep_newest(volume, ANSWERS, _KEPT)


def remembered(volume: Volume, job: str) -> Previous | None:
    """What an earlier Job answered; None: it came to no end, or that is long ago."""
    if not _UID.fullmatch(job):
        return None
    try:
        answer = decode(read_file(volume.descriptor, f"{ANSWERS}/{job}", 1 << 16))
    except (FileNotFoundError, AnswerError):
        return None
    return Previous(
        job=job,
        outcome=answer.outcome,
        message=answer.message,
        run=answer.run,
        undo_until=answer.undo_until,
        deleted=answer.deleted,
        freed=answer.freed,
    )
