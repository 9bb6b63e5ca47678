"""Looks once more, just before a purge, whether anything on the volume needs what is about to be freed.

Independent of the plan that moved it: it reads every repository as it is now. A layer or revision link, a tag, or a
manifest that names a blob in the quarantine makes it needed; so does an image in use, and an image in the quarantine
of another run that can still be undone.
"""

from collections.abc import Container, Iterator

from regkeeper.retention.errors import UnverifiedError
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.quarantine.contents import Contents, Entry, Image
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import walk_repositories
from regkeeper.retention.volume.links import LinkTimes
from regkeeper.retention.volume.repository import Repository
from regkeeper.retention.volume.repository_reader import RepositoryReader


def needed_again(volume: WritableVolume, contents: Contents) -> list[Entry]:
    """What the quarantine has of what the volume's repositories need as they are now: blobs, and links of their images.

    A registry that takes a push may have looked for layers just before they went, or remembers them; it writes no
    link to what it found.

    Raises:
        UnverifiedError: a part of the volume can't be read, so that nobody knows.
    """
    if not (contents.blobs or contents.layers or contents.revisions):
        return []
    reader = RepositoryReader(volume)
    needed: set[Digest] = set()
    images: list[Image] = []
    for found in walk_repositories(volume):
        if found.problem:
            raise UnverifiedError(
                f"repositories/{found.name}: {found.problem}; nothing is purged while it can't be read"
            )
        repository = reader.read(found.name)
        if repository.opaque:
            problem = repository.unreadable[-1]
            raise UnverifiedError(f"{problem}; nothing is purged while it can't be read")
        needed.update(_named(volume, repository, contents))
        images += _incomplete(repository, contents)
        contents.aliases.update(repository.aliases)
    blobs = [contents.blobs[digest] for digest in contents.references(needed) if digest in contents.blobs]
    return [*blobs, *contents.needs(images, dependants=False).entries()]


def _named(volume: WritableVolume, repository: Repository, contents: Contents) -> Iterator[Digest]:
    quarantined = contents.blobs
    yield from LinkTimes(volume).present(repository, repository.layers & quarantined.keys())
    yield from (digest for digest in (*repository.aliases.values(), *repository.unparsed) if digest in quarantined)
    yield from (digest for digest in repository.revisions if digest in quarantined)
    yield from (tag.digest for tag in repository.tags.values() if tag.digest in quarantined and tag.digest is not None)
    for manifest in repository.manifests.values():
        yield from (digest for digest in manifest.blobs if digest in quarantined)


def _incomplete(repository: Repository, contents: Contents) -> Iterator[Image]:
    """Manifests of a repository that are there, or that a tag names, of whose links the quarantine has some."""
    there = {*repository.revisions, *(tag.digest for tag in repository.tags.values() if tag.digest is not None)}
    for digest in there:
        manifest = contents.manifest(digest) if digest in contents.blobs else repository.manifests.get(digest)
        below = (*manifest.blobs, *manifest.children) if manifest is not None else ()
        links = (Image(repository.name, name) for name in (digest, *below))
        if any(link in contents.revisions or link in contents.layers for link in links):
            yield Image(repository.name, digest)


def used_again(in_use: InUse, contents: Contents, runs: Container[str]) -> tuple[list[Entry], set[Image]]:
    """Tags and images that some runs have in the quarantine and somebody uses.

    Args:
        in_use: What is used.
        contents: Of these runs and of all others that may have a part of their images. What a later one of the others
            has too is not asked about: its tag is of a newer push.
        runs: Those that are asked about.

    Returns:
        The entries of tags, and the images, those of the tags among them.
    """
    tagged = {key: contents.tagged(entry) for key, entry in contents.tags.items() if entry.run in runs}
    # A purge that was interrupted may have brought a manifest back already, and not yet the tag.
    known = {image for image in tagged.values() if image is not None}
    known.update(image for image, entry in contents.revisions.items() if entry.run in runs)
    images = {image for image in known if _is_used(image, contents, in_use)}
    named = {key for key in tagged.keys() & in_use.tags.keys() if not contents.is_pushed_again(contents.tags[key])}
    images.update(image for key in named if (image := tagged[key]) is not None)
    tags = [contents.tags[key] for key, image in tagged.items() if key in named or image in images]
    return tags, images


def names_of_use(contents: Contents) -> tuple[set[tuple[str, str]], set[Digest]]:
    """All tags, by repository, and digests of which `used_again` finds something if one of them is in use."""
    tagged = map(contents.tagged, contents.tags.values())
    known = {*contents.revisions, *(image for image in tagged if image is not None)}
    return set(contents.tags), {name for image in known for name in _names(image, contents)}


def _is_used(image: Image, contents: Contents, in_use: InUse) -> bool:
    return any(
        name in in_use.anywhere or (image.repository, name) in in_use.manifests for name in _names(image, contents)
    )


def _names(image: Image, contents: Contents) -> Iterator[Digest]:
    """A runtime reports the index, the platform's manifest or the config; each stands for the whole, as in a plan."""
    waiting, seen = [image.digest], {image.digest}
    while waiting:
        digest = waiting.pop()
        yield digest
        manifest = contents.manifest(digest)
        if manifest is not None:
            below = {*manifest.children} - seen
            waiting += below
            seen |= below
            if manifest.config:
                yield manifest.config


def held_by_other_runs(contents: Contents, runs: Container[str]) -> list[Entry]:
    """Entries of some runs that images of another one need, so that that one can be undone: links and blobs.

    Args:
        contents: Of all these runs; of two equal things that of another run counts.
        runs: Those that are about to be purged.
    """
    images = {image for image, entry in contents.revisions.items() if entry.run not in runs}
    images.update(
        image for entry in contents.every_tag if entry.run not in runs and (image := contents.tagged(entry)) is not None
    )
    return [entry for entry in contents.needs(images, dependants=False).entries() if entry.run in runs]
