"""The directory with the journals of all runs, for reading; journal.py has the format of one."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from regkeeper.retention.errors import DamagedJournalError, StorageError, translated
from regkeeper.retention.quarantine.journal import Journal, decode_move, lines, summary
from regkeeper.retention.quarantine.moves import Kind, Move
from regkeeper.retention.volume.beneath import open_directory
from regkeeper.retention.volume.layout import Volume
from regkeeper.retention.volume.places import JOURNALS

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RUN = re.compile(r"\d{8}T\d{6}Z(-\d{4})?")


class Journals:
    """The directory with the journals, for reading; without a descriptor there are none.

    Attributes:
        elsewhere: it is not on the volume, so that it may have those of another one.
    """

    def __init__(self, directory: int | None, *, elsewhere: bool = False) -> None:
        self._directory = directory
        self.elsewhere = elsewhere
        self._loaded: dict[str, Journal] = {}  # a year's journals are asked for several times by one command

    def runs(self) -> list[str]:
        """Names of all runs, oldest first."""
        if self._directory is None:
            return []
        # btrfs shows what was there as a descriptor was opened, or rewound last (Linux 6.5): not the run just begun.
        os.lseek(self._directory, 0, os.SEEK_SET)
        return sorted(name for name in os.listdir(self._directory) if _RUN.fullmatch(name))

    def all(self) -> list[Journal]:
        """Every journal, oldest first.

        Raises:
            DamagedJournalError: one can't be understood.
            StorageError: one can't be opened.
            OSError: one can't be read.
        """
        every = []
        for run in self.runs():
            # A run that is under way, and finds nothing to delete, removes its own.
            with suppress(FileNotFoundError):
                every.append(self.load(run))
        return every

    def load(self, run: str) -> Journal:
        """Read the journal of one run.

        Raises:
            DamagedJournalError: it can't be understood.
            FileNotFoundError: there is none.
            StorageError: it can't be opened.
            OSError: it can't be read.
        """
        if run in self._loaded:
            return self._loaded[run]
        with self._open(run) as file:
            try:
                self._loaded[run] = summary(run, file)
                return self._loaded[run]
            except (ValueError, KeyError, TypeError) as error:
                raise damaged(run, str(error)) from error

    def moves(self, run: str) -> Iterator[tuple[int, Move]]:
        """The moves of a run with their numbers, read as they are asked for."""
        return self._moves(run, b"[")

    def moves_of(self, run: str, kind: Kind) -> Iterator[tuple[int, Move]]:
        """Those of one kind, without decoding the others."""
        return self._moves(run, f'["{kind}",'.encode())

    def moves_backwards(self, run: str) -> Iterator[tuple[int, Move]]:
        """All in the order of an undo: what is referred to before what refers to it.

        Raises:
            DamagedJournalError: at the end, one is of no kind that we know: it can't have come back.
        """
        found = 0
        for kind in reversed(Kind):
            for item in self.moves_of(run, kind):
                found += 1
                yield item
        if found != (count := self.load(run).count):
            raise damaged(run, f"it announces {count} moves, and {found} are of a kind that is known")

    def _moves(self, run: str, start: bytes) -> Iterator[tuple[int, Move]]:
        with self._open(run) as file:
            number = 0
            for line, _ in lines(file):
                if line.startswith(start):
                    try:
                        move = decode_move(line)
                    except (ValueError, TypeError, IndexError) as error:
                        raise damaged(run, f"move {number}: {error}") from error
                    yield number, move
                number += line.startswith(b"[")

    def _open(self, run: str) -> BinaryIO:
        if self._directory is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), run)
        try:
            return os.fdopen(os.open(run, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory), "rb")
        except FileNotFoundError:
            raise
        except OSError as error:  # a directory or a symbolic link, for one
            raise StorageError(error, f"the journal of run {run}") from error


def damaged(run: str, why: str) -> DamagedJournalError:
    """What to say of a journal that can't be understood."""
    return DamagedJournalError(
        f"the journal of run {run} can't be understood ({why}): what is in its quarantine stays there. "
        "Bring the journal back from a backup, or move both away to give up its undo"
    )


def open_directory_of_journals(volume: Volume, elsewhere: str | None) -> int | None:
    """The directory with the journals on a volume, None if there is none, or that at `elsewhere`, which must exist.

    Raises:
        StorageError: it can't be opened.
    """
    with translated(JOURNALS if elsewhere is None else f"--journal {elsewhere}"):
        if elsewhere is not None:
            return os.open(elsewhere, _DIRECTORY)
        with suppress(FileNotFoundError):
            return open_directory(volume.descriptor, JOURNALS)
    return None


@contextmanager
def open_journals(volume: Volume, elsewhere: str | None = None) -> Iterator[Journals]:
    """The journals on a volume, or in the directory `elsewhere`.

    Raises:
        StorageError: the directory is there but can't be read.
    """
    descriptor = open_directory_of_journals(volume, elsewhere)
    try:
        yield Journals(descriptor, elsewhere=elsewhere is not None)
    finally:
        if descriptor is not None:
            os.close(descriptor)
