"""Reads a link that was found empty or malformed again, until it reads well or is given up."""

import os
import time
from collections.abc import Callable

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.layout import ABSENT, read_link
from regkeeper.retention.volume.repository import NO_LINK, Link, Tag

ATTEMPTS = 5
PAUSE = 0.05
"""Seconds between attempts. Distribution before 3.1 writes links in place: under re-push one is empty for a moment."""
PAUSES = 40
"""So many in all: a writer is within a few links at once; thousands of empty ones are what a full disk left."""


class PatientLinks:
    """Reads the unreadable links of one volume.

    Args:
        pause: called with seconds between two attempts.
    """

    def __init__(self, pause: Callable[[float], None] = time.sleep) -> None:
        self.pause = pause
        self._pauses = 0

    def look(self, directory: int, path: str) -> Tag | None:
        """The link as it reads at once; one that does not read well as `read` has it, and None if there is none."""
        try:
            content, status = read_link(directory, path)
        except PermissionError:
            raise
        except OSError as error:
            return None if error.errno in ABSENT else self.read(directory, path)
        digest = digests.parse(content.decode("ascii", "replace"))
        if digest is None:
            return self.read(directory, path)
        return Tag(digest, Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns))

    def read(self, directory: int, path: str) -> Tag | None:
        """The link once it reads well, or as unreadable after the last attempt; None if it has gone meanwhile."""
        link = _status_of(directory, path)
        for _ in range(ATTEMPTS):
            if self._pauses < PAUSES:
                self._pauses += 1
                self.pause(PAUSE)
            try:
                content, status = read_link(directory, path)
            except PermissionError:
                raise
            except OSError as error:
                if error.errno in ABSENT:
                    return None
                continue
            link = Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
            digest = digests.parse(content.decode("ascii", "replace"))
            if digest is not None:
                return Tag(digest, link)
        return Tag(None, link)


def _status_of(directory: int, path: str) -> Link:
    """Facts about what stands in the place of a link, a symbolic link for one."""
    try:
        status = os.stat(path, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return NO_LINK
    return Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
