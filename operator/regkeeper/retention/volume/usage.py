"""How much space each repository takes: alone, shared with others; and what no repository can reach.

Memory: an entry for each distinct blob, some 120 bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from regkeeper.retention.volume.blobs import BlobStore
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import Volume, walk_repositories
from regkeeper.retention.volume.places import QUARANTINE
from regkeeper.retention.volume.repository import Problem
from regkeeper.retention.volume.repository_reader import RepositoryReader

_SHARED = -1


@dataclass(frozen=True, slots=True)
class RepositoryUsage:
    """Bytes of the blobs that a repository's tags, manifests and layer links name."""

    repository: str
    own: int
    """Of those that no other repository names."""
    shared: int
    """Of the others."""


@dataclass(slots=True)
class Usage:
    """The space of a volume, in bytes.

    Attributes:
        repositories: the largest first.
        total: of all blobs.
        unreachable: of blobs that no repository names.
        quarantined: of blobs that runs have deleted and that a purge will free.
        problems: what could not be read, so that the figures may be too low.
    """

    repositories: list[RepositoryUsage] = field(default_factory=list)
    total: int = 0
    unreachable: int = 0
    quarantined: int = 0
    problems: list[Problem] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """`total`, `unreachable`, `quarantined` and, by repository, `own` and `shared`: bytes; and `problems`."""
        return {
            "total": self.total,
            "unreachable": self.unreachable,
            "quarantined": self.quarantined,
            "repositories": [
                {"repository": entry.repository, "own": entry.own, "shared": entry.shared}
                for entry in self.repositories
            ],
            "problems": [problem.document() for problem in self.problems],
        }


def measure(volume: Volume, reader: RepositoryReader) -> Usage:
    """The space that a volume's blobs take.

    Raises:
        NotPermittedError: something may not be read.
    """
    usage = Usage()
    names: list[str] = []
    owners: dict[Digest, int] = {}
    shared: dict[int, list[Digest]] = {}
    for found in walk_repositories(volume):
        if found.problem:
            usage.problems.append(Problem(found.name, found.name, found.problem))
            continue
        repository = reader.read(found.name)
        usage.problems.extend(repository.problems())
        number = len(names)
        names.append(found.name)
        named = repository.layers | repository.unparsed
        named.update(repository.manifests)
        for manifest in repository.manifests.values():
            named.update(manifest.blobs)
        for digest in named:
            first = owners.setdefault(digest, number)
            if first != number:
                shared.setdefault(number, []).append(digest)
                if first != _SHARED:
                    shared.setdefault(first, []).append(digest)
                    owners[digest] = _SHARED
    _add_sizes(volume, usage, names, owners, shared)
    usage.quarantined = quarantined_bytes(volume)
    usage.repositories.sort(key=lambda entry: (-entry.own, -entry.shared, entry.repository))
    return usage


def _add_sizes(
    volume: Volume, usage: Usage, names: list[str], owners: dict[Digest, int], shared: dict[int, list[Digest]]
) -> None:
    own = [0] * len(names)
    sizes: dict[Digest, int] = {}
    store = BlobStore(volume)
    for shard in store.shards():
        for digest, status in store.files(shard.digests):
            usage.total += status.st_size
            owner = owners.get(digest)
            if owner is None:
                usage.unreachable += status.st_size
            elif owner == _SHARED:
                sizes[digest] = status.st_size
            else:
                own[owner] += status.st_size
    usage.problems.extend(store.problems)
    for number, name in enumerate(names):
        with_others = sum(sizes.get(digest, 0) for digest in shared.get(number, ()))
        usage.repositories.append(RepositoryUsage(name, own[number], with_others))


def blob_bytes(volume: Volume) -> int:
    """Bytes of all blobs."""
    store = BlobStore(volume)
    return sum(status.st_size for shard in store.shards() for _, status in store.files(shard.digests))


def quarantined_bytes(volume: Volume) -> int:
    """Bytes of blobs that runs have deleted and that a purge will free."""
    return sum(_sizes_below(volume, QUARANTINE))


def _sizes_below(volume: Volume, path: str) -> Iterator[int]:
    """The size of each `data` in the quarantine: `<run>/<number>/data`."""
    for run in volume.names(path):
        for number in volume.names(f"{path}/{run}"):
            size = volume.size(f"{path}/{run}/{number}/data")
            if size is not None and f"{path}/{run}/{number}" not in volume.returning:
                yield size
