"""Why a run on a volume ends without doing what was asked; all are exit status 1 of the command."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from regkeeper.errors import RegkeeperError


class RetentionError(RegkeeperError):
    """A run that failed or was refused. The volume is consistent; an open journal is rolled back by the next run."""


class RefusedError(RetentionError):
    """The run may not go on as asked; nothing was deleted."""

    reason = "Refused"


class NotQuietError(RefusedError):
    """Something writes to the volume, or might."""

    reason = "NotQuiet"


class UnansweredError(NotQuietError):
    """The registry can't be reached, or somebody else answers in its place: nobody knows whether it writes."""


class BusyError(RefusedError):
    """Another run holds the volume's lock."""

    reason = "Busy"


class NotPermittedError(RefusedError):
    """This user may not do what the run needs."""

    reason = "NotPermitted"


class UnverifiedError(RefusedError):
    """A part of the volume can't be read, so that nobody knows whether it needs what was to be freed for good."""

    reason = "Unverified"


class StoppedError(RetentionError):
    """The run was asked to stop (a signal, the end time) and did so between two entries."""

    reason = "Stopped"


class DamagedJournalError(RetentionError):
    """A journal can't be read, so nobody knows what its quarantine holds."""

    reason = "DamagedJournal"


class NothingToUndoError(RetentionError):
    """There is no run, or no image, that could come back."""

    reason = "NothingToUndo"


class StorageError(RetentionError):
    """The volume itself failed: the operating system's answer in words that help."""

    reason = "StorageFailed"

    def __init__(self, error: OSError, path: str) -> None:
        super().__init__(error, path)  # by which another process makes it again from a pickle
        self.errno = error.errno
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.words}"

    @property
    def words(self) -> str:
        """What the operating system says, and what helps."""
        what = _ADVICE.get(self.errno or 0, "")
        return f"{os.strerror(self.errno or 0)}{what and f': {what}'}"


OF_ONE_ENTRY = frozenset({errno.EPERM, errno.EACCES, errno.EBUSY, errno.ENOTEMPTY})
"""Error numbers of what can't be moved or removed while all else can: immutable, another's, a mount point, or still
open by a client of a network filesystem."""

_ADVICE = {
    errno.ENOSPC: "no space or no inode is left on the volume",
    errno.EDQUOT: "the quota of the volume's owner is used up",
    errno.EROFS: "the volume is mounted read-only",
    errno.EIO: "the storage failed; look at the kernel's log",
    errno.EPERM: "the file may be immutable (lsattr), or this user may not change it",
    errno.EACCES: "run as the owner of the volume",
    errno.EXDEV: "it is on another filesystem than the quarantine, and only a rename within one can be undone",
    errno.ELOOP: "a symbolic link stands where the registry has a directory; it is not followed",
    errno.ENOTDIR: "a file or a symbolic link stands where the registry has a directory",
}


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn an `OSError` about `path` into a `StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(error, path) from error
