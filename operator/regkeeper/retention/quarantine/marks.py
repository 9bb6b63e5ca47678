"""Marks of what an undo brought back, which every later run keeps ("restored from run X").

One file a run, `kept/<run>`, in the lines of a journal. It is written before the first rename of the undo, and counts
only for a tag that still points to the digest that it had. Removing the file ends it; of a run by policies, also a
change of the rules of one of them. A policy that is not known today has not changed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from regkeeper.retention.errors import DamagedJournalError, NothingToUndoError, translated
from regkeeper.retention.quarantine.journal import Journal, decode_move, encode_move
from regkeeper.retention.quarantine.moves import Move
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.volume.layout import Volume, read_file
from regkeeper.retention.volume.places import KEPT

_LARGEST = 1 << 30
"""Bytes of a mark that are read: some millions of entries."""


class Mark(Struct, frozen=True):
    """One thing that came back: `move` says what it is (a tag with its digest, a manifest, a blob)."""

    run: str
    move: Move


def write_mark(volume: WritableVolume, journal: Journal, moves: Iterable[Move]) -> None:
    """Mark what is about to come back from a run, beside what came back from it before."""
    known = {mark.move.path: mark.move for mark in _read(volume, journal.run, known={})}
    known |= {move.path: move for move in moves}
    header = {"run": journal.run, "command": journal.header.command, "policies": dict(journal.policies)}
    content = json.dumps(header).encode() + b"\n" + b"".join(encode_move(move) for move in known.values())
    with translated(KEPT):
        volume.replace_file(f"{KEPT}/{journal.run}", content)


def forget(volume: WritableVolume, run: str) -> None:
    """End what the undo of a run keeps.

    Raises:
        NothingToUndoError: it keeps nothing.
    """
    with translated(KEPT):
        if run not in volume.names(KEPT):
            raise NothingToUndoError(f"nothing is kept because run {run} was undone")
        with volume.directory(KEPT) as directory:
            volume.unlink(directory, run)
            volume.sync(directory)


def kept(volume: Volume, known: Mapping[str, str]) -> Iterator[Mark]:
    """What came back and is to stay.

    Args:
        volume: Where the marks are.
        known: Digest of today's rules of each policy that is known: the marks of runs by others have ended.
    """
    for run in sorted(volume.names(KEPT)):
        if not run.endswith(".new"):
            yield from _read(volume, run, known=known)


def _read(volume: Volume, run: str, *, known: Mapping[str, str]) -> Iterator[Mark]:
    path = f"{KEPT}/{run}"
    with translated(path):
        try:
            content = read_file(volume.descriptor, path, _LARGEST)
        except FileNotFoundError:
            return
    try:
        first, *lines = content.splitlines()
        header = json.loads(first)
        if all(known.get(label, rules) == rules for label, rules in header["policies"].items()):
            for line in lines:
                yield Mark(run, decode_move(line))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedJournalError(f"{path} can't be understood ({error}): remove it to end what it keeps") from error
