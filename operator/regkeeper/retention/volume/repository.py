"""One repository as the volume has it: tags, revisions, manifests, layer links, and what of it can't be read."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct, field

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.manifest import Manifest, Shape

TAG_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Link(NamedTuple):
    """Facts about a link file."""

    pushed: int
    """mtime, nanoseconds since the epoch."""
    inode: int
    changed: int
    """ctime, nanoseconds since the epoch: no re-push in place and no copy can keep it."""

    @property
    def witness(self) -> tuple[int, int]:
        return self.inode, self.changed


NO_LINK = Link(0, 0, 0)


class Tag(NamedTuple):
    """A tag with its `current/link`."""

    digest: Digest | None
    """None: the link is empty or malformed."""
    link: Link


UNLINKED = Tag(None, NO_LINK)
"""A tag that has a directory and no `current/link`."""


class Problem(Struct, frozen=True):
    """Something that can't be read, or is not as it should be."""

    repository: str
    where: str
    message: str

    def __str__(self) -> str:
        return (
            f"{self.repository}: {self.where}: {self.message}" if self.repository else f"{self.where}: {self.message}"
        )

    def document(self) -> dict[str, str]:
        """As a JSON object."""
        return {"repository": self.repository, "where": self.where, "message": self.message}


class Repository(Struct):
    """What one repository holds.

    Attributes:
        tags: every tag that has a `current/link`, the unreadable ones too.
        unlinked_tags: directories of tags without one; the registry still lists them.
        revisions: digests with a `link` in `_manifests/revisions`.
        unlinked: digests with a directory there but no `link`: deleted through the API.
        manifests: of each revision, of each tag's digest, and of each child that only a layer link names, whose `data`
            could be read and verified.
        missing: those that have no `data`.
        corrupt: those whose `data`, or whose revision link, can't be read, with the reason.
        layers: digests with a directory in `_layers`.
        redirected: those of them whose directory is a symbolic link, which is not followed.
        aliases: digests of layer links of another algorithm, with the digest that the blob has: a registry keeps what
            was pushed as `sha512:…` under its SHA-256, and links both names to that.
        unparsed: blobs that links name which are not read here: layer links whose own digest is of an algorithm that
            nobody knows, and those of signatures of schema 1.
        uploading: an upload has been begun and not ended.
        unreadable: further things that can't be read; like a corrupt manifest and an unreadable tag they pin the
            repository.
        opaque: a directory could not be listed, so that what the repository needs is not known.
    """

    name: str
    tags: dict[str, Tag] = field(default_factory=dict)
    unlinked_tags: set[str] = field(default_factory=set)
    revisions: dict[Digest, Link] = field(default_factory=dict)
    unlinked: set[Digest] = field(default_factory=set)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    missing: set[Digest] = field(default_factory=set)
    corrupt: dict[Digest, str] = field(default_factory=dict)
    layers: set[Digest] = field(default_factory=set)
    redirected: set[Digest] = field(default_factory=set)
    aliases: dict[Digest, Digest] = field(default_factory=dict)
    unparsed: set[Digest] = field(default_factory=set)
    uploading: bool = False
    unreadable: list[Problem] = field(default_factory=list)
    opaque: bool = False

    @property
    def listed_tags(self) -> dict[str, Tag]:
        """The tags that the registry lists: those too that have no link."""
        return self.tags | dict.fromkeys(self.unlinked_tags, UNLINKED)

    def is_index(self, digest: Digest) -> bool:
        """Whether it is a manifest that lists others."""
        manifest = self.manifests.get(digest)
        return manifest is not None and manifest.shape is Shape.INDEX

    @property
    def is_headless(self) -> bool:
        """Whether it has layers and nothing that could need them: a push under way, or half of a copy."""
        has_manifests = self.tags or self.unlinked_tags or self.revisions or self.unlinked or self.corrupt
        return bool(self.layers) and not has_manifests

    def note_alias(self, name: str, target: Digest) -> None:
        """Note that a layer link `alg:hex` names a blob."""
        digest = digests.parse(name)
        if digest is None:
            self.unparsed.add(target)
        elif digest != target:
            self.aliases[digest] = target

    def problems(self) -> Iterator[Problem]:
        """Everything that can't be read; it pins the repository, save a manifest's subject, which keeps that alone."""
        yield from self.unreadable
        for tag, (digest, _) in self.tags.items():
            if digest is None:
                yield Problem(self.name, f"tag {tag}", "its link is empty or malformed")
        for digest, message in self.corrupt.items():
            yield Problem(self.name, f"manifest {digests.to_text(digest)}", message)
        for digest, manifest in self.manifests.items():
            if manifest.subject == digests.UNREADABLE_SUBJECT:
                yield Problem(self.name, f"manifest {digests.to_text(digest)}", "its subject can't be read")
