"""Very many digests in little memory, by the directories in which their blobs lie.

A million digests in a Python set take 115 MB, here 17 MB; only the shard at hand is ever made a set.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable

from regkeeper.retention.volume.digests import Algorithm, Digest

_REMEMBERED = 17
"""Bytes of a digest in a bag: the algorithm's code and half of a SHA-256."""

_SIZE = 4
"""Bytes of a size."""

_RECENT = 16384
"""Records that are joined at once: buffers that grow one by one would leave the memory in pieces."""


class ShardedRecords:
    """Byte strings that begin with a digest, joined, by the digest's algorithm and first byte."""

    def __init__(self) -> None:
        self._joined: dict[bytes, list[bytes]] = defaultdict(list)
        self._recent: dict[bytes, list[bytes]] = defaultdict(list)
        self._count = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, records: Collection[bytes]) -> None:
        recent = self._recent
        for record in records:
            recent[record[:2]].append(record)
        self._count += len(records)
        self._length += len(records)
        if self._count >= _RECENT:
            self._join()

    def get(self, algorithm: Algorithm, first: int) -> bytes:
        """All records of one shard, joined."""
        self._join()
        return b"".join(self._joined.get(_key(algorithm, first), ()))

    def drop(self, algorithm: Algorithm, first: int) -> None:
        """Forget the records of one shard."""
        self._join()
        self._joined.pop(_key(algorithm, first), None)

    def merge(self, other: "ShardedRecords") -> None:
        """Add all records of another one."""
        self._join()
        other._join()
        for key, parts in other._joined.items():
            self._joined[key].extend(parts)
        self._length += len(other)

    def _join(self) -> None:
        for key, records in self._recent.items():
            self._joined[key].append(b"".join(records))
        self._recent.clear()
        self._count = 0


BEGINNING = 2 * (_REMEMBERED - 1)
"""Hexadecimal digits of a digest in a bag."""


class Shards:
    """A bag of digests of which half is remembered; one that is added twice takes its place twice.

    A digest that shares 16 bytes with one in the bag counts as in it. That is for what must stay: should it ever
    happen, a blob stays that might have gone.
    """

    def __init__(self) -> None:
        self._records = ShardedRecords()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, digests: Iterable[Digest]) -> None:
        self._records.add([digest[:_REMEMBERED] for digest in digests])

    def merge(self, other: "Shards") -> None:
        """Add all digests of another bag."""
        self._records.merge(other._records)

    def beginnings(self, algorithm: Algorithm, first: int) -> set[str]:
        """The first `BEGINNING` hexadecimal digits of the digests of an algorithm that have the first byte `first`.

        A directory's names are found among them in a third of the time that it takes to read digests out of the names.
        """
        joined = self._records.get(algorithm, first).hex()
        return {joined[start : start + BEGINNING] for start in range(2, len(joined), 2 * _REMEMBERED)}

    def among(self, digests: Iterable[Digest], algorithm: Algorithm, first: int) -> set[Digest]:
        """Those of some digests that are in the bag; all are of an algorithm and have the first byte `first`."""
        joined = self._records.get(algorithm, first)
        if not joined:
            return set()
        mine = set(split(joined, _REMEMBERED))
        return {digest for digest in digests if digest[:_REMEMBERED] in mine}


class Sizes:
    """Bytes of blobs, as far as they are known; those of one that is added twice are the same."""

    def __init__(self) -> None:
        self._records = ShardedRecords()

    def add(self, sizes: Iterable[tuple[Digest, int]]) -> None:
        """Add some, each of less than 4 GiB."""
        self._records.add([digest[:_REMEMBERED] + size.to_bytes(_SIZE, "big") for digest, size in sizes])

    def merge(self, other: "Sizes") -> None:
        """Add all that others know."""
        self._records.merge(other._records)

    def by_beginning(self, algorithm: Algorithm, first: int) -> dict[str, int]:
        """The sizes by what `Shards.beginnings` has of their digests."""
        known = split(self._records.get(algorithm, first), _REMEMBERED + _SIZE)
        return {record[1:_REMEMBERED].hex(): int.from_bytes(record[_REMEMBERED:], "big") for record in known}


def _key(algorithm: Algorithm, first: int) -> bytes:
    """How the digests of a shard begin."""
    return algorithm.code + bytes((first,))


def split(joined: bytes, size: int) -> list[bytes]:
    """Joined byte strings of one size."""
    return [joined[start : start + size] for start in range(0, len(joined), size)]
