"""Space and inodes that a run leaves beside the quarantine, so that the next one can begin on a full volume.

A full volume is the commonest reason to run, and a run needs a journal and a directory before it can free anything.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from regkeeper.retention.errors import StoppedError, StorageError, translated
from regkeeper.retention.quarantine.storage import FULL, WritableVolume
from regkeeper.retention.volume.places import RESERVE

Answer = TypeVar("Answer")

SPACE_BYTES = 4 << 20
"""Room for the journal and the quarantine's directory of some ten thousand entries."""

PLENTY = 10
"""It is laid in while so many times its size is free: what a run has freed on a full volume is the registry's."""

_SPACE = "space"
_INODES = tuple(f"inode-{number}" for number in range(1, 5))
"""For a journal and a run's directory; for the directory of marks and a mark."""


def on_full(volume: WritableVolume, work: Callable[[], Answer]) -> Answer:
    """Do `work`; when the volume is full, once more with the reserve spent. It must leave nothing when it fails."""
    try:
        return work()
    except (StorageError, OSError) as error:
        if error.errno not in FULL or not spend(volume):
            raise
    return work()


@contextmanager
def laid_in_again(volume: WritableVolume) -> Iterator[None]:
    """Lay in again what is spent of the reserve meanwhile, however that ends. Where there was none, none is made.

    Where nothing else was freed, pushes would take what the reserve had, and the next run could not begin.
    """
    there: set[str] = set()
    with suppress(OSError):
        there.update(volume.names(RESERVE))
    try:
        yield
    finally:
        with suppress(OSError, StoppedError):
            if not there.issubset(volume.names(RESERVE)) and not volume.freed:
                _lay_in(volume)


def spend(volume: WritableVolume) -> bool:
    """Free the reserve; answers whether there was one."""
    names = volume.names(RESERVE)
    if not names:
        return False
    with translated(RESERVE), volume.directory(RESERVE) as directory:
        for name in names:
            volume.unlink(directory, name)
    return True


def replenish(volume: WritableVolume) -> None:
    """Lay the reserve in again where there is plenty of room: what prevents it is no failure of a run that is done."""
    with suppress(OSError, StoppedError):
        if volume.free_bytes() >= PLENTY * SPACE_BYTES:
            _lay_in(volume)


def _lay_in(volume: WritableVolume) -> None:
    directory = volume.make_directories(RESERVE)
    try:
        with suppress(OSError):  # for want of space there may be inodes
            _lay_in_space(volume, directory)
        for name in _INODES:
            with suppress(FileExistsError):
                os.close(volume.create_file(directory, name))
    finally:
        os.close(directory)


def _lay_in_space(volume: WritableVolume, directory: int) -> None:
    with suppress(FileNotFoundError):
        if os.stat(_SPACE, dir_fd=directory, follow_symlinks=False).st_size == SPACE_BYTES:
            return
        volume.unlink(directory, _SPACE)
    descriptor = volume.create_file(directory, _SPACE)
    try:
        # Written, not sparse: a hole would hold no space.
        chunk = bytes(1 << 20)
        for offset in range(0, SPACE_BYTES, len(chunk)):
            volume.write_at(descriptor, chunk, offset)
    finally:
        os.close(descriptor)
