"""Writes journals: each line is durable before what it announces begins. journal.py has the format and the reasons."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from regkeeper.retention.errors import translated
from regkeeper.retention.quarantine import reserve
from regkeeper.retention.quarantine.journal import (
    RUN_FORMAT,
    Header,
    Journal,
    State,
    encode,
    encode_header,
    encode_move,
)
from regkeeper.retention.quarantine.journals import Journals, open_directory_of_journals
from regkeeper.retention.quarantine.moves import Move
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.volume.layout import permission_refused
from regkeeper.retention.volume.places import JOURNALS, QUARANTINE, STATE

_SPACE = bytes(4096)
"""Kept behind the plan for the lines of the run's later life, so that they need no space on a full volume."""

_CHUNK_BYTES = 1 << 18

_LAST_NUMBER = "9999"
"""Of the runs that are named by one second: those of years, after a clock that was ahead."""


class WritableJournals(Journals):
    """The directory with the journals: on the volume, or elsewhere for a volume on which nothing more fits.

    On the volume it is made for the first journal: what is refused before, on the wrong directory perhaps, leaves none.
    """

    def __init__(self, volume: WritableVolume, directory: int | None, *, elsewhere: bool) -> None:
        super().__init__(directory, elsewhere=elsewhere)
        self._volume = volume

    @property
    def _writable(self) -> int:
        if self._directory is None:
            self._directory = self._volume.make_directories(JOURNALS)
        return self._directory

    def close(self) -> None:
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None

    def next_run(self, moment: datetime) -> str:
        """A name for a run that begins at `moment`: its second in UTC, numbered where that is not new."""
        runs = self.runs()
        name = f"{moment.astimezone(UTC):{RUN_FORMAT}}"
        last = runs[-1] if runs else ""
        if name > last:
            return name
        # The same second, or a clock that was set back: the order of names stays the order of runs.
        second, _, number = last.partition("-")
        if number == _LAST_NUMBER:
            return f"{datetime.fromisoformat(second) + timedelta(seconds=1):{RUN_FORMAT}}-0001"
        return f"{second}-{int(number or 1) + 1:04d}"

    def begin(self, *, run: str, command: str, undo_window: int, now: int | None) -> Journal:
        """Make the journal of a new run, durably. It plans nothing yet.

        Args:
            run: Its name, which sorts behind all others.
            command: `retain` or `delete`.
            undo_window: Seconds.
            now: Nanoseconds since 1970; None: what the volume's own clock says, as by the new file's time.

        Raises:
            NotPermittedError: this user may not write to the volume.
            StorageError: it can't be written. An empty file, which plans nothing, may be left.
        """
        with translated(_name(run)):
            descriptor = self._create(run)
            try:
                began = self._clock_of_volume() if self.elsewhere else os.fstat(descriptor).st_mtime_ns
                header = Header(
                    run=run,
                    command=command,
                    now=began if now is None else now,
                    undo_window=undo_window,
                    began=began,
                )
                end = self._volume.write_at(descriptor, encode_header(header), 0)
                self._volume.sync(descriptor)
            finally:
                os.close(descriptor)
            self._volume.sync(self._writable)
        return Journal(header=header, state=State.UNPLANNED, at=header.now, end=end)

    def _create(self, run: str) -> int:
        try:
            return self._volume.create_file(self._writable, run)
        except PermissionError as error:
            if error.errno != errno.EACCES or self.elsewhere:
                raise
            place = next((path for path in (JOURNALS, STATE) if self._volume.exists(path)), ".")
            raise permission_refused(self._volume, place, error) from None

    def discard(self, run: str) -> None:
        """Remove the journal of a run that moved nothing, or whose life is over."""
        with translated(_name(run)):
            self._loaded.pop(run, None)
            self._volume.unlink(self._writable, run)
            self._volume.sync(self._writable)

    def leave_no_trace(self) -> None:
        """Remove our directories if nothing is in them: those of a first run that was refused."""
        for path in (QUARANTINE, JOURNALS, STATE):
            parent, _, name = path.rpartition("/")
            with suppress(OSError), self._volume.directory(parent or ".") as directory:
                self._volume.remove_directory(directory, name)
                if path == JOURNALS and not self.elsewhere:
                    self.close()  # the next journal makes it anew

    def plan(self, journal: Journal, *, plan: str, policies: Mapping[str, str], moves: Iterable[Move]) -> Journal:
        """Write what the run is going to move, durably; afterwards it is open."""
        with self._opened(journal.run) as descriptor:
            offset, count, size = journal.end, 0, 0
            buffer = bytearray(encode({"plan": plan, "policies": dict(policies)}))
            for move in moves:
                buffer += encode_move(move)
                count += 1
                size += move.bytes
                if len(buffer) >= _CHUNK_BYTES:
                    offset = self._volume.write_at(descriptor, bytes(buffer), offset)
                    buffer.clear()
            buffer += encode({"state": State.OPEN, "moves": count, "bytes": size})
            end = offset + len(buffer)
            self._volume.write_at(descriptor, bytes(buffer) + _SPACE, offset)
            self._volume.sync(descriptor)
        return replace(
            journal,
            state=State.OPEN,
            plan=plan,
            policies=policies,
            count=count,
            bytes=size,
            end=end,
        )

    def enter(self, journal: Journal, state: State, at: int, **details: int) -> Journal:
        """Write durably that a run has come to `state`. `details` are figures for people."""
        line = encode({"state": state, "at": at, **details})
        with self._opened(journal.run) as descriptor:
            # Of a run that is held for another, each purge writes some, until the space behind the plan is used up.
            end = reserve.on_full(self._volume, lambda: self._volume.write_at(descriptor, line, journal.end))
            self._volume.sync(descriptor)
        return replace(journal, state=state, at=at, end=end)

    def clock(self, journal: Journal) -> int:
        """Nanoseconds since 1970 by the volume's own clock, to which the time of something on it is set."""
        if self.elsewhere:
            with translated(QUARANTINE):
                return self._clock_of_volume()
        with self._opened(journal.run) as descriptor:
            self._volume.touch(descriptor)
            return os.fstat(descriptor).st_mtime_ns

    def _clock_of_volume(self) -> int:
        """The same where the journals are elsewhere, on a filesystem that may have another clock."""
        quarantine = self._volume.make_directories(QUARANTINE)
        try:
            self._volume.touch(quarantine)
            return os.fstat(quarantine).st_mtime_ns
        finally:
            os.close(quarantine)

    @contextmanager
    def _opened(self, run: str) -> Iterator[int]:
        with translated(_name(run)):
            descriptor = os.open(run, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._writable)
            try:
                yield descriptor
            finally:
                self._loaded.pop(run, None)
                os.close(descriptor)


def _name(run: str) -> str:
    return f"the journal of run {run}"


@contextmanager
def open_writable_journals(volume: WritableVolume, elsewhere: str | None = None) -> Iterator[WritableJournals]:
    """The journals on a volume, or in the directory `elsewhere`, which must exist.

    Raises:
        StorageError: the directory is there but can't be opened.
    """
    directory = open_directory_of_journals(volume, elsewhere)
    with closing(WritableJournals(volume, directory, elsewhere=elsewhere is not None)) as journals:
        yield journals
