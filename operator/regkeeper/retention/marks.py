"""Marks of what an undo brought back, which every later run keeps ("restored from run X").

One file a run, `kept/<run>`, in the lines of a journal. It is written before the first rename of the undo, and counts
only for a tag that still points to the digest that it had. Removing the file ends it.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from regkeeper.retention.errors import DamagedJournalError, translated
from regkeeper.retention.journal import Journal, decode_move, encode_move
from regkeeper.retention.layout import Volume, read_file
from regkeeper.retention.moves import Move
from regkeeper.retention.places import KEPT
from regkeeper.retention.storage import WritableVolume

_LARGEST = 1 << 30
"""Bytes of a mark that are read: some millions of entries."""

_DELETE = "delete"
"""The command whose undo is kept whatever the rules."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that came back: `move` says what it is (a tag with its digest, a manifest, a blob)."""

    run: str
    move: Move


def write_mark(volume: WritableVolume, journal: Journal, moves: Iterable[Move]) -> None:
    """Mark what is about to come back from a run, beside what came back from it before."""
    known = {mark.move.path: mark.move for mark in _read(volume, journal.run, rules=None)}
    known |= {move.path: move for move in moves}
    header = {"run": journal.run, "command": journal.header.command, "rules": journal.rules}
    content = json.dumps(header).encode() + b"\n" + b"".join(encode_move(move) for move in known.values())
    with translated(KEPT):
        volume.replace_file(f"{KEPT}/{journal.run}", content)


def forget(volume: WritableVolume, run: str) -> bool:
    """End what the undo of a run keeps; answers whether it kept anything."""
    with translated(KEPT):
        if run not in volume.names(KEPT):
            return False
        with volume.directory(KEPT) as directory:
            volume.unlink(directory, run)
            volume.sync(directory)
    return True


def kept(volume: Volume, rules: str) -> Iterator[Mark]:
    """What came back and is to stay.

    Args:
        volume: Where the marks are.
        rules: Digest of today's rules: the marks of runs by other rules have ended. Empty: the command `delete`, which
            has no rules and so ends none.
    """
    for run in sorted(volume.names(KEPT)):
        if not run.endswith(".new"):
            yield from _read(volume, run, rules=rules or None)


def _read(volume: Volume, run: str, *, rules: str | None) -> Iterator[Mark]:
    path = f"{KEPT}/{run}"
    with translated(path):
        try:
            content = read_file(volume.descriptor, path, _LARGEST)
        except FileNotFoundError:
            return
    try:
        first, *lines = content.splitlines()
        header = json.loads(first)
        if rules is None or header["command"] == _DELETE or header["rules"] == rules:
            for line in lines:
                yield Mark(run, decode_move(line))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedJournalError(f"{path} can't be understood ({error}): remove it to end what it keeps") from error
