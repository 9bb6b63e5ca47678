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

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO

from msgspec import Struct, field

from regkeeper.retention.moments import SECOND
from regkeeper.retention.quarantine.moves import Kind, Move

FORMAT = 1
"""Raised when an older regkeeper could misread what a newer one wrote."""


RUN_FORMAT = "%Y%m%dT%H%M%SZ"

RETRIED_AFTER = 86400 * SECOND
"""Until a purge is worth another one that left something: an immutable file made a registry read-only every hour."""


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


ENDED = frozenset({State.ROLLED_BACK, State.RESTORED, State.PURGED})
"""States of a run of which only what stands in the way of something newer may still be in the quarantine."""


class Header(Struct, frozen=True, kw_only=True):
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


class Journal(Struct, frozen=True, kw_only=True):
    """One run's journal as it was read. The moves stay in the file: `Journals` reads them again."""

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
    left: int = 0
    """Entries that a purge could not free: something needs them, or they can't be removed."""
    undone: int = 0
    """Nanoseconds since 1970 at which an undo of it ended, whatever came after; 0: none did."""
    rolled_back: int = 0
    """The same of a rollback."""
    remaining: int | None = None
    """Entries that an undo, a rollback or a purge left in the quarantine at most; None: none said so."""
    end: int = 0
    """Where the next line goes."""

    @property
    def run(self) -> str:
        return self.header.run

    @property
    def came_back(self) -> bool:
        """Whether it was undone or rolled back, though a purge may hold for others what that has left."""
        return bool(self.undone or self.rolled_back)

    @property
    def purge_due(self) -> int:
        """Nanoseconds since 1970 from which the run may be purged."""
        return self.began + self.header.undo_window * SECOND

    @property
    def next_purge(self) -> int:
        """When it is worth to make a registry quiet for its purge. What a purge left, each later one tries again."""
        return max(self.purge_due, self.at + RETRIED_AFTER) if self.left else self.purge_due

    @property
    def began(self) -> int:
        """Nanoseconds since 1970 at which the run began, as its name tells: its `now` may have been one of the past.

        A name with a number tells when an earlier run began, perhaps by a clock that was years ahead for a moment.
        """
        second, _, number = self.run.partition("-")
        named = int(datetime.fromisoformat(second).timestamp()) * SECOND
        return max(self.header.now, min(named, self.header.began) if number else named)


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


def lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Whole lines with the offset behind each."""
    offset = 0
    for line in file:
        if line.startswith(b"\0") or not line.endswith(b"\n"):
            return
        offset += len(line)
        yield line, offset


def summary(run: str, file: BinaryIO) -> Journal:
    """The journal that a file holds, without its moves.

    Raises:
        ValueError, KeyError, TypeError: it can't be understood.
    """
    every = lines(file)
    first, end = next(every, (b"null", 0))
    if first == b"null":
        # The crash came between the making of the file and its first line.
        header = Header(run=run, command="", now=0, undo_window=0, began=0)
        return Journal(header=header, state=State.UNPLANNED, at=0)
    header = _header(run, json.loads(first))
    facts: dict[str, Any] = {"state": State.UNPLANNED, "at": header.now}
    counted = 0
    for line, offset in every:
        if line.startswith(b"["):
            counted += 1
            continue
        entry = json.loads(line)
        if "plan" in entry:
            facts |= entry
        else:
            left = entry.get("held", 0) + entry.get("stuck", 0)
            facts |= {"state": State(entry["state"]), "at": entry.get("at", header.now), "left": left}
            facts["remaining"] = entry.get("remaining")
            if facts["state"] == State.OPEN:
                facts |= {"count": entry["moves"], "bytes": entry["bytes"]}
            elif facts["state"] == State.RESTORED:
                facts["undone"] = facts["at"]
            elif facts["state"] == State.ROLLED_BACK:
                facts["rolled_back"] = facts["at"]
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
