"""The rows of a plan: what it says of each tag, and of each manifest that no staying tag points to, in little memory.

As named tuples a quarter of a million tags take 60 MB, here 20.
"""

from array import array
from collections.abc import Collection, Container, Iterator, Mapping
from itertools import compress
from typing import NamedTuple

from regkeeper.natural_order import natural_key
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.packed import Packed
from regkeeper.retention.volume.repository import Tag

_LAST = 2**63 - 1
"""Nanoseconds since 1970: the last time that a column holds, in 2262. Filesystems have later ones."""

_GOES = bytes(flags & 1 for flags in range(256))


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
    """Rows of the tags of one repository, in the order in which people expect them.

    Args:
        tags: the tags by name.
        verdicts: whether each goes, and why.
        covered: those that a rule which deletes selects.
    """

    __slots__ = ("_digests", "_flags", "_names", "_pushed", "_reasons")

    def __init__(
        self, tags: Mapping[str, Tag], verdicts: Mapping[str, tuple[bool, str]], covered: Container[str]
    ) -> None:
        names = sorted(tags, key=natural_key)
        ordered = [tags[name] for name in names]
        self._names = "/".join(names)
        self._digests = Packed()
        self._digests.add_all([digest or b"" for digest, _ in ordered])
        self._pushed = array("q", [max(-_LAST, min(link.pushed, _LAST)) for _, link in ordered])
        judged = [verdicts[name] for name in names]
        self._reasons = [reason for _, reason in judged]
        # The link of one that can't be read tells neither digest nor time: it counts for no limit.
        counted = [2 if name in covered and tags[name].digest is not None else 0 for name in names]
        self._flags = bytes([goes | counts for (goes, _), counts in zip(judged, counted, strict=True)])

    @property
    def names(self) -> list[str]:
        """All names."""
        return self._names.split("/") if self._flags else []

    def covered(self) -> Iterator[tuple[Digest, int]]:
        """Digest and push time of each covered tag whose link can be read."""
        for digest, pushed, flags in zip(self._digests, self._pushed, self._flags, strict=True):
            if flags & 2:
                yield digest, pushed

    def covered_times(self) -> list[int]:
        """The push times alone."""
        return [pushed for pushed, flags in zip(self._pushed, self._flags, strict=True) if flags & 2]

    def deleted(self) -> Iterator[tuple[str, Digest | None]]:
        """Name and digest of each tag that goes."""
        if self.deleted_count:
            for name, digest, flags in zip(self.names, self._digests, self._flags, strict=True):
                if flags & 1:
                    yield name, digest or None

    def shown(self) -> Iterator[tuple[str, int, int, str]]:
        """Name, push time, whether it goes, and why, of each."""
        going = self._flags.translate(_GOES)
        return zip(self.names, self._pushed, going, self._reasons, strict=True)

    @property
    def deleted_count(self) -> int:
        """How many go."""
        return self._flags.count(1) + self._flags.count(3)

    @property
    def newest(self) -> int:
        """The last push time; 0 if there is none."""
        return max(self._pushed, default=0)

    def __len__(self) -> int:
        return len(self._flags)

    def __iter__(self) -> Iterator[TagRow]:
        for (name, pushed, goes, reason), digest in zip(self.shown(), self._digests, strict=True):
            yield TagRow(name, digest or None, pushed, bool(goes), reason)

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

    def deleted(self) -> Iterator[Digest]:
        """Those that go."""
        return compress(self._digests, self._deleted)

    def shown(self) -> Iterator[tuple[Digest, int, str]]:
        """Digest, whether it goes, and why, of each."""
        return zip(self._digests, self._deleted, self._reasons, strict=True)

    def __len__(self) -> int:
        return len(self._reasons)

    def __iter__(self) -> Iterator[ManifestRow]:
        for digest, deleted, reason in self.shown():
            yield ManifestRow(digest, bool(deleted), reason)

    def __contains__(self, row: object) -> bool:
        return any(row == mine for mine in self)
