"""Frees what is in the quarantine: the one step that can't be undone, so everything is verified again first.

A purge that was interrupted is simply begun again: it verifies anew and removes what is still there. Until then an undo
brings back what is still there.
"""

import errno
from collections.abc import Container, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field

from regkeeper.retention.errors import OF_ONE_ENTRY, StoppedError, StorageError, translated
from regkeeper.retention.moments import SECOND
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.quarantine.contents import UNDOABLE, Contents, Entry
from regkeeper.retention.quarantine.journal import ENDED, Journal, State
from regkeeper.retention.quarantine.journal_writer import WritableJournals
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.quarantine.renames import drop_run_directory, entries_of
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.runs.needed import held_by_other_runs, needed_again
from regkeeper.retention.runs.quiet import Upload, refuse_changes, refuse_uploads
from regkeeper.retention.runs.restore import Restored, put_generations_back
from regkeeper.retention.runs.restore_images import used_generations
from regkeeper.retention.volume.layout import ABSENT, REPOSITORIES, repository_path
from regkeeper.retention.volume.places import run_directory

REMEMBERED_SECONDS = 366 * 86400
"""How long after a run's end its journal stays, to tell when something went and since when a manifest is untagged."""


@dataclass
class Purged:
    """What a purge did.

    Attributes:
        runs: those that were due.
        untouched: those of them of which nothing could be freed, and something is still there.
        entries: how many.
        bytes: how many.
        returned: what was needed again and came back instead.
        held: entries that stay because a run that can be undone, or an entry that can't be removed, needs them.
        stuck: what can't be removed and stays until the next purge, with the reason.
        unverified: why nothing was freed although it was due; empty: it was.
    """

    runs: list[str] = field(default_factory=list)
    untouched: set[str] = field(default_factory=set)
    entries: int = 0
    bytes: int = 0
    returned: Restored = field(default_factory=Restored)
    held: int = 0
    stuck: list[str] = field(default_factory=list)
    unverified: str = ""

    @property
    def freed_runs(self) -> set[str]:
        return {*self.runs} - self.untouched


def purge(
    volume: WritableVolume,
    journals: WritableJournals,
    due_journals: Iterable[Journal],
    *,
    now: int,
    in_use: InUse | None,
    given_up: Container[Upload] = (),
) -> Purged:
    """Free what some runs moved, save what is needed again or can't be removed; `given_up`: as for `refuse_uploads`.

    Raises:
        NotQuietError: something writes to the volume; nothing was freed.
        UnverifiedError: a part of the volume can't be read; nothing was freed and no journal was changed.
        StoppedError: the volume's `stop` said so; the next purge goes on.
        StorageError: the volume fails; the next purge tries again.
    """
    going = list(due_journals)
    if not going:
        return Purged()
    runs = {journal.run for journal in going}
    purged = Purged(runs=sorted(runs))

    def clock() -> int:
        return journals.clock(going[0])

    refuse_uploads(volume, now=now, clock=clock(), given_up=given_up)
    while True:
        since = clock()
        returned = _return_needed(volume, journals, runs, in_use)
        purged.returned.add(returned)
        if not returned.moves:
            break
        # What came back changed the volume, so it is looked at once more.
    others = [journal.run for journal in journals.all() if journal.state in UNDOABLE and journal.run not in runs]
    contents = Contents(volume, journals, [*purged.runs, *others])
    staying = {entry.path for entry in held_by_other_runs(contents, runs)}
    refuse_changes(volume, since, clock)
    for journal in going:
        _free(volume, journals, journal, contents, staying, purged, now=now)
    _forget(volume, journals, now)
    return purged


def _forget(volume: WritableVolume, journals: WritableJournals, now: int) -> None:
    """Remove the journals of runs whose life ended long ago."""
    for journal in journals.all():
        ended = journal.state in ENDED and not volume.exists(run_directory(journal.run))
        if ended and now - journal.at > REMEMBERED_SECONDS * SECOND:
            journals.discard(journal.run)


def _return_needed(
    volume: WritableVolume, journals: WritableJournals, runs: set[str], in_use: InUse | None
) -> Restored:
    contents = Contents(volume, journals, sorted(runs))
    generations = [needed_again(volume, contents)]
    if in_use is not None:
        generations += used_generations(volume, journals, runs, in_use)
    return put_generations_back(volume, generations)


def _free(
    volume: WritableVolume,
    journals: WritableJournals,
    journal: Journal,
    contents: Contents,
    staying: set[str],
    purged: Purged,
    *,
    now: int,
) -> None:
    """Free what one run moved; `staying` are the paths of what does not go, and grows with what can't."""
    path = run_directory(journal.run)
    entries, size, held, stuck = 0, 0, 0, 0
    if journal.state != State.PURGING:
        journal = journals.enter(journal, State.PURGING, now)
    there = entries_of(volume, journal.run)
    with translated(path), volume.directory(path) if there else nullcontext(-1) as quarantine:
        for number, move in journals.moves(journal.run):
            if number not in there:
                continue
            entry = Entry(journal.run, number, move)
            if entry.path in staying:
                held += 1
                continue
            if reason := volume.stop():
                raise StoppedError(f"{reason}: the purge of run {journal.run} stopped; the next purge goes on")
            try:
                _remove(volume, quarantine, entry)
            except StorageError as error:
                if error.errno not in OF_ONE_ENTRY:
                    raise
                stuck += 1
                purged.stuck.append(str(error))
                # What may come back comes back whole.
                staying |= {needed.path for needed in contents.needs_of(entry)}
                continue
            entries += 1
            size += move.bytes
        if there:
            volume.sync(quarantine)
    purged.entries += entries
    purged.bytes += size
    purged.held += held
    _remove_empty_repositories(volume, journals, journal.run)
    if not entries and (held or stuck):
        purged.untouched.add(journal.run)
    if stuck:
        # It has not ended, and is not asked about again before long: `Journal.next_purge`.
        journals.enter(journal, State.PURGING, now, held=held, stuck=stuck)
        return
    if held:
        # It can still be undone as far as it is there, and is due again.
        journals.enter(journal, State.DONE, now, moves=entries, bytes=size, held=held)
        return
    journals.enter(journal, State.PURGED, now, moves=entries, bytes=size, remaining=0)
    drop_run_directory(volume, journal.run)


def _remove_empty_repositories(volume: WritableVolume, journals: WritableJournals, run: str) -> None:
    """Remove the directories of repositories that left the catalog, and of the namespaces that are empty with them.

    Only now: an undo would have to make them again, with other times. A push makes its own anew.
    """
    for repository in {move.repository: None for _, move in journals.moves_of(run, Kind.REPOSITORY)}:
        path = repository_path(repository)
        with translated(path):
            while path != REPOSITORIES and _remove_if_empty(volume, path):
                path, _, _ = path.rpartition("/")


def _remove_if_empty(volume: WritableVolume, path: str) -> bool:
    """Remove a directory; answers whether it is gone."""
    parent, _, name = path.rpartition("/")
    try:
        with volume.directory(parent) as directory:
            volume.remove_directory(directory, name)
            volume.sync(directory)
    except OSError as error:
        if error.errno in OF_ONE_ENTRY or error.errno == errno.EEXIST:
            return False
        if error.errno not in ABSENT:
            raise
    return True


def _remove(volume: WritableVolume, quarantine: int, entry: Entry) -> None:
    with translated(entry.move.path):
        volume.freed = True
        volume.remove_tree(quarantine, str(entry.number))
