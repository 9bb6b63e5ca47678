"""Ends what earlier runs left unfinished; every command that changes a volume begins with it."""

from dataclasses import dataclass, field

from regkeeper.retention.in_use import InUse
from regkeeper.retention.journal import State
from regkeeper.retention.journal_writer import WritableJournals
from regkeeper.retention.purge import Purged, purge
from regkeeper.retention.quarantine import drop_run_directory, refuse_foreign_quarantine
from regkeeper.retention.restore import Restored, roll_back, undo
from regkeeper.retention.storage import WritableVolume
from regkeeper.retention.sweep import Stop


@dataclass
class Recovered:
    """What was ended: by run, what came back, and the purges."""

    rolled_back: dict[str, Restored] = field(default_factory=dict)
    undone: dict[str, Restored] = field(default_factory=dict)
    purged: Purged = field(default_factory=Purged)


def recover(
    volume: WritableVolume, journals: WritableJournals, *, now: int, in_use: InUse | None, stop: Stop
) -> Recovered:
    """Roll back an open run, finish an undo and a purge.

    A run that has not ended is rolled back, never finished: its plan knew nothing of what came into use since.

    Raises:
        RetentionError: it can't be ended; nothing else is begun then.
    """
    refuse_foreign_quarantine(volume, journals)
    recovered = Recovered()
    interrupted = []
    for journal in journals.all():
        if journal.state == State.UNPLANNED:
            drop_run_directory(volume, journal.run)
            journals.discard(journal.run)
        elif journal.state == State.OPEN:
            recovered.rolled_back[journal.run] = roll_back(volume, journals, journal, now)
        elif journal.state == State.RESTORING:
            recovered.undone[journal.run] = undo(volume, journals, journal, now)
        elif journal.state == State.PURGING:
            interrupted.append(journal)
    recovered.purged = purge(volume, journals, interrupted, now=now, in_use=in_use, stop=stop)
    return recovered
