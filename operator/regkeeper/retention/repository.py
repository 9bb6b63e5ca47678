"""One repository as the volume has it: tags, revisions, manifests, layer links, and what of it can't be read."""

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from msgspec import Struct, field

from regkeeper.retention import digests
from regkeeper.retention.beneath import open_directory
from regkeeper.retention.digests import ALGORITHMS, SHA256, Digest
from regkeeper.retention.errors import NotPermittedError
from regkeeper.retention.layout import (
    ABSENT,
    BLOBS,
    LAYERS,
    MANIFEST_LIMIT,
    REVISIONS,
    TAGS,
    UPLOADS,
    Volume,
    blob_data,
    permission_refused,
    read_file,
    read_link,
    repository_path,
)
from regkeeper.retention.manifest import CorruptManifestError, Manifest, NoManifestError, Shape, parse_manifest

ATTEMPTS = 5
PAUSE = 0.05
"""Seconds between attempts. Distribution before 3.1 writes links in place: under re-push one is empty for a moment."""
PAUSES = 40
"""So many in all: a writer is within a few links at once; thousands of empty ones are what a full disk left."""

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


class Problem(Struct, frozen=True):
    """Something that can't be read, or is not as it should be."""

    repository: str
    where: str
    message: str

    def __str__(self) -> str:
        return (
            f"{self.repository}: {self.where}: {self.message}" if self.repository else f"{self.where}: {self.message}"
        )


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
        aliases: digests of layer links of another algorithm, with the digest that the blob has: a registry keeps what
            was pushed as `sha512:…` under its SHA-256, and links both names to that.
        unparsed: blobs that layer links name whose own digest is of an algorithm that is not read here.
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
    aliases: dict[Digest, Digest] = field(default_factory=dict)
    unparsed: set[Digest] = field(default_factory=set)
    uploading: bool = False
    unreadable: list[Problem] = field(default_factory=list)
    opaque: bool = False

    def is_index(self, digest: Digest) -> bool:
        """Whether it is a manifest that lists others."""
        manifest = self.manifests.get(digest)
        return manifest is not None and manifest.shape is Shape.INDEX

    @property
    def is_headless(self) -> bool:
        """Whether it has layers and nothing that could need them: a push under way, or half of a copy."""
        has_manifests = self.tags or self.unlinked_tags or self.revisions or self.unlinked or self.corrupt
        return bool(self.layers) and not has_manifests

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


class RepositoryReader:
    """Reads repositories of one volume.

    Attributes:
        pause: called with seconds between two attempts at an unreadable link.
    """

    def __init__(self, volume: Volume, *, pause: Callable[[float], None] = time.sleep) -> None:
        self.volume = volume
        self.pause = pause
        self._pauses = 0
        self._known: dict[str, Digest] = {}  # by text, the digests of the repository at hand: each is parsed once

    def read(self, name: str) -> Repository:
        """Everything about one repository.

        Raises:
            NotPermittedError: a file may not be read. Whatever else can't be read is in the answer.
        """
        repository = self._read_directory(name, self._read_everything)
        self._read_manifests(repository)
        return repository

    def touch(self, name: str) -> None:
        """Bring the files of a repository into the kernel's cache, as far as they can be read."""
        with suppress(OSError, NotPermittedError), self.volume.directory(repository_path(name)) as directory:
            for algorithm in ALGORITHMS:
                _touch_names(directory, f"{LAYERS}/{algorithm}")
                for digest in _touch_names(directory, f"{REVISIONS}/{algorithm}"):
                    _touch(directory, f"{REVISIONS}/{algorithm}/{digest}/link")
                    _touch(self.volume.descriptor, f"{BLOBS}/{algorithm}/{digest[:2]}/{digest}/data")
            for tag in _touch_names(directory, TAGS):
                _touch(directory, f"{TAGS}/{tag}/current/link")

    def read_tags(self, name: str) -> Repository:
        """The tags of one repository alone.

        Raises:
            NotPermittedError: as `read`.
        """
        return self._read_directory(name, self._read_tags)

    def _read_directory(self, name: str, read: Callable[[Repository, int], None]) -> Repository:
        repository = Repository(name)
        path = repository_path(name)
        try:
            with self.volume.directory(path) as directory:
                read(repository, directory)
        except PermissionError as error:
            raise permission_refused(self.volume, os.path.join(path, error.filename or ""), error) from None
        except OSError as error:
            repository.opaque = True
            repository.unreadable.append(Problem(name, path, error.strerror or str(error)))
        return repository

    def _read_everything(self, repository: Repository, directory: int) -> None:
        self._known = {}
        self._read_layers(repository, directory)
        self._read_revisions(repository, directory)
        self._read_tags(repository, directory)
        repository.uploading = bool(self._names(repository, directory, UPLOADS))

    def _read_tags(self, repository: Repository, directory: int) -> None:
        tags = repository.tags
        known = self._known
        unreadable = []
        with self._directory(repository, directory, TAGS) as descriptor:
            if descriptor is None:
                return
            for name in os.listdir(descriptor):
                if not TAG_NAME.fullmatch(name):
                    continue
                try:
                    content, status = read_link(descriptor, f"{name}/current/link")
                    text = content.decode("ascii")
                    digest = known.get(text) or digests.parse(text)
                    tags[name] = Tag(digest, Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns))
                    if digest is None:
                        unreadable.append(name)
                except (OSError, UnicodeDecodeError) as error:
                    if isinstance(error, OSError) and error.errno in ABSENT:
                        if _is_directory(descriptor, name):
                            repository.unlinked_tags.add(name)
                        continue
                    if isinstance(error, PermissionError):
                        raise
                    unreadable.append(name)
            for name in unreadable:
                tag = self._retry(descriptor, f"{name}/current/link")
                if tag is None:
                    tags.pop(name, None)
                    repository.unlinked_tags.add(name)
                else:
                    tags[name] = tag

    def _retry(self, directory: int, path: str) -> Tag | None:
        """The link once it reads well, or as unreadable after the last attempt; None if it has gone meanwhile."""
        link = _status_of(directory, path)
        for _ in range(ATTEMPTS):
            if self._pauses < PAUSES:
                self._pauses += 1
                self.pause(PAUSE)
            try:
                content, status = read_link(directory, path)
            except PermissionError:
                raise
            except OSError as error:
                if error.errno in ABSENT:
                    return None
                continue
            link = Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
            digest = digests.parse(content.decode("ascii", "replace"))
            if digest is not None:
                return Tag(digest, link)
        return Tag(None, link)

    def _read_revisions(self, repository: Repository, directory: int) -> None:
        for algorithm in ALGORITHMS.values():
            parent = f"{REVISIONS}/{algorithm.name}"
            prefix = f"{algorithm.name}:"
            with self._directory(repository, directory, parent) as descriptor:
                if descriptor is None:
                    continue
                for name, digest in digests.from_names(algorithm, os.listdir(descriptor)).items():
                    self._known[prefix + name] = digest
                    try:
                        content, status = read_link(descriptor, f"{name}/link")
                    except OSError as error:
                        if isinstance(error, PermissionError):
                            raise
                        if error.errno in ABSENT:
                            repository.unlinked.add(digest)
                        else:
                            repository.corrupt[digest] = f"its revision link: {error.strerror}"
                        continue
                    link = Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
                    if content != (prefix + name).encode():
                        tag = self._retry(descriptor, f"{name}/link")
                        if tag is None:
                            repository.unlinked.add(digest)
                            continue
                        link = tag.link
                        if tag.digest != digest:
                            repository.corrupt[digest] = "its revision link is empty or malformed"
                    repository.revisions[digest] = link

    def _read_manifests(self, repository: Repository) -> None:
        wanted = set(repository.revisions)
        wanted.update(digest for digest, _ in repository.tags.values() if digest is not None)
        indexes = []
        for digest in wanted:
            try:
                manifest = repository.manifests[digest] = self.read_manifest(digest)
            except FileNotFoundError:
                repository.missing.add(digest)
            except CorruptManifestError as error:
                repository.corrupt[digest] = str(error)
            else:
                if manifest.children:
                    indexes.append(manifest)
        for index in indexes:
            for child in index.children:
                if child in repository.layers and child not in repository.manifests:
                    self._read_linked_child(repository, child)
        for digest, manifest in repository.manifests.items() if repository.aliases else ():
            named = (*manifest.blobs, *manifest.children)
            blobs = (repository.aliases[name] for name in named if name in repository.aliases)
            repository.manifests[digest] = manifest._replace(blobs=(*manifest.blobs, *blobs))

    def _read_linked_child(self, repository: Repository, digest: Digest) -> None:
        """A child that was pushed as a blob: distribution 2.8 takes such an index, and serves the child as a manifest.

        If it is one: BuildKit's cache is an index of layers.
        """
        try:
            repository.manifests[digest] = self.read_manifest(repository.aliases.get(digest, digest))
        except (FileNotFoundError, NoManifestError):
            return
        except CorruptManifestError as error:
            repository.corrupt[digest] = str(error)

    def read_manifest(self, digest: Digest) -> Manifest:
        """The manifest's references, from its verified content.

        Raises:
            FileNotFoundError: it has no `data`.
            CorruptManifestError: it can't be read, or is not what its digest says.
            NoManifestError: it is too large, or no JSON object.
            NotPermittedError: it may not be read.
        """
        content = self.read_document(digest)
        if digests.compute(content, digests.algorithm_of(digest)) != digest:
            raise CorruptManifestError("its content has another digest")
        return parse_manifest(content, self._known)

    def read_document(self, digest: Digest) -> bytes:
        """The content of a manifest or config, not verified.

        Raises:
            FileNotFoundError, CorruptManifestError, NoManifestError, NotPermittedError: as `read_manifest`.
        """
        path = self.volume.place(blob_data(digest))
        try:
            content = read_file(self.volume.descriptor, path, MANIFEST_LIMIT)
        except PermissionError as error:
            raise permission_refused(self.volume, path, error) from None
        except OSError as error:
            if error.errno in ABSENT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
            if error.errno == errno.EFBIG:
                raise NoManifestError("larger than any manifest") from None
            raise CorruptManifestError(error.strerror or str(error)) from None
        return content

    @contextmanager
    def _directory(self, repository: Repository, directory: int, path: str) -> Iterator[int | None]:
        """A descriptor of a directory in the repository; None, and a note if it is there but can't be read."""
        try:
            descriptor = open_directory(directory, path)
        except OSError as error:
            if isinstance(error, PermissionError):
                raise
            if error.errno not in ABSENT:
                repository.opaque = True
                repository.unreadable.append(Problem(repository.name, path, error.strerror or str(error)))
            descriptor = None
        try:
            yield descriptor
        except PermissionError as error:  # the path below the repository, for the message
            raise PermissionError(error.errno, error.strerror, f"{path}/{error.filename}") from None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _names(self, repository: Repository, directory: int, path: str) -> list[str]:
        with self._directory(repository, directory, path) as descriptor:
            return [] if descriptor is None else os.listdir(descriptor)

    def _read_layers(self, repository: Repository, directory: int) -> None:
        for algorithm in self._names(repository, directory, LAYERS):
            names = self._names(repository, directory, f"{LAYERS}/{algorithm}")
            if algorithm in ALGORITHMS:
                named = digests.from_names(ALGORITHMS[algorithm], names)
                repository.layers.update(named.values())
                prefix = f"{algorithm}:"
                self._known.update({prefix + name: digest for name, digest in named.items()})
            if algorithm != SHA256.name:
                for name in names:
                    self._read_alias(repository, directory, algorithm, name)

    def _read_alias(self, repository: Repository, directory: int, algorithm: str, name: str) -> None:
        """Which blob a layer link names, unless its own name tells; one that can't be read may name any."""
        path = f"{LAYERS}/{algorithm}/{name}/link"
        target: Digest | None = None
        try:
            content, _ = read_link(directory, path)
            target = digests.parse(content.decode("ascii", "replace"))
        except OSError as error:
            if isinstance(error, PermissionError):
                raise
            if error.errno in ABSENT:
                return
        if target is None:
            tag = self._retry(directory, path)
            if tag is None:
                return
            target = tag.digest
        if target is None:
            repository.unreadable.append(Problem(repository.name, path, "it is empty or malformed"))
        else:
            note_alias(repository, f"{algorithm}:{name}", target)


def note_alias(repository: Repository, name: str, target: Digest) -> None:
    """Note that a layer link `alg:hex` names a blob."""
    digest = digests.parse(name)
    if digest is None:
        repository.unparsed.add(target)
    elif digest != target:
        repository.aliases[digest] = target


def _touch(directory: int, path: str) -> None:
    with suppress(OSError):
        read_file(directory, path, MANIFEST_LIMIT)


def _touch_names(directory: int, path: str) -> list[str]:
    try:
        descriptor = open_directory(directory, path)
    except OSError:
        return []
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _status_of(directory: int, path: str) -> Link:
    """Facts about what stands in the place of a link, a symbolic link for one."""
    try:
        status = os.stat(path, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return NO_LINK
    return Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def _is_directory(directory: int, name: str) -> bool:
    """Whether an entry of a directory is itself one, and no symbolic link."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False
