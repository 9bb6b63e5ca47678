"""What the changing commands answer, as documents (docs/guides/documents.md describes their fields) and in words."""

from collections.abc import Iterable
from typing import Any

from regkeeper.commands.answering import note
from regkeeper.retention.moments import moment
from regkeeper.retention.quarantine.journal import Journal
from regkeeper.retention.runs.purge import Purged
from regkeeper.retention.runs.recovery import Recovered
from regkeeper.retention.runs.restore import Restored
from regkeeper.retention.wording import count, size_of

_MOST = 5
"""Entries that can't be removed of which each is named; there may be as many as a run has."""


def run_document(journal: Journal | None) -> dict[str, Any] | None:
    """What a run deleted."""
    if journal is None:
        return None
    return {
        "run": journal.run,
        "moves": journal.count,
        "bytes": journal.bytes,
        "purgeDue": moment(journal.purge_due),
    }


def recovered_document(recovered: Recovered) -> dict[str, Any]:
    return {"rolledBack": sorted(recovered.rolled_back), "undone": sorted(recovered.undone)}


def purged_document(purges: Iterable[Purged]) -> dict[str, Any]:
    every = list(purges)
    return {
        "runs": sorted({run for purged in every for run in purged.freed_runs}),
        "entries": sum(purged.entries for purged in every),
        "bytes": sum(purged.bytes for purged in every),
        "returned": sum(len(purged.returned.moves) for purged in every),
        "held": sum(purged.held for purged in every),
        "stuck": [text for purged in every for text in purged.stuck],
        "unverified": next((purged.unverified for purged in every if purged.unverified), None),
    }


def restored_document(restored: Restored) -> dict[str, Any]:
    return {
        "runs": restored.runs,
        "entries": len(restored.moves),
        "bytes": restored.bytes,
        "newer": [f"{move.repository}:{move.name}" for move in restored.newer],
        "missing": restored.missing,
    }


def note_recovered(recovered: Recovered) -> None:
    """Say what earlier runs had left."""
    for run, restored in recovered.rolled_back.items():
        note(f"run {run} had not ended: {count(len(restored.moves), 'entry')} put back")
    for run, restored in recovered.undone.items():
        note(f"the undo of run {run} had not ended: {count(len(restored.moves), 'entry')} put back")


def note_purged(purged: Purged) -> None:
    """Say what was freed, if anything was, or why it was not."""
    if purged.unverified:
        note(purged.unverified)
    if not purged.runs:
        return
    note(f"purged {', '.join(purged.runs)}: {count(purged.entries, 'entry')}, {size_of(purged.bytes)} freed")
    if purged.returned.moves:
        note(f"{count(len(purged.returned.moves), 'entry')} needed again and put back instead")
    if purged.held:
        note(f"{count(purged.held, 'entry')} held: what can still be undone needs them")
    for text in purged.stuck[:_MOST]:
        note(f"{text}; it stays in the quarantine, and the next purge tries again")
    if len(purged.stuck) > _MOST:
        note(f"and {count(len(purged.stuck) - _MOST, 'further entry')} that can't be removed")


def note_restored(restored: Restored) -> None:
    """Say what came back and what did not."""
    note(f"{count(len(restored.moves), 'entry')} back from {', '.join(restored.runs)}")
    for move in restored.newer:
        note(f"{move.repository}:{move.name} was pushed since and stays as it is")
    for missing in restored.missing:
        note(f"{missing} is nowhere any more: what needs it can't be pulled")
