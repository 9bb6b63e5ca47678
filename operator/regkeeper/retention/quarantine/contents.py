"""What the quarantine holds of some runs, to be looked up by what it is, and what an image needs of it."""

import errno
import os
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

from regkeeper.retention.errors import StorageError
from regkeeper.retention.quarantine.journal import State
from regkeeper.retention.quarantine.journals import Journals
from regkeeper.retention.quarantine.moves import Kind, Move
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.beneath import open_file
from regkeeper.retention.volume.digests import Digest, Subject
from regkeeper.retention.volume.layout import (
    ABSENT,
    LAYERS,
    MANIFEST_LIMIT,
    REVISIONS,
    Volume,
    blob_data,
    link_directory,
    read_file,
    read_link,
    repository_path,
)
from regkeeper.retention.volume.manifest import CorruptManifestError, Manifest, Shape, parse_manifest
from regkeeper.retention.volume.places import run_directory

UNDOABLE = frozenset({State.DONE, State.RESTORING, State.PURGING})
"""States of a run whose entries can come back; of a purge that was interrupted, what it has not freed yet."""

NAMES_OF_IMAGES = frozenset({Kind.TAG, Kind.INDEX_REVISION, Kind.REVISION})


class Entry(NamedTuple):
    """One renamed thing."""

    run: str
    number: int
    move: Move

    @property
    def path(self) -> str:
        """Where it is now."""
        return f"{run_directory(self.run)}/{self.number}"


class Image(NamedTuple):
    """A manifest in a repository."""

    repository: str
    digest: Digest


class Needs(NamedTuple):
    """What has to come back so that some images are whole."""

    generations: list[list[Entry]]
    """Dependants before their subjects, so the images themselves come last: wherever a crash stops it, what is still in
    the quarantine leads to the rest."""
    images: set[Image]
    """These images, what is below them, and their dependants."""

    def entries(self) -> Iterator[Entry]:
        for generation in self.generations:
            yield from generation


class Contents:
    """An index of what some runs have in the quarantine now; of two equal things the last named run's counts.

    Attributes:
        tags: by repository and tag.
        every_tag: those too that a later run took again, in the order of the runs; first those that point to nothing.
        revisions: by repository and digest of the manifest.
        layers: by repository and digest of the layer or config.
        blobs: by digest, manifests too.
        aliases: of digests under which content was pushed and is not kept, those of the blobs; see `Repository`.
    """

    def __init__(
        self, volume: Volume, journals: Journals, runs: Iterable[str], kinds: Collection[Kind] | None = None
    ) -> None:
        """Read what some runs have there, of all kinds or only of some: each entry takes most of a kilobyte."""
        self._volume = volume
        self.every_tag: list[Entry] = []
        self.revisions: dict[Image, Entry] = {}
        self.layers: dict[Image, Entry] = {}
        self.blobs: dict[Digest, Entry] = {}
        self.aliases: dict[Digest, Digest] = {}
        for run in runs:
            there = set(volume.names(run_directory(run)))
            if not there:  # a year of journals tells of runs that are freed
                continue
            some = None if kinds is None else chain.from_iterable(journals.moves_of(run, kind) for kind in kinds)
            for number, move in journals.moves(run) if some is None else some:
                if str(number) in there:
                    self._add(Entry(run, number, move))
        # What a failed push has left points to nothing, and stands for no tag that does.
        self.every_tag.sort(key=lambda entry: entry.move.digest != "")
        self.tags = {(entry.move.repository, entry.move.name): entry for entry in self.every_tag}
        self._dependants: dict[Subject, list[tuple[Image, Entry | None]]] | None = None

    def _add(self, entry: Entry) -> None:
        move = entry.move
        digest = digests.parse(move.name)
        if move.kind == Kind.TAG:
            self.every_tag.append(entry)
        elif digest is None:
            return
        elif move.kind in (Kind.REVISION, Kind.INDEX_REVISION):
            self.revisions[Image(move.repository, digest)] = entry
        elif move.kind == Kind.LAYER_LINK:
            self.layers[Image(move.repository, digest)] = entry
            self._note_alias(digest, f"{entry.path}/link")
        elif move.kind in (Kind.BLOB, Kind.MANIFEST_BLOB):
            self.blobs[digest] = entry

    def _note_alias(self, digest: Digest, link: str) -> None:
        """Note which blob a layer link names, unless it is the one that it is called."""
        if digests.algorithm_of(digest) is digests.SHA256 or digest in self.aliases:
            return
        with suppress(OSError):
            content, _ = read_link(self._volume.descriptor, link)
            target = digests.parse(content.decode("ascii", "replace"))
            if target is not None:
                self.aliases[digest] = target

    def _blobs(self, image: Image) -> list[Digest]:
        """What an image refers to, by all names, save its children."""
        manifest = self.manifest(image.digest)
        named = [image.digest, *(manifest.blobs if manifest is not None else ())]
        for digest in named:
            self._note_alias(digest, _link(LAYERS, Image(image.repository, digest)))
        return [*named, *(self.aliases[digest] for digest in named if digest in self.aliases)]

    def manifest(self, digest: Digest) -> Manifest | None:
        """What a manifest refers to, wherever it is; None if it is nowhere or can't be understood."""
        digest = self.aliases.get(digest, digest)
        entry = self.blobs.get(digest)
        for path in (f"{entry.path}/data" if entry else "", blob_data(digest)):
            if not path:
                continue
            try:
                content = read_file(self._volume.descriptor, path, MANIFEST_LIMIT)
                return parse_manifest(content)
            except CorruptManifestError:
                return None
            except OSError as error:
                if error.errno == errno.EFBIG:  # a layer, not a manifest
                    return None
                if error.errno not in ABSENT:
                    raise StorageError(error, path) from error
        return None

    def tagged(self, entry: Entry) -> Image | None:
        """The image to which a tag in the quarantine points."""
        digest = digests.parse(entry.move.digest)
        return None if digest is None else Image(entry.move.repository, digest)

    def is_pushed_again(self, tag: Entry) -> bool:
        """Whether a newer tag stands in the place of one in the quarantine, and says what it points to."""
        with suppress(OSError):
            content, _ = read_link(self._volume.descriptor, f"{tag.move.path}/current/link")
            return digests.parse(content.decode("ascii", "replace")) is not None
        return False

    def dependants(self, image: Image) -> list[tuple[Image, Entry | None]]:
        """Referrers of an image, in whatever repository: by `subject`, or by a tag made of its digest, then with it."""
        if self._dependants is None:
            self._dependants = defaultdict(list)
            for dependant in self.revisions:
                manifest = self.manifest(dependant.digest)
                if manifest is not None and manifest.subject is not None:
                    self._dependants[digests.subject(manifest.subject)].append((dependant, None))
            for (_, tag), entry in self.tags.items():
                subject, tagged = digests.subject_of_tag(tag), self.tagged(entry)
                if subject is not None and tagged is not None:
                    self._dependants[subject].append((tagged, entry))
        return self._dependants.get(digests.subject(image.digest), [])

    def needs(self, images: Iterable[Image], *, tags: Iterable[Entry] = (), dependants: bool) -> Needs:
        """What has to come back so that some images are whole.

        Args:
            images: Manifests with their repositories.
            tags: Entries of tags that are to come back with them.
            dependants: Bring all their signatures and other dependants too, and not only those that went with them.
        """
        generations: list[dict[str, Entry]] = []
        seen: set[Image] = set()
        generation, tagged = list(images), list(tags)
        while generation or tagged:
            entries = {entry.path: entry for entry in tagged}
            generations.append(entries)
            following: list[Image] = []
            tagged = []
            while generation:
                image = generation.pop()
                if image in seen:
                    continue
                seen.add(image)
                entries |= {entry.path: entry for entry in self._whole(image)}
                generation += self._children(image)
                for dependant, tag in self.dependants(image) if dependants or image in self.revisions else ():
                    if not (dependants or self._went_together(image, dependant)):
                        continue
                    following.append(dependant)
                    tagged += [tag] if tag is not None else []
            generation = following
        return Needs([list(entries.values()) for entries in reversed(generations)], seen)

    def _went_together(self, image: Image, dependant: Image) -> bool:
        """Whether one run took both; it took the dependant for its subject then, and not because it was named."""
        return dependant in self.revisions and self.revisions[dependant].run == self.revisions[image].run

    def needs_of(self, entry: Entry) -> Iterator[Entry]:
        """What else has to come back with an entry so that a registry sees nothing without what it refers to."""
        image = self.tagged(entry)
        if entry.move.kind != Kind.TAG and (digest := digests.parse(entry.move.name)) is not None:
            image = Image(entry.move.repository, digest)
        if image is not None:
            yield from self.needs([image], dependants=False).entries()

    def _whole(self, image: Image) -> Iterator[Entry]:
        """What the quarantine has of one image."""
        if image in self.revisions:
            yield self.revisions[image]
        for digest in self._blobs(image):
            if (link := Image(image.repository, digest)) in self.layers:
                yield self.layers[link]
            if digest in self.blobs:
                yield self.blobs[digest]
        yield from (self.blobs[digest] for digest in self._signatures(image) if digest in self.blobs)

    def _signatures(self, image: Image) -> set[Digest]:
        """The blobs that registries up to 2.4 name beside the revision of schema 1, and need to serve it."""
        manifest = self.manifest(image.digest)
        if manifest is None or manifest.shape is not Shape.SCHEMA1:
            return set()
        entry = self.revisions.get(image)
        directory = entry.path if entry is not None else _link(REVISIONS, image).removesuffix("/link")
        return {
            digest
            for algorithm in digests.ALGORITHMS.values()
            for digest in digests.from_names(
                algorithm, self._volume.names(f"{directory}/signatures/{algorithm.name}")
            ).values()
        }

    def missing(self, images: Iterable[Image]) -> list[Digest]:
        """Of what images need the digests whose blob or link is nowhere any more, neither here nor on the volume."""
        return sorted({digest for image in images for digest in self._missing(image)})

    def _missing(self, image: Image) -> Iterator[Digest]:
        manifest = self.manifest(image.digest)
        if not self._has_blob(image.digest) or not (
            self._has(self.revisions.get(image), "link", _link(REVISIONS, image)) or self._has_layer(image)
        ):
            yield image.digest
        for digest in self._blobs(image)[1:]:
            there = self._has_blob(digest) and self._has_layer(Image(image.repository, digest))
            if not there and (manifest is None or digest not in manifest.foreign):
                yield digest
        yield from (digest for digest in self._signatures(image) if not self._has_blob(digest))

    def _has_blob(self, digest: Digest) -> bool:
        digest = self.aliases.get(digest, digest)
        return self._has(self.blobs.get(digest), "data", blob_data(digest))

    def _has_layer(self, layer: Image) -> bool:
        return self._has(self.layers.get(layer), "link", _link(LAYERS, layer))

    def _has(self, entry: Entry | None, file: str, live: str) -> bool:
        """Whether a file is in the quarantine, or on the volume: of what a purge was just removing the rest may be."""
        return (entry is not None and self._is_there(f"{entry.path}/{file}")) or self._is_there(live)

    def _children(self, image: Image) -> list[Image]:
        """What an index lists and the repository had: a sparse copy names some that it never had.

        As a revision or, as 2.8 takes them too, as a blob with a layer link: BuildKit's cache is an index of layers.
        """
        manifest = self.manifest(image.digest)
        children = [] if manifest is None else [Image(image.repository, digest) for digest in manifest.children]
        return [child for child in children if child in self.revisions or child in self.layers]

    def references(self, roots: Iterable[Digest]) -> set[Digest]:
        """Blobs with all that the manifests among them refer to, further down too, as far as these can be read."""
        found: set[Digest] = set()
        waiting = set(roots)
        while waiting:
            digest = waiting.pop()
            found.add(digest)
            manifest = self.manifest(digest)
            if manifest is not None:
                found.update(manifest.blobs)
                found.update(self.aliases[blob] for blob in manifest.blobs if blob in self.aliases)
                waiting.update(child for child in manifest.children if child not in found)
        return found

    def _is_there(self, path: str) -> bool:
        try:
            os.close(open_file(self._volume.descriptor, path))
        except OSError as error:
            if error.errno in ABSENT:
                return False
            raise
        return True


def _link(parent: str, image: Image) -> str:
    return f"{repository_path(image.repository)}/{link_directory(parent, image.digest)}/link"


def undoable_contents(volume: Volume, journals: Journals, also: Container[str] = ()) -> Contents:
    """What the quarantine holds of all runs that can be undone, and of some others; of two equal things the last."""
    every = journals.all()
    return Contents(
        volume, journals, [journal.run for journal in every if journal.state in UNDOABLE or journal.run in also]
    )


def images_of(journals: Journals, run: str) -> list[Image]:
    """The manifests that a run moved, and those to which tags point that it moved: a later run may have taken them."""
    return [
        Image(move.repository, digest)
        for _, move in journals.moves(run)
        if move.kind in NAMES_OF_IMAGES
        if (digest := digests.parse(move.digest if move.kind == Kind.TAG else move.name)) is not None
    ]
