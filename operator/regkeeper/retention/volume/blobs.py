"""The blobs of a volume, shard by shard: which there are, their files, and what was half written of them."""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from typing import NamedTuple

from msgspec import Struct

from regkeeper.retention.errors import NotPermittedError
from regkeeper.retention.processes.read_ahead import read_ahead, waits_of_this_thread
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.beneath import open_directory, open_file
from regkeeper.retention.volume.digests import Algorithm, Digest
from regkeeper.retention.volume.layout import (
    ABSENT,
    BLOBS,
    Volume,
    algorithm_directories,
    blob_directory,
    permission_refused,
)
from regkeeper.retention.volume.repository import Problem
from regkeeper.retention.volume.shards import BEGINNING, Shards

_PART = 16
"""Blobs that a thread looks at for once."""

_FLAGS_OF_A_FILE = 0x80086601
"""FS_IOC_GETFLAGS, for which a descriptor for reading is enough."""
_IMMUTABLE = 0x10 | 0x20

Place = tuple[Algorithm, int]
"""Which shard: the algorithm, and the first byte of its digests."""

_DIGITS = [f"{number:02x}" for number in range(256)]


BlobFile = tuple[Digest, os.stat_result]
"""A blob, and the status of its `data`."""


class Temporary(NamedTuple):
    """What was half written beside a blob's `data`."""

    name: str
    status: os.stat_result
    immutable: bool
    """Nobody can move it, root neither."""


class Shard(Struct, frozen=True):
    """One directory of blobs, `blobs/<alg>/<hh>`, with its names, whatever they are."""

    algorithm: Algorithm
    first: int
    names: list[str]

    @property
    def place(self) -> Place:
        return self.algorithm, self.first

    @property
    def digests(self) -> set[Digest]:
        """All blobs."""
        return self.blobs(self.names)

    def blobs(self, names: Iterable[str]) -> set[Digest]:
        """The blobs that have some of the names: a foreign file has none's, and may have another shard's."""
        return {digest for digest in digests.from_names(self.algorithm, names).values() if digest[1] == self.first}

    def among(self, some: Shards) -> list[str]:
        """The names of blobs that are in a bag."""
        beginnings = some.beginnings(*self.place)
        return [name for name in self.names if name[:BEGINNING] in beginnings]

    def without(self, every: Iterable[Shards]) -> set[Digest]:
        """The blobs that are in none of some bags."""
        beginnings = set[str]().union(*(some.beginnings(*self.place) for some in every))
        rest = [name for name in self.names if name[:BEGINNING] not in beginnings]
        return self.blobs(rest) if rest else set()


class BlobStore:
    """Reads `blobs`.

    Args:
        waits: as for `read_ahead`.

    Attributes:
        problems: what could not be read so far.
    """

    def __init__(self, volume: Volume, waits: Callable[[], int] = waits_of_this_thread) -> None:
        self.volume = volume
        self.waits = waits
        self.problems: list[Problem] = []

    def places(self) -> Iterator[Place]:
        """Where shards are, in order.

        Raises:
            NotPermittedError: a directory may not be read.
        """
        for algorithm in sorted(algorithm_directories(self._names(BLOBS)), key=lambda algorithm: algorithm.name):
            there = set(self._names(f"{BLOBS}/{algorithm.name}"))
            yield from ((algorithm, number) for number, name in enumerate(_DIGITS) if name in there)

    def shards(self, places: Iterable[Place] | None = None) -> Iterator[Shard]:
        """The shards at some places, or all, with the names in their directories. A symbolic link is no blob of ours.

        Raises:
            NotPermittedError: a directory may not be read.
        """
        for algorithm, number in read_ahead(
            self.places() if places is None else places, self._touch_shard, waits=self.waits
        ):
            names = self._names(_path(algorithm, number), symbolic_links=False)
            if names:
                yield Shard(algorithm, number, names)

    def files(self, wanted: set[Digest]) -> Iterator[BlobFile]:
        """The `data` of blobs of one shard, in the order of digests; those that have none are left out."""
        if not wanted:
            return
        ordered = sorted(wanted)
        shard = _path(digests.algorithm_of(ordered[0]), ordered[0][1])
        try:
            descriptor = open_directory(self.volume.descriptor, shard)
        except OSError as error:
            self._note(shard, error)
            return
        try:
            parts = (ordered[start : start + _PART] for start in range(0, len(ordered), _PART))
            touch = partial(self._touch_files, descriptor, shard)
            with closing(read_ahead(parts, touch, waits=self.waits)) as ahead:
                for digest in chain.from_iterable(ahead):
                    name = digest[1:].hex()
                    try:
                        status = self.volume.status_below(descriptor, name, "data", shard)
                    except OSError as error:
                        self._note(f"{shard}/{name}", error)
                        continue
                    yield digest, status
        finally:
            os.close(descriptor)

    def leftover(self, digest: Digest) -> tuple[int, int] | None:
        """The bytes and the newest mtime of what a registry that was killed had begun to write of a blob.

        None if there is nothing, or anything else. Distribution writes `data.<uuid>.tmp` since 3.1 (`PutContent` of its
        filesystem driver), and never looks at it again.
        """
        try:
            with self.volume.directory(blob_directory(digest)) as directory:
                found = {name: os.stat(name, dir_fd=directory, follow_symlinks=False) for name in os.listdir(directory)}
        except OSError:
            return None
        if not found or not all(
            name.endswith(".tmp") and stat.S_ISREG(status.st_mode) for name, status in found.items()
        ):
            return None
        every = found.values()
        return sum(status.st_size for status in every), max(status.st_mtime_ns for status in every)

    def temporaries(self, digest: Digest) -> Iterator[Temporary]:
        """What registries that were killed had begun to write beside the `data` of a blob, which a later push wrote.

        None if there is no `data`.
        """
        path = blob_directory(digest)
        try:
            names = self.volume.names(path)
        except (OSError, NotPermittedError):
            return
        for name in sorted(names) if "data" in names else ():
            if name.startswith("data.") and name.endswith(".tmp"):
                with suppress(OSError):
                    descriptor = open_file(self.volume.descriptor, self.volume.place(f"{path}/{name}"))
                    try:
                        found = Temporary(name, os.fstat(descriptor), _is_immutable(descriptor))
                    finally:
                        os.close(descriptor)
                    if stat.S_ISREG(found.status.st_mode):
                        yield found

    def _touch_files(self, directory: int, shard: str, some: list[Digest]) -> None:
        for digest in some:
            with suppress(OSError):
                self.volume.status_below(directory, digests.to_hex(digest), "data", shard)

    def _touch_shard(self, place: Place) -> None:
        with suppress(OSError, NotPermittedError):
            self.volume.names(_path(*place))

    def _names(self, path: str, *, symbolic_links: bool = True) -> list[str]:
        try:
            return self.volume.names(path, symbolic_links=symbolic_links)
        except OSError as error:
            self._note(path, error)
            return []

    def _note(self, path: str, error: OSError) -> None:
        if error.errno == errno.EACCES:
            raise permission_refused(self.volume, path, error) from None
        if error.errno not in ABSENT:
            self.problems.append(Problem("", path, error.strerror or str(error)))


def _path(algorithm: Algorithm, number: int) -> str:
    return f"{BLOBS}/{algorithm.name}/{_DIGITS[number]}"


def _is_immutable(descriptor: int) -> bool:
    """Whether a file may neither be changed nor moved (`chattr +i`, `+a`); no, where the filesystem knows no flags."""
    try:
        flags = fcntl.ioctl(descriptor, _FLAGS_OF_A_FILE, bytes(8))
    except OSError:
        return False
    return bool(int.from_bytes(flags[:4], sys.byteorder) & _IMMUTABLE)
