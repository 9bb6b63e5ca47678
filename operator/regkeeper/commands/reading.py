"""A volume as commands that only read see it."""

from collections.abc import Iterator
from contextlib import contextmanager

from regkeeper.commands.answering import note
from regkeeper.retention.runs import session
from regkeeper.retention.runs.session import Reading


@contextmanager
def reading(root: str, journal: str | None = None) -> Iterator[Reading]:
    """Open a volume to read it as it will be once what has not ended is put back; says so if there is something."""
    with session.reading(root, journal) as seen:
        note_state(seen)
        yield seen


def note_state(seen: Reading) -> None:
    """Say so if a volume is shown otherwise than it is, or is about to change."""
    if seen.under_way:
        note("a run is under way: this may be out of date when it ends")
    elif seen.unfinished:
        note(
            f"run {', '.join(seen.unfinished)} has not ended: the next command that changes something puts its "
            "entries back; all is shown as if it had"
        )
    if seen.foreign:
        note(seen.foreign)
