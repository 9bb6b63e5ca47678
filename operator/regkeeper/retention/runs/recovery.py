"""Ends what earlier runs left unfinished; every command that changes a volume begins with it.

Save an interrupted purge: it frees for good, so it is left to the next purge, and until then to an undo.
"""

from contextlib import suppress
from dataclasses import dataclass, field

from regkeeper.retention.errors import RefusedError, StorageError
from regkeeper.retention.quarantine.journal import ENDED, State
from regkeeper.retention.quarantine.journal_writer import WritableJournals
from regkeeper.retention.quarantine.renames import drop_run_directory, foreign_quarantine, refuse_lost_plans
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.runs.restore import Restored, roll_back, undo
from regkeeper.retention.volume.places import QUARANTINE


@dataclass
class Recovered:
    """What was ended: by run, what came back."""

    rolled_back: dict[str, Restored] = field(default_factory=dict)
    undone: dict[str, Restored] = field(default_factory=dict)


def recover(volume: WritableVolume, journals: WritableJournals, *, now: int) -> Recovered:
    """Roll back an open run, finish an undo.

    A run that has not ended is rolled back, never finished: its plan knew nothing of what came into use since.

    Raises:
        RetentionError: it can't be ended; nothing else is begun then.
    """
    if foreign := foreign_quarantine(volume, journals):
        raise RefusedError(foreign)
    refuse_lost_plans(volume, journals)
    recovered = Recovered()
    there = set(volume.names(QUARANTINE))
    for journal in journals.all():
        if journal.state == State.UNPLANNED:
            # Elsewhere it may be that of a run which is under way on another volume.
            ours = journal.run in there or not journals.elsewhere
            if ours and drop_run_directory(volume, journal.run):
                journals.discard(journal.run)
        elif journal.state == State.OPEN:
            recovered.rolled_back[journal.run] = roll_back(volume, journals, journal, now)
        elif journal.state == State.RESTORING:
            recovered.undone[journal.run] = undo(volume, journals, journal, now)
        elif journal.state in ENDED and journal.run in there:
            with suppress(StorageError):  # an empty one that a kill has left is in nobody's way
                drop_run_directory(volume, journal.run)
    return recovered
