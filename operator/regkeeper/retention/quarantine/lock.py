"""One run at a time on a volume: flock(2) on the directory `docker/registry/v2`.

The kernel drops the lock with its holder, so a dead run keeps none, and locking a directory changes nothing on the
volume, so a dry run may look too. What its holder forks to read for it does not hold it: whoever comes after a run that
was killed need not wait for those.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from regkeeper.retention.errors import BusyError, translated
from regkeeper.retention.quarantine.storage import DIRECTORY_FLAGS
from regkeeper.retention.volume.layout import Volume

_held: set[int] = set()


def _leave_in_fork() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_leave_in_fork)


@contextmanager
def exclusive(volume: Volume) -> Iterator[None]:
    """Hold the volume's lock.

    Raises:
        BusyError: another run holds it.
        StorageError: the filesystem has no locks.
    """
    descriptor = _open(volume)
    try:
        with translated(volume.path):
            if not _locked(descriptor, fcntl.LOCK_EX):
                raise BusyError(f"another run is under way on {volume.path}: wait until it has ended")
        _held.add(descriptor)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def is_held(volume: Volume) -> bool:
    """Whether a run is under way, asked without disturbing one that would start now for longer than this call."""
    descriptor = _open(volume)
    try:
        with translated(volume.path):
            return not _locked(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _open(volume: Volume) -> int:
    # A description of its own: flock belongs to the open file description, and the volume's is shared by all readers.
    return os.open(".", DIRECTORY_FLAGS, dir_fd=volume.descriptor)


def _locked(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
