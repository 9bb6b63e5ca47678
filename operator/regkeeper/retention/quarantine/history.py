"""What earlier runs tell the planning of the next: reading only, no lock."""

from collections.abc import Iterable

from regkeeper.retention.errors import RefusedError, StorageError
from regkeeper.retention.quarantine.contents import images_of, undoable_contents
from regkeeper.retention.quarantine.journal import ENDED, Journal, State
from regkeeper.retention.quarantine.journals import Journals
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.quarantine.renames import entries_of
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.histories import departures_from, pushed_at
from regkeeper.retention.volume.layout import Volume, read_file
from regkeeper.retention.volume.places import LEFT, QUARANTINE, run_directory

_DELETED = frozenset({State.DONE, State.PURGING, State.PURGED})


def unfinished(journals: Journals) -> list[Journal]:
    """Runs of which the next command that changes the volume puts entries back.

    A run that crashed, was stopped, or is under way can only be the last one; an undo may be of any.
    """
    every = journals.all()
    return [
        journal
        for journal in every
        if journal.state == State.RESTORING or (journal.state == State.OPEN and journal is every[-1])
    ]


def due(journals: Journals, volume: Volume, now: int, older_than: int | None = None) -> list[Journal]:
    """Runs whose quarantine may be freed; of one that has ended, what stayed there for a newer push.

    Args:
        journals: Of all runs.
        volume: Where the quarantine is.
        now: Nanoseconds since 1970.
        older_than: Nanoseconds; None: the own window of each run.
    """
    there = set(volume.names(QUARANTINE))
    return [
        journal
        for journal in journals.all()
        # Somebody may have removed the directory of one that can be undone, which ends all the same.
        if journal.state in (State.DONE, State.PURGING)
        or (journal.state in ENDED and journal.run in there and entries_of(volume, journal.run))
        if now >= (journal.purge_due if older_than is None else journal.began + older_than)
    ]


def untagged_since(volume: Volume, journals: Journals, after: int) -> dict[tuple[str, Digest], int]:
    """When the tags that runs later than `after` deleted left their digests, by repository and digest, the newest.

    That is when the run was, for what a tag pointed to then, and for what it pointed to before the next push, which its
    history tells until it is freed (`ANY` for all of one that can't be read). All in nanoseconds since 1970. Whoever
    asks from when something is old enough need not know of what went before.
    """
    since: dict[tuple[str, Digest], int] = {}
    for journal in journals.all():
        if journal.state not in _DELETED or journal.header.now <= after:
            continue
        directory = run_directory(journal.run)
        there = set(volume.names(directory))
        for number, move in journals.moves_of(journal.run, Kind.TAG):
            digest, tag = digests.parse(move.digest), f"{directory}/{number}"
            left = [(digest, journal.header.now)] if digest is not None else []
            if str(number) in there:  # of a month of runs most is freed
                left += departures_from(volume, tag, digest, pushed_at(volume, tag))
            for former, time in left:
                key = (move.repository, former)
                since[key] = max(since.get(key, 0), time)
    return since


def repositories_left(volume: Volume) -> int | None:
    """How many repositories the last run left in the catalog; None: there was no run, or a person removed the record.

    Raises:
        RefusedError: the record can't be understood.
        StorageError: it can't be read.
    """
    try:
        return int(read_file(volume.descriptor, LEFT, 64))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(error, LEFT) from error
    except ValueError:
        raise RefusedError(f"{volume.path}/{LEFT} is no number of repositories: remove it") from None


def returning(volume: Volume, journals: Journals, runs: Iterable[Journal]) -> dict[str, str]:
    """Where what unfinished runs put back is now in the quarantine, by the path at which it will be."""
    paths: dict[str, str] = {}
    for journal in runs:
        if journal.state == State.RESTORING:
            needs = undoable_contents(volume, journals).needs(images_of(journals, journal.run), dependants=False)
            paths |= {entry.move.path: entry.path for entry in needs.entries() if entry.run != journal.run}
        directory = run_directory(journal.run)
        there = set(volume.names(directory))
        paths |= {
            move.path: f"{directory}/{number}" for number, move in journals.moves(journal.run) if str(number) in there
        }
    return paths
