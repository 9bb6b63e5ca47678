"""Who uses which manifest of a repository."""

from collections import defaultdict

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
    below: dict[Digest, str] = {}
    for child, parent in closure(repository, used):
        below[child] = used.get(parent) or below[parent]
    parents: dict[Digest, list[Digest]] = defaultdict(list)
    for digest, manifest in repository.manifests.items():
        for child in manifest.children:
            parents[child].append(digest)
    above = {child: user for child in parents if (user := used.get(child) or user_of(child)) is not None}
    waiting = list(above)
    while waiting:  # each once: anybody may push thousands of indexes that list each other
        child = waiting.pop()
        for parent in parents.get(child, ()):
            if parent not in used:
                used[parent] = above[parent] = above[child]
                waiting.append(parent)
    return {**below, **used}
