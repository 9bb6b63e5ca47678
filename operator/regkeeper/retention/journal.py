"""The journal of one run: what it was going to move, and how far its life has come.

A text file of JSON lines, `journals/<run>`; what lies behind the first NUL byte, or behind the last newline, is not
part of it (space kept for later lines, or a line that a crash tore).

    {"regkeeper": 1, "run": "20261124T103145Z", "command": "retain", "now": 1795516305000000000,
     "undoWindow": 86400, "began": 1795516305000000000}                 (one line)
    {"plan": "…", "policies": {"keep-last-5": "…"}}
    ["tag", "repositories/team/app/_manifests/tags/v1", "team/app", "v1", 0, [1234, 1795516000000000000], "sha256:…"]
    …                                                      one line for each move, numbered from 0 in this order
    {"state": "open", "moves": 31, "bytes": 73400320}
    {"state": "done", "at": 1795516306000000000}
    {"state": "purged", "at": 1795602710000000000, "moves": 31, "bytes": 73400320}

**Why a crash loses nothing.** Everything up to "open" is written and fsynced, the file's name and the run's quarantine
directory too, before the first rename. From then on the disk itself says how far the run came: move number n was made
if and only if `quarantine/<run>/<n>` exists. So no write has to be ordered against a rename. "done" follows after the
renames were fsynced, kind by kind: without it (a crash, a kill, a failure) the run is rolled back. Undo and purge write
their own line before their first change and are simply done again when they have not ended: both look at what is
still in the quarantine and work on that. A journal that ends before "open" has moved nothing; if its quarantine holds
something all the same, it has lost its end and is damaged.
"""

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, BinaryIO

from regkeeper.retention.beneath import open_directory
from regkeeper.retention.errors import DamagedJournalError, StorageError, translated
from regkeeper.retention.layout import Volume
from regkeeper.retention.moments import SECOND
from regkeeper.retention.moves import Kind, Move
from regkeeper.retention.places import JOURNALS

FORMAT = 1
"""Raised when an older regkeeper could misread what a newer one wrote."""


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
RUN_FORMAT = "%Y%m%dT%H%M%SZ"
_RUN = re.compile(r"\d{8}T\d{6}Z(-\d{4})?")


class State(StrEnum):
    """How far a run's life has come; the journal's last line says it."""

    UNPLANNED = "unplanned"
    """Nothing was moved."""
    OPEN = "open"
    """Moves may have been made: to be rolled back."""
    ROLLED_BACK = "rolled-back"
    """Everything is where it was before."""
    DONE = "done"
    """All was moved; it can be undone."""
    RESTORING = "restoring"
    """An undo that has not ended: to be finished."""
    RESTORED = "restored"
    PURGING = "purging"
    """A purge that has not ended: to be finished."""
    PURGED = "purged"
    """It can't be undone any more."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is known when a run begins."""

    run: str
    command: str
    """`retain` or `delete`."""
    now: int
    """Nanoseconds since 1970: the time by which its ages were judged."""
    undo_window: int
    """Seconds after the run's beginning from which it may be purged."""
    began: int
    """Nanoseconds since 1970 by the volume's own clock at which the journal was made; the mark comes after it."""


@dataclass(frozen=True, kw_only=True)
class Journal:
    """One run's journal as it was read. The moves stay in the file: `moves` reads them again."""

    header: Header
    state: State
    at: int
    """Nanoseconds since 1970 at which the state was reached; the header's `now` while there is none."""
    plan: str = ""
    policies: Mapping[str, str] = field(default_factory=dict)
    """A digest of the rules of each policy by its label; empty: the command `delete`."""
    count: int = 0
    """Moves of the plan."""
    bytes: int = 0
    """Bytes of the plan."""
    end: int = 0
    """Where the next line goes."""

    @property
    def run(self) -> str:
        return self.header.run

    @property
    def purge_due(self) -> int:
        """Nanoseconds since 1970 from which the run may be purged."""
        return self.began + self.header.undo_window * SECOND

    @property
    def began(self) -> int:
        """Nanoseconds since 1970 at which the run began, as its name tells: its `now` may have been one of the past."""
        second, _, _ = self.run.partition("-")
        named = datetime.strptime(second, RUN_FORMAT).replace(tzinfo=UTC)
        return max(self.header.now, int(named.timestamp()) * SECOND)


class Journals:
    """The directory with the journals, for reading; without a descriptor there are none."""

    def __init__(self, directory: int | None) -> None:
        self._directory = directory
        self._loaded: dict[str, Journal] = {}  # a year's journals are asked for several times by one command

    def runs(self) -> list[str]:
        """Names of all runs, oldest first."""
        if self._directory is None:
            return []
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
                self._loaded[run] = _summary(run, file)
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
        """All in the order of an undo: what is referred to before what refers to it."""
        for kind in reversed(Kind):
            yield from self.moves_of(run, kind)

    def _moves(self, run: str, start: bytes) -> Iterator[tuple[int, Move]]:
        with self._open(run) as file:
            number = 0
            for line, _ in _lines(file):
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
    with translated(elsewhere or JOURNALS):
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
        yield Journals(descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def encode_move(move: Move) -> bytes:
    """One line of a journal. Names that are not UTF-8 keep their bytes as escaped surrogates."""
    witness = list(move.witness) if move.witness else None
    return encode([move.kind, move.path, move.repository, move.name, move.bytes, witness, move.digest])


def decode_move(line: bytes) -> Move:
    """The move of a line that `encode_move` wrote."""
    kind, path, repository, name, size, witness, digest = json.loads(line)
    return Move(Kind(kind), path, repository, name, size, (witness[0], witness[1]) if witness else None, digest)


def encode(value: object) -> bytes:
    """One line of JSON."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Whole lines with the offset behind each."""
    offset = 0
    for line in file:
        if line.startswith(b"\0") or not line.endswith(b"\n"):
            return
        offset += len(line)
        yield line, offset


def _summary(run: str, file: BinaryIO) -> Journal:
    lines = _lines(file)
    first, end = next(lines, (b"null", 0))
    if first == b"null":
        # The crash came between the making of the file and its first line.
        header = Header(run=run, command="", now=0, undo_window=0, began=0)
        return Journal(header=header, state=State.UNPLANNED, at=0)
    header = _header(run, json.loads(first))
    facts: dict[str, Any] = {"state": State.UNPLANNED, "at": header.now}
    counted = 0
    for line, offset in lines:
        if line.startswith(b"["):
            counted += 1
            continue
        entry = json.loads(line)
        if "plan" in entry:
            facts |= entry
        else:
            facts |= {"state": State(entry["state"]), "at": entry.get("at", header.now)}
            if facts["state"] == State.OPEN:
                facts |= {"count": entry["moves"], "bytes": entry["bytes"]}
        end = offset
    if facts["state"] != State.UNPLANNED and facts["count"] != counted:
        raise ValueError(f"it announces {facts['count']} moves and has {counted}")
    return Journal(header=header, end=end, **facts)


def encode_header(header: Header) -> bytes:
    """The first line of a journal."""
    return encode(
        {
            "regkeeper": FORMAT,
            "run": header.run,
            "command": header.command,
            "now": header.now,
            "undoWindow": header.undo_window,
            "began": header.began,
        }
    )


def _header(run: str, entry: dict[str, Any]) -> Header:
    if entry["regkeeper"] != FORMAT or entry["run"] != run:
        raise ValueError(f"it is of format {entry['regkeeper']} and run {entry['run']}")
    return Header(
        run=run, command=entry["command"], now=entry["now"], undo_window=entry["undoWindow"], began=entry["began"]
    )
