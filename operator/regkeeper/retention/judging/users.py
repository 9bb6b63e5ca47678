"""Who uses which manifest of a repository."""

from collections.abc import Iterator, Mapping

from regkeeper.retention.judging.closures import closure
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.repository import Repository


def users_of_manifests(in_use: InUse, repository: Repository) -> dict[Digest, str]:
    """Who uses which manifest of a repository: what is named, its children, and the indexes that list it.

    An index counts even if the child in use is not in the repository: a sparse copy still serves other platforms.
    """
    if not in_use.manifests and not in_use.anywhere:
        return {}

    def user_of(digest: Digest | None) -> str | None:
        if digest is None:
            return None
        return in_use.manifests.get((repository.name, digest)) or in_use.anywhere.get(digest)

    used: dict[Digest, str] = {}
    for digest in (*repository.manifests, *repository.missing, *repository.corrupt):
        manifest = repository.manifests.get(digest)
        user = user_of(digest) or user_of(manifest.config if manifest else None)
        if user is not None:
            used[digest] = user
    below = {child: used[parent] for child, parent in _with_users(repository, used)}
    indexes = [(digest, manifest.children) for digest, manifest in repository.manifests.items() if manifest.children]
    growing = True
    while growing:
        growing = False
        for digest, children in indexes:
            user = next((user for child in children if (user := used.get(child) or user_of(child))), None)
            if digest not in used and user is not None:
                used[digest] = user
                growing = True
    return {**below, **used}


def _with_users(repository: Repository, used: Mapping[Digest, str]) -> Iterator[tuple[Digest, Digest]]:
    """Everything below the manifests in use, with the one in use that it is below."""
    for root in used:
        for child, _ in closure(repository, [root]):
            yield child, root
