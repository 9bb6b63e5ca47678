"""What earlier runs tell the planning of the next: reading only, no lock."""

from regkeeper.retention import digests
from regkeeper.retention.digests import Digest
from regkeeper.retention.journal import Journal, Journals, State
from regkeeper.retention.layout import Volume
from regkeeper.retention.moves import Kind
from regkeeper.retention.places import run_directory

_DELETED = frozenset({State.DONE, State.PURGING, State.PURGED})


def open_run(journals: Journals) -> Journal | None:
    """A run that has not ended: it crashed, was stopped, or is under way.

    It can only be the last one: whatever changes the volume begins by rolling it back.
    """
    last = next((journals.load(run) for run in journals.runs()[-1:]), None)
    return last if last is not None and last.state == State.OPEN else None


def untagged_since(journals: Journals) -> dict[tuple[str, Digest], int]:
    """When a run deleted a tag that pointed to a digest: nanoseconds by repository and digest, the newest."""
    since: dict[tuple[str, Digest], int] = {}
    for journal in journals.all():
        if journal.state not in _DELETED:
            continue
        for _, move in journals.moves_of(journal.run, Kind.TAG):
            if (digest := digests.parse(move.digest)) is not None:
                key = (move.repository, digest)
                since[key] = max(since.get(key, 0), journal.header.now)
    return since


def repositories_left(journals: Journals) -> int | None:
    """How many of the repositories that the last run saw it left in the catalog; None: there was no run."""
    last = next((journal for journal in reversed(journals.all()) if journal.plan), None)
    if last is None or last.state not in _DELETED:
        return None if last is None else last.repositories
    return last.repositories - len({move.repository for _, move in journals.moves_of(last.run, Kind.REPOSITORY)})


def moved(volume: Volume, journals: Journals, run: str) -> dict[str, str]:
    """Where a run's entries are now in the quarantine, by the path at which they were."""
    directory = run_directory(run)
    there = set(volume.names(directory))
    return {move.path: f"{directory}/{number}" for number, move in journals.moves(run) if str(number) in there}
