"""What was read of one repository, as bytes that stand for it as long as none of its files changed.

A record says of each directory and file that was read which one it was: inode, mtime and ctime, which no push, no
deletion and no copy leaves as they were. What it says of manifests was read from contents of the right digest.

    6 bytes     magic and version
    32 bytes    SHA-256 of the rest
    the rest    MessagePack of `Record`
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Annotated, NamedTuple

import msgspec

from regkeeper.retention.volume.digests import ALGORITHMS, Digest
from regkeeper.retention.volume.layout import LAYERS, MANIFEST_LIMIT, REVISIONS, TAGS
from regkeeper.retention.volume.manifest import Manifest, Shape
from regkeeper.retention.volume.repository import NO_LINK, TAG_NAME, Link, Repository, Tag

MAGIC = b"rkrec\x04"
"""The last byte is the version; a record of another is not read."""

DIRECTORIES = (TAGS, LAYERS, *(f"{parent}/{name}" for parent in (REVISIONS, LAYERS) for name in ALGORITHMS))
"""The directories of a repository that are listed."""

_DIGESTS = {(algorithm.code[0], algorithm.size) for algorithm in ALGORITHMS.values()}
_HEAD = len(MAGIC) + hashlib.sha256().digest_size

_Index = Annotated[int, msgspec.Meta(ge=0)]


class NotARecordError(ValueError):
    """The bytes are no record, or not of this version."""


class _Tag(NamedTuple):
    name: str
    digest: _Index
    link: Link


class _Revision(NamedTuple):
    digest: _Index
    link: Link


class _Manifest(NamedTuple):
    digest: _Index
    data: Link
    shape: Shape
    size: Annotated[int, msgspec.Meta(ge=0, le=MANIFEST_LIMIT)]
    config: _Index | None
    blobs: list[_Index]
    children: list[_Index]
    subject: _Index | None
    attestations: list[_Index]
    foreign: list[_Index]


class _Blob(NamedTuple):
    digest: _Index
    data: Link


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One repository. Digests are in `digests` once, elsewhere their positions; the first `layers` have layer links.

    `directories` are those of `DIRECTORIES`, NO_LINK for an absent one.
    """

    name: str
    directories: list[Link]
    digests: list[Digest]
    layers: _Index
    tags: list[_Tag]
    unlinked_tags: list[str]
    revisions: list[_Revision]
    unlinked: list[_Index]
    manifests: list[_Manifest]
    missing: list[_Index]
    blobs: list[_Blob]
    """Children of an index that were looked at and are no manifests."""

    def data(self) -> Iterator[tuple[Digest, Link]]:
        """Of each manifest, and what might have been one, which file was read; NO_LINK: there was none."""
        for manifest in self.manifests:
            yield self.digests[manifest.digest], manifest.data
        for blob in self.blobs:
            yield self.digests[blob.digest], blob.data
        for position in self.missing:
            yield self.digests[position], NO_LINK

    def repository(self) -> Repository:
        """The repository as it was read."""
        of = self.digests.__getitem__
        return Repository(
            self.name,
            tags={name: Tag(of(digest), link) for name, digest, link in self.tags},
            unlinked_tags=set(self.unlinked_tags),
            revisions={of(digest): link for digest, link in self.revisions},
            unlinked=set(map(of, self.unlinked)),
            manifests={of(entry.digest): self._manifest(entry) for entry in self.manifests},
            missing=set(map(of, self.missing)),
            layers=set(self.digests[: self.layers]),
        )

    def _manifest(self, entry: _Manifest) -> Manifest:
        _, _, shape, size, config, blobs, children, subject, attestations, foreign = entry
        of = self.digests.__getitem__
        return Manifest(
            shape,
            size,
            None if config is None else of(config),
            tuple(map(of, blobs)),
            tuple(map(of, children)) if children else (),
            None if subject is None else of(subject),
            tuple(map(of, attestations)) if attestations else (),
            tuple(map(of, foreign)) if foreign else (),
        )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


def encode(repository: Repository, directories: list[Link], data: Mapping[Digest, Link]) -> bytes:
    """A record of a repository of which everything could be read.

    Args:
        repository: the repository.
        directories: which those of `DIRECTORIES` were.
        data: of each of its manifests, and of each child that was taken for one, which file was read.
    """
    layers = sorted(repository.layers)
    positions = {digest: number for number, digest in enumerate(layers)}

    def at(digest: Digest) -> int:
        return positions.setdefault(digest, len(positions))

    def every(some: Iterable[Digest]) -> list[int]:
        return [at(digest) for digest in some]

    def optional(digest: Digest | None) -> int | None:
        return None if digest is None else at(digest)

    tags = [_Tag(name, at(tag.digest), tag.link) for name, tag in repository.tags.items() if tag.digest is not None]
    revisions = [_Revision(at(digest), link) for digest, link in repository.revisions.items()]
    manifests = [
        _Manifest(
            at(digest),
            data[digest],
            manifest.shape,
            manifest.size,
            optional(manifest.config),
            every(manifest.blobs),
            every(manifest.children),
            optional(manifest.subject),
            every(manifest.attestations),
            every(manifest.foreign),
        )
        for digest, manifest in sorted(repository.manifests.items())
    ]
    unlinked, missing = every(sorted(repository.unlinked)), every(sorted(repository.missing))
    blobs = [_Blob(at(digest), link) for digest, link in data.items() if digest not in repository.manifests]
    unlinked_tags = sorted(repository.unlinked_tags)
    body = _encode(
        Record(
            repository.name,
            directories,
            list(positions),
            len(layers),
            tags,
            unlinked_tags,
            revisions,
            unlinked,
            manifests,
            missing,
            blobs,
        )
    )
    return MAGIC + hashlib.sha256(body).digest() + body


def decode(content: bytes) -> tuple[Record, Repository]:
    """The record that the bytes are, and the repository that it tells of.

    Raises:
        NotARecordError: they are none, whatever else they are.
    """
    if content[: len(MAGIC)] != MAGIC:
        raise NotARecordError("no record of this version")
    body = content[_HEAD:]
    if hashlib.sha256(body).digest() != content[len(MAGIC) : _HEAD]:
        raise NotARecordError("damaged")
    try:
        record = _decode(body)
        sound = (
            set(zip(map(itemgetter(0), record.digests), map(len, record.digests), strict=True)) <= _DIGESTS
            and all(map(TAG_NAME.fullmatch, [*map(itemgetter(0), record.tags), *record.unlinked_tags]))
            and len(record.directories) == len(DIRECTORIES)
            and record.layers <= len(record.digests)
        )
        repository = record.repository()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError) as error:
        raise NotARecordError(str(error)) from None
    if not sound:
        raise NotARecordError("it contradicts itself")
    return record, repository
