"""The moves of one plan in their order and in little memory.

A plan can move millions of things. As objects with their paths each takes half a kilobyte, here some sixty bytes;
a `Move` is made when it is asked for.
"""

from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, repeat

from regkeeper.retention.quarantine.moves import Kind, Move
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import (
    LAYERS,
    REVISIONS,
    TAGS,
    UPLOADS,
    blob_directory,
    link_directory,
    repository_path,
)
from regkeeper.retention.volume.packed import Packed

_LINKS = {Kind.INDEX_REVISION: REVISIONS, Kind.REVISION: REVISIONS, Kind.LAYER_LINK: LAYERS}
_BLOBS = (Kind.BLOB, Kind.MANIFEST_BLOB, Kind.LEFTOVER)
_SIZED = (*_BLOBS, Kind.TEMPORARY, Kind.UPLOAD)
"""What frees bytes when it is purged."""
_PARENTS = {Kind.TAG: f"{TAGS}/", Kind.UPLOAD: f"{UPLOADS}/", Kind.REPOSITORY: ""}


NO_WITNESS = (0, 0)


def encoded(name: str) -> bytes:
    """A name as the volume has it."""
    return name.encode("utf-8", "surrogateescape")


class PlannedMoves(Collection[Move]):
    """Moves by kind, references before what they refer to; within a kind they stay as they were added."""

    def __init__(self) -> None:
        self._of = {kind: _Moves(kind) for kind in Kind}

    def add(
        self,
        kind: Kind,
        repository: str,
        names: Sequence[bytes],
        witnesses: Sequence[tuple[int, int]],
        *,
        sizes: Sequence[int] = (),
        digests: Sequence[Digest] = (),
    ) -> None:
        """Add moves of one kind in one repository.

        Args:
            kind: what is moved.
            repository: empty for blobs.
            names: digests of blobs, revisions and layer links; of anything else the name, see `encoded`.
            witnesses: inode and ctime of each; NO_WITNESS for none.
            sizes: bytes of each, of what frees some when it is purged.
            digests: of tags, what each points to; empty for one that can't be read.
        """
        if names:
            self._of[kind].add(repository, names, witnesses, sizes, digests)

    def add_temporary(self, digest: Digest, name: str, witness: tuple[int, int], *, size: int) -> None:
        """Add a file beside the `data` of a blob."""
        self.add(Kind.TEMPORARY, "", [digest + encoded(name)], [witness], sizes=[size])

    def extend(self, other: "PlannedMoves") -> None:
        """Add those of another plan, within each kind behind."""
        for kind, moves in self._of.items():
            moves.extend(other._of[kind])

    def count(self, *kinds: Kind) -> int:
        """How many are of these kinds."""
        return sum(len(self._of[kind]) for kind in kinds)

    def bytes(self, *kinds: Kind) -> int:
        """The bytes of all moves, or of those of some kinds."""
        return sum(sum(self._of[kind].sizes) for kind in kinds or Kind)

    def of(self, kind: Kind) -> Iterator[Move]:
        """The moves of one kind."""
        return iter(self._of[kind])

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def __iter__(self) -> Iterator[Move]:
        for kind in Kind:
            yield from self._of[kind]

    def __contains__(self, move: object) -> bool:
        return any(move == mine for mine in self)


class _Moves:
    """The moves of one kind, a column for each field. NO_WITNESS has the inode 0."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.repositories: list[str] = []
        self.following = array("I")  # how many moves of each repository follow one another
        self.names = Packed()
        self.digests = Packed()
        self.sizes, self.inodes, self.changes = array("Q"), array("Q"), array("q")

    def add(
        self,
        repository: str,
        names: Sequence[bytes],
        witnesses: Sequence[tuple[int, int]],
        sizes: Sequence[int],
        digests: Sequence[Digest],
    ) -> None:
        if self.repositories and self.repositories[-1] == repository:
            self.following[-1] += len(names)
        else:
            self.repositories.append(repository)
            self.following.append(len(names))
        self.names.add_all(names)
        self.inodes.extend([inode for inode, _ in witnesses])
        self.changes.extend([changed for _, changed in witnesses])
        self.sizes.extend(sizes)
        self.digests.add_all(digests)

    def extend(self, other: "_Moves") -> None:
        self.repositories.extend(other.repositories)
        self.following.extend(other.following)
        self.names.extend(other.names)
        self.digests.extend(other.digests)
        self.sizes.extend(other.sizes)
        self.inodes.extend(other.inodes)
        self.changes.extend(other.changes)

    def __len__(self) -> int:
        return len(self.inodes)

    def __iter__(self) -> Iterator[Move]:
        repositories = chain.from_iterable(map(repeat, self.repositories, self.following))
        sizes = self.sizes if self.kind in _SIZED else repeat(0, len(self))
        tags = self.digests if self.kind is Kind.TAG else repeat(b"", len(self))
        columns = (repositories, self.names, sizes, self.inodes, self.changes, tags)
        for repository, name, size, inode, changed, digest in zip(*columns, strict=True):
            path, shown = self._place(repository, name)
            witness = (inode, changed) if inode else None
            yield Move(self.kind, path, repository, shown, size, witness, digests.to_text(digest) if digest else "")

    def _place(self, repository: str, name: bytes) -> tuple[str, str]:
        """The path of what is moved, and its name for people."""
        if self.kind in _BLOBS:
            return blob_directory(name), digests.to_text(name)
        if self.kind is Kind.TEMPORARY:
            size = digests.algorithm_of(name).size
            file = name[size:].decode("utf-8", "surrogateescape")
            return f"{blob_directory(name[:size])}/{file}", digests.to_text(name[:size])
        path = repository_path(repository)
        if self.kind in _LINKS:
            return f"{path}/{link_directory(_LINKS[self.kind], name)}", digests.to_text(name)
        text = name.decode("utf-8", "surrogateescape")
        return f"{path}/{_PARENTS[self.kind]}{text}", text
