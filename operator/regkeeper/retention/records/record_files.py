"""Where records of repositories lie on the volume: a file each, `.regkeeper/cache/<SHA-256 of the name>`.

Written in a fresh file and renamed, but not made durable: a record that a crash damages is passed over.
"""

import hashlib
import os
from contextlib import suppress

from regkeeper.retention.errors import NotPermittedError
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.volume.layout import Volume, read_file
from regkeeper.retention.volume.places import CACHE

_LIMIT = 64 << 20  # bytes; a record takes some 20 kilobytes for a hundred images
_UNFINISHED = "unfinished"
_FREE = 20
"""One part in so many of the volume's space and inodes must be free for records to be written."""


class RecordFiles:
    """Reads the records of one volume."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def load(self, repository: str) -> bytes:
        """The record of a repository; empty if there is none that can be read."""
        try:
            return read_file(self._volume.descriptor, f"{CACHE}/{_file_name(repository)}", _LIMIT)
        except OSError:
            return b""


class WritableRecordFiles(RecordFiles):
    """Reads and writes them. What can't be written is not: no run fails for want of records."""

    def __init__(self, volume: WritableVolume) -> None:
        super().__init__(volume)
        self._writable = volume
        self._room = _has_room(volume.descriptor)
        self._seen: set[str] = set()

    def save(self, repository: str, record: bytes) -> None:
        """Write the record of a repository, if there is a new one and room for it; an empty one: keep what there is."""
        name = _file_name(repository)
        self._seen.add(name)
        if record and self._room:
            try:
                self._write(name, record)
            except OSError:
                self._room = False

    def _write(self, name: str, record: bytes) -> None:
        directory = self._writable.make_directories(CACHE)
        try:
            with suppress(FileNotFoundError):
                self._writable.unlink(directory, _UNFINISHED)
            descriptor = self._writable.create_file(directory, _UNFINISHED)
            try:
                self._writable.write_at(descriptor, record, 0)
            finally:
                os.close(descriptor)
            self._writable.rename(directory, _UNFINISHED, directory, name)
        finally:
            os.close(directory)

    def drop_others(self) -> None:
        """Remove the records of repositories that were not saved."""
        with suppress(OSError, NotPermittedError), self._writable.directory(CACHE) as directory:
            for name in set(os.listdir(directory)) - self._seen:
                self._writable.unlink(directory, name)


def _has_room(descriptor: int) -> bool:
    """Whether records would leave enough of the volume free; a filesystem that counts no inodes says 0 of 0."""
    free = os.fstatvfs(descriptor)
    return free.f_bavail * _FREE >= free.f_blocks and free.f_favail * _FREE >= free.f_files


def _file_name(repository: str) -> str:
    return hashlib.sha256(repository.encode("utf-8", "surrogateescape")).hexdigest()
