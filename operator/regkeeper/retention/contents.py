"""What the quarantine holds of some runs, to be looked up by what it is, and what an image needs of it."""

import os
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from regkeeper.retention import digests
from regkeeper.retention.beneath import open_file
from regkeeper.retention.digests import Digest
from regkeeper.retention.journal import Journals
from regkeeper.retention.layout import ABSENT, MANIFEST_LIMIT, Volume, blob_data, read_file
from regkeeper.retention.manifest import CorruptManifestError, Manifest, parse_manifest
from regkeeper.retention.moves import Kind, Move
from regkeeper.retention.places import run_directory


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


class Contents:
    """An index of what some runs have in the quarantine now; of two equal things the later run's counts.

    Attributes:
        tags: by repository and tag.
        revisions: by repository and digest of the manifest.
        layers: by repository and digest of the layer or config.
        blobs: by digest, manifests too.
    """

    def __init__(self, volume: Volume, journals: Journals, runs: Iterable[str]) -> None:
        self._volume = volume
        self.tags: dict[tuple[str, str], Entry] = {}
        self.revisions: dict[Image, Entry] = {}
        self.layers: dict[Image, Entry] = {}
        self.blobs: dict[Digest, Entry] = {}
        for run in runs:
            there = set(volume.names(run_directory(run)))
            for number, move in journals.moves(run):
                if str(number) in there:
                    self._add(Entry(run, number, move))
        self._dependants: dict[Image, list[tuple[Image, Entry | None]]] | None = None

    def _add(self, entry: Entry) -> None:
        move = entry.move
        digest = digests.parse(move.name)
        if move.kind == Kind.TAG:
            self.tags[move.repository, move.name] = entry
        elif digest is None:
            return
        elif move.kind in (Kind.REVISION, Kind.INDEX_REVISION):
            self.revisions[Image(move.repository, digest)] = entry
        elif move.kind == Kind.LAYER_LINK:
            self.layers[Image(move.repository, digest)] = entry
        elif move.kind in (Kind.BLOB, Kind.MANIFEST_BLOB):
            self.blobs[digest] = entry

    def manifest(self, digest: Digest) -> Manifest | None:
        """What a manifest refers to, wherever it is; None if it is nowhere or can't be understood."""
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
                if error.errno not in ABSENT:
                    raise
        return None

    def tagged(self, entry: Entry) -> Image | None:
        """The image to which a tag in the quarantine points."""
        digest = digests.parse(entry.move.digest)
        return None if digest is None else Image(entry.move.repository, digest)

    def dependants(self, image: Image) -> list[tuple[Image, Entry | None]]:
        """Referrers of an image in its repository, by `subject` or by a tag made of its digest, then with the tag."""
        if self._dependants is None:
            self._dependants = defaultdict(list)
            for dependant in self.revisions:
                manifest = self.manifest(dependant.digest)
                if manifest is not None and manifest.subject is not None:
                    self._dependants[Image(dependant.repository, manifest.subject)].append((dependant, None))
            for (repository, tag), entry in self.tags.items():
                subject, tagged = digests.subject_of_tag(tag), self.tagged(entry)
                if subject is not None and tagged is not None:
                    self._dependants[Image(repository, subject)].append((tagged, entry))
        return self._dependants.get(image, [])

    def needs(self, images: Iterable[Image], *, dependants: bool) -> tuple[list[Entry], list[Digest]]:
        """What has to come back so that some images are whole.

        Args:
            images: Manifests with their repositories.
            dependants: Bring their signatures and other dependants too.

        Returns:
            The entries, and the digests that are nowhere any more.
        """
        entries: dict[str, Entry] = {}
        missing: dict[Digest, None] = {}
        waiting = list(images)
        seen: set[Image] = set()

        def want(entry: Entry | None) -> None:
            if entry is not None:
                entries[entry.path] = entry

        while waiting:
            image = waiting.pop()
            if image in seen:
                continue
            seen.add(image)
            want(self.revisions.get(image))
            for digest in (image.digest, *self._blobs_of(image)):
                want(self.layers.get(Image(image.repository, digest)))
                want(self.blobs.get(digest))
                if digest not in self.blobs and not self._is_live(digest):
                    missing[digest] = None
            waiting.extend(self._children_of(image))
            if dependants:
                for dependant, tag in self.dependants(image):
                    want(tag)
                    waiting.append(dependant)
        return list(entries.values()), list(missing)

    def _blobs_of(self, image: Image) -> list[Digest]:
        manifest = self.manifest(image.digest)
        return [] if manifest is None else [blob for blob in manifest.blobs if blob not in manifest.foreign]

    def _children_of(self, image: Image) -> list[Image]:
        """Children that the repository had: a sparse copy of an index names some that it never had."""
        manifest = self.manifest(image.digest)
        if manifest is None:
            return []
        return [child for digest in manifest.children if (child := Image(image.repository, digest)) in self.revisions]

    def _is_live(self, digest: Digest) -> bool:
        try:
            os.close(open_file(self._volume.descriptor, blob_data(digest)))
        except OSError as error:
            if error.errno in ABSENT:
                return False
            raise
        return True
