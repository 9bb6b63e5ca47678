"""Looking whether a volume is whole: every tag, every digest that something refers to. Changes nothing."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.beneath import open_file
from regkeeper.retention.volume.blobs import BlobStore
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import (
    ABSENT,
    LAYERS,
    Volume,
    blob_data,
    link_directory,
    permission_refused,
    walk_repositories,
)
from regkeeper.retention.volume.link_contents import LinkContents
from regkeeper.retention.volume.repository import Problem, Repository
from regkeeper.retention.volume.repository_reader import RepositoryReader

_PIECE = 1 << 20


@dataclass(slots=True)
class Inspection:
    """What an inspection found.

    Attributes:
        repositories, tags, manifests, blobs: how many were looked at.
        unlinked_tags: tags that the registry lists and can't serve, for want of a `current/link`.
        deleted_revisions: revision directories without a link, which the API's DELETE leaves.
        sparse_children: children that an index names and its repository never had or has no more.
        foreign_layers: layers that clients fetch from elsewhere and that are not here.
        unreadable_links: links of layers that nothing needs, and of tags' histories, that are empty or malformed.
        missing: what something refers to and is not there.
        unreadable: what can't be read.
        corrupt: blobs whose content has another digest; only `deep` finds those that are no manifests.
    """

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    unlinked_tags: int = 0
    deleted_revisions: int = 0
    sparse_children: int = 0
    foreign_layers: int = 0
    unreadable_links: int = 0
    missing: list[Problem] = field(default_factory=list)
    unreadable: list[Problem] = field(default_factory=list)
    corrupt: list[Problem] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether everything that is referred to is there and can be read."""
        return not (self.missing or self.unreadable or self.corrupt)

    def document(self) -> dict[str, Any]:
        """`whole`, `counts`, and `missing`, `unreadable`, `corrupt`, each `repository`, `where` and `message`."""
        return {
            "whole": self.whole,
            "counts": {
                "repositories": self.repositories,
                "tags": self.tags,
                "manifests": self.manifests,
                "blobs": self.blobs,
                "unlinkedTags": self.unlinked_tags,
                "deletedRevisions": self.deleted_revisions,
                "sparseChildren": self.sparse_children,
                "foreignLayers": self.foreign_layers,
                "unreadableLinks": self.unreadable_links,
            },
            "missing": [problem.document() for problem in self.missing],
            "unreadable": [problem.document() for problem in self.unreadable],
            "corrupt": [problem.document() for problem in self.corrupt],
        }


def inspect(volume: Volume, reader: RepositoryReader, *, deep: bool = False) -> Inspection:
    """Look at every tag and every reference of a volume.

    Args:
        volume: the volume.
        reader: reads its repositories.
        deep: read every blob and compare its content with its digest.

    Raises:
        NotPermittedError: something may not be read.
    """
    answer = Inspection()
    store = BlobStore(volume)
    present: set[Digest] = set()
    for shard in store.shards():
        present.update(digest for digest, _ in store.files(shard.digests))
    answer.blobs = len(present)
    links = LinkContents(volume, reader)
    for found in walk_repositories(volume):
        if found.problem:
            answer.unreadable.append(Problem(found.name, found.name, found.problem))
        else:
            _inspect_repository(answer, reader.read(found.name), present, links)
    answer.unreadable.extend(store.problems)
    if deep:
        answer.corrupt.extend(_wrong_contents(volume, present))
    return answer


def _inspect_repository(answer: Inspection, repository: Repository, present: set[Digest], links: LinkContents) -> None:
    linked, unreadable = links.layers(repository)
    needed = {blob for manifest in repository.manifests.values() for blob in manifest.blobs}
    answer.unreadable_links += len(unreadable - needed) + sum(1 for _ in links.unreadable_history(repository))
    answer.unreadable.extend(
        Problem(repository.name, f"{link_directory(LAYERS, layer)}/link", "it is empty or malformed")
        for layer in sorted(unreadable & needed)
    )
    answer.repositories += 1
    answer.tags += len(repository.tags)
    answer.manifests += len(repository.revisions)
    answer.unlinked_tags += len(repository.unlinked_tags)
    answer.deleted_revisions += len(repository.unlinked)
    answer.unreadable.extend(repository.problems())
    for tag, (digest, _) in sorted(repository.tags.items()):
        if digest is None:
            continue
        if digest in repository.missing:
            answer.missing.append(_missing(repository, f"tag {tag}", "manifest", digest))
        elif digest not in repository.revisions and digest not in repository.corrupt:
            answer.missing.append(_missing(repository, f"tag {tag}", "revision link of", digest))
    for digest in sorted(repository.missing & repository.revisions.keys()):
        answer.missing.append(_missing(repository, "a revision", "manifest", digest))
    for digest, manifest in sorted(repository.manifests.items()):
        where = f"manifest {digests.to_text(digest)}"
        answer.sparse_children += sum(child not in repository.revisions for child in manifest.children)
        for blob in dict.fromkeys(manifest.blobs):
            is_present = repository.aliases.get(blob, blob) in present
            if is_present and blob in linked:
                continue
            if blob in manifest.foreign:
                answer.foreign_layers += 1
            elif not manifest.children:
                what = "layer link of" if is_present else "blob"
                answer.missing.append(_missing(repository, where, what, blob))


def _missing(repository: Repository, where: str, what: str, digest: Digest) -> Problem:
    return Problem(repository.name, where, f"{what} {digests.to_text(digest)} is missing")


def _wrong_contents(volume: Volume, present: set[Digest]) -> Iterator[Problem]:
    for digest in sorted(present):
        path = blob_data(digest)
        hasher = digests.hasher(digests.algorithm_of(digest))
        try:
            descriptor = open_file(volume.descriptor, volume.place(path))
        except PermissionError as error:
            raise permission_refused(volume, path, error) from None
        except OSError as error:
            if error.errno not in ABSENT:
                yield Problem("", path, error.strerror or str(error))
            continue
        try:
            while piece := os.read(descriptor, _PIECE):
                hasher.update(piece)
        except OSError as error:
            yield Problem("", path, error.strerror or str(error))
            continue
        finally:
            os.close(descriptor)
        if hasher.digest() != digest[1:]:
            yield Problem("", path, f"its content has the digest {hasher.hexdigest()}")
