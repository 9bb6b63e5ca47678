"""Uploads that nobody ended."""

import os
from collections.abc import Iterator
from contextlib import suppress

from regkeeper.retention.volume.layout import UPLOADS, Volume, repository_path


def old_uploads(volume: Volume, repository: str, edge: int) -> Iterator[tuple[str, int]]:
    """Name and bytes of each upload of which nothing was touched since `edge`, in nanoseconds since the epoch.

    One that can't be read is none of them.
    """
    uploads = f"{repository_path(repository)}/{UPLOADS}"
    names: list[str] = []
    with suppress(OSError):
        names = sorted(volume.names(uploads))
    for name in names:
        touched, size = _touched(volume, f"{uploads}/{name}")
        if touched is not None and touched <= edge:
            yield name, size


def _touched(volume: Volume, path: str) -> tuple[int | None, int]:
    """The newest time of anything below a directory, None if it can't be read, and the bytes of its files."""
    newest = 0
    size = 0
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            with volume.directory(here) as descriptor, os.scandir(descriptor) as entries:
                newest = max(newest, os.fstat(descriptor).st_mtime_ns)
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    newest = max(newest, status.st_mtime_ns)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{here}/{entry.name}")
                    else:
                        size += status.st_size
        except OSError:
            return None, 0
    return newest, size
