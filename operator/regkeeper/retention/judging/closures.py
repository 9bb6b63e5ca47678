"""What is below manifests: the children of indexes that the same repository has."""

from collections.abc import Iterable, Iterator

from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.manifest import Shape
from regkeeper.retention.volume.repository import Repository


def closure(
    repository: Repository, roots: Iterable[Digest], *, mentions: bool = True
) -> Iterator[tuple[Digest, Digest]]:
    """Every manifest of the repository below the roots, with its parent; what is in `roots` is not repeated.

    Args:
        repository: the repository.
        roots: where to begin.
        mentions: whether what a manifest of an unknown kind mentions counts as its children.
    """
    seen = set(roots)
    waiting = list(roots)
    while waiting:
        parent = waiting.pop()
        manifest = repository.manifests.get(parent)
        if manifest is None or not manifest.children or (manifest.shape is Shape.UNKNOWN and not mentions):
            continue
        for child in manifest.children:
            if child not in seen and (child in repository.revisions or child in repository.manifests):
                seen.add(child)
                waiting.append(child)
                yield child, parent
