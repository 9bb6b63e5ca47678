"""What was half written and could not be moved, as the last runs found it: no run is begun for that alone.

One file, in the lines of a journal. What changed since is another move, and a reason to try again; where something else
goes, all of it is tried once more. Safe to lose.
"""

from collections.abc import Mapping
from contextlib import suppress

from regkeeper.retention.errors import StoppedError
from regkeeper.retention.quarantine.journal import decode_move, encode_move
from regkeeper.retention.quarantine.moves import Move
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.volume.layout import Volume, read_file
from regkeeper.retention.volume.places import IMMOVABLE

_LARGEST = 16 << 20
"""Bytes of the file that are read: some ten thousands of entries."""


def immovable(volume: Volume) -> frozenset[Move]:
    """What could not be moved; nothing, if that can't be read: then it is tried again."""
    with suppress(OSError, ValueError, TypeError, LookupError, RecursionError):
        return frozenset(map(decode_move, read_file(volume.descriptor, IMMOVABLE, _LARGEST).splitlines()))
    return frozenset()


def note_immovable(volume: WritableVolume, tried: Mapping[Move, bool]) -> None:
    """Note of what was half written whether a run could move it, beside what other runs found.

    The run is done, though there be no room for this: the next one tries again.
    """
    known = immovable(volume)
    paths = {move.path for move in tried}
    now = {move for move in known if move.path not in paths} | {move for move, moved in tried.items() if not moved}
    if now != known:
        with suppress(OSError, StoppedError):
            volume.replace_file(IMMOVABLE, b"".join(sorted(map(encode_move, now))))
