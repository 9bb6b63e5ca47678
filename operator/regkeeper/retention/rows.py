"""The rows of a plan: what it says of each tag, and of each manifest that no staying tag points to, in little memory.

As named tuples a quarter of a million tags take 60 MB, here 20.
"""

from array import array
from collections.abc import Collection, Container, Iterator, Sequence
from typing import NamedTuple

from regkeeper.retention.digests import Digest
from regkeeper.retention.packed import Packed

_LAST = 2**63 - 1
"""Nanoseconds since 1970: the last time that a column holds, in 2262. Filesystems have later ones."""


class TagRow(NamedTuple):
    """One tag in the plan."""

    tag: str
    digest: Digest | None
    pushed: int
    deleted: bool
    reason: str


class ManifestRow(NamedTuple):
    """One manifest that no staying tag points to."""

    digest: Digest
    deleted: bool
    reason: str


class TagRows(Collection[TagRow]):
    """Rows of tags, in the order in which they were added."""

    __slots__ = ("_digests", "_flags", "_names", "_pushed", "_reasons")

    def __init__(self) -> None:
        self._names, self._digests = Packed(), Packed()
        self._pushed = array("q")
        self._flags = bytearray()
        self._reasons: list[str] = []

    def add(self, rows: Sequence[TagRow], covered: Container[str]) -> None:
        """Add tags; `covered` are those that a rule which deletes selects."""
        self._names.add_all([row.tag.encode("utf-8", "surrogateescape") for row in rows])
        self._digests.add_all([row.digest or b"" for row in rows])
        self._pushed.extend([max(-_LAST, min(row.pushed, _LAST)) for row in rows])
        self._flags.extend([row.deleted | (row.tag in covered) << 1 for row in rows])
        self._reasons.extend([row.reason for row in rows])

    def covered(self) -> Iterator[tuple[Digest, int]]:
        """Digest and push time of each covered tag; one whose link can't be read is never covered."""
        for digest, pushed, flags in zip(self._digests, self._pushed, self._flags, strict=True):
            if flags & 2 and digest:
                yield digest, pushed

    def deleted(self) -> Iterator[tuple[str, Digest | None]]:
        """Name and digest of each tag that goes."""
        for name, digest, flags in zip(self._names, self._digests, self._flags, strict=True):
            if flags & 1:
                yield name.decode("utf-8", "surrogateescape"), digest or None

    @property
    def deleted_count(self) -> int:
        """How many go."""
        return self._flags.count(1) + self._flags.count(3)

    @property
    def newest(self) -> int:
        """The last push time; 0 if there is none."""
        return max(self._pushed, default=0)

    def __len__(self) -> int:
        return len(self._reasons)

    def __iter__(self) -> Iterator[TagRow]:
        columns = (self._names, self._digests, self._pushed, self._flags, self._reasons)
        for name, digest, pushed, flags, reason in zip(*columns, strict=True):
            yield TagRow(name.decode("utf-8", "surrogateescape"), digest or None, pushed, bool(flags & 1), reason)

    def __contains__(self, row: object) -> bool:
        return any(row == mine for mine in self)


class ManifestRows(Collection[ManifestRow]):
    """Rows of manifests, in the order in which they were added."""

    __slots__ = ("_deleted", "_digests", "_reasons")

    def __init__(self) -> None:
        self._digests = Packed()
        self._deleted = bytearray()
        self._reasons: list[str] = []

    def add(self, row: ManifestRow) -> None:
        self._digests.append(row.digest)
        self._deleted.append(row.deleted)
        self._reasons.append(row.reason)

    def __len__(self) -> int:
        return len(self._reasons)

    def __iter__(self) -> Iterator[ManifestRow]:
        for digest, deleted, reason in zip(self._digests, self._deleted, self._reasons, strict=True):
            yield ManifestRow(digest, bool(deleted), reason)

    def __contains__(self, row: object) -> bool:
        return any(row == mine for mine in self)
