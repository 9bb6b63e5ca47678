"""A volume opened by one process: to be changed, by it alone, or to be read as the next change will find it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from msgspec import Struct

from regkeeper.retention.errors import StorageError
from regkeeper.retention.moments import SECOND
from regkeeper.retention.processes.stop import StopOnSignal
from regkeeper.retention.quarantine import history, lock, reserve
from regkeeper.retention.quarantine.journal_writer import WritableJournals, open_writable_journals
from regkeeper.retention.quarantine.journals import Journals, open_journals
from regkeeper.retention.quarantine.renames import foreign_quarantine, refuse_lost_plans
from regkeeper.retention.quarantine.rolled_back import RolledBackReader, RolledBackVolume
from regkeeper.retention.quarantine.storage import EndTime, WritableVolume, no_guard, open_writable
from regkeeper.retention.records.record_files import RecordFiles
from regkeeper.retention.records.remembering import RememberingReader
from regkeeper.retention.runs.quiet import Mode, refuse_pull_through_cache
from regkeeper.retention.volume.layout import Volume, open_volume
from regkeeper.retention.volume.repository_reader import RepositoryReader


class Session(Struct, frozen=True):
    """A volume that this process alone may change."""

    volume: WritableVolume
    journals: WritableJournals
    now: int | None
    """Nanoseconds since 1970 as they were given; None: the clock's."""

    @property
    def present(self) -> int:
        """Nanoseconds since 1970 for what has no journal of its own."""
        return time.time_ns() if self.now is None else self.now


@contextmanager
def changing(
    root: str, *, now: int | None = None, journal: str | None = None, end: int | None = None
) -> Iterator[Session]:
    """Open a volume to change it: under its lock, stopping on signals.

    Args:
        root: What is mounted as /var/lib/registry, or its docker/registry/v2.
        now: Nanoseconds since 1970 by which ages are judged; None: the clock's.
        journal: Directory for the journals; None: on the volume.
        end: Nanoseconds since 1970 after which nothing is changed, by this machine's clock.

    Raises:
        BusyError: another process changes it.
        RefusedError: there is no volume.
        StorageError: the volume fails, now or while it is open.
    """
    guard = no_guard if end is None else EndTime(end / SECOND, time.time)
    with _storage_failures(root), ExitStack() as stack:
        stop = stack.enter_context(StopOnSignal())
        volume = stack.enter_context(open_writable(root, guard, stop))
        stack.enter_context(lock.exclusive(volume))
        stack.enter_context(reserve.laid_in_again(volume))
        journals = stack.enter_context(open_writable_journals(volume, journal))
        yield Session(volume, journals, now)


class Reading(Struct, frozen=True):
    """A volume as one sees it who changes nothing: with what an unfinished run has moved in its place.

    Attributes:
        under_way: Another process is changing it.
        unfinished: Runs of which the next change puts entries back, a run that did not end or an undo that did not.
        foreign: What to say of a quarantine whose journal is not here and which is not shown in its place; "": none.
    """

    volume: Volume
    journals: Journals
    reader: RepositoryReader
    under_way: bool
    unfinished: tuple[str, ...]
    foreign: str


@contextmanager
def reading(root: str, journal: str | None = None, *, remembering: bool = False) -> Iterator[Reading]:
    """Open a volume to read it; nothing on it is changed.

    Args:
        root: As for `changing`.
        journal: As for `changing`.
        remembering: What earlier runs remembered need not be read again.

    Raises:
        RefusedError: there is none.
        DamagedJournalError: nobody knows what was moved.
        StorageError: the volume fails, now or while it is open.
    """
    with _storage_failures(root), open_volume(root) as volume, open_journals(volume, journal) as journals:
        under_way = lock.is_held(volume)
        refuse_lost_plans(volume, journals)
        foreign = foreign_quarantine(volume, journals)
        unfinished = history.unfinished(journals)
        if not unfinished:
            reader = RepositoryReader(volume)
            if remembering:
                reader = RememberingReader(volume, RecordFiles(volume), now=time.time_ns(), trusting=True)
            yield Reading(volume, journals, reader, under_way, (), foreign)
            return
        seen = RolledBackVolume(volume.descriptor, volume.path, history.returning(volume, journals, unfinished))
        runs = tuple(item.run for item in unfinished)
        yield Reading(seen, journals, RolledBackReader(seen), under_way, runs, foreign)


@contextmanager
def _storage_failures(root: str) -> Iterator[None]:
    """Whatever of the volume can't be passed over ends the work on it with the operating system's words."""
    try:
        yield
    except BrokenPipeError:  # of whom the caller answers
        raise
    except OSError as error:
        raise StorageError(error, root) from error


def refuse_writers(volume: Volume, mode: Mode, registry: str | None) -> None:
    """Refuse when the registry is not as `mode` says.

    Raises:
        NotQuietError: it is not, or nobody knows.
    """
    refuse_pull_through_cache(volume, mode)
    if registry is not None:
        from regkeeper.retention.runs.probe import probe  # and with it HTTP and TLS, which plans want nothing of

        probe(registry, mode)
