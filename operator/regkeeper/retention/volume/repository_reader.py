"""Reads repositories: what is in their directories, and the manifests of what these name."""

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from regkeeper.retention.errors import NotPermittedError
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.beneath import open_directory, open_file
from regkeeper.retention.volume.digests import ALGORITHMS, SHA256, Digest
from regkeeper.retention.volume.layout import (
    ABSENT,
    BLOBS,
    LAYERS,
    MANIFEST_LIMIT,
    REVISIONS,
    TAGS,
    UPLOADS,
    Volume,
    permission_refused,
    read_link,
    repository_path,
)
from regkeeper.retention.volume.manifest import CorruptManifestError, Manifest, NoManifestError, Shape
from regkeeper.retention.volume.manifest_reader import ManifestReader
from regkeeper.retention.volume.patient_links import PatientLinks
from regkeeper.retention.volume.repository import TAG_NAME, Link, Problem, Repository, Tag

_UNSIGNED = frozenset({Shape.IMAGE, Shape.INDEX, Shape.ARTIFACT})
"""What no registry has kept signatures of; of what can't be read it may have."""

_TARSUM = "tarsum"
"""Registries up to 2.2 take layers by digests `tarsum.v1+sha256:…`, and link these as `tarsum/v1/sha256/…`."""


class Note(NamedTuple):
    """What a reader that remembers would keep of a repository which it has read."""

    repository: str
    record: bytes
    """To be written; empty: nothing new."""
    trusted: bool
    """Something of it was remembered instead of read."""


class RepositoryReader(ManifestReader):
    """Reads repositories of one volume.

    Args:
        volume: the volume.
        pause: called with seconds between two attempts at an unreadable link.
    """

    def __init__(self, volume: Volume, *, pause: Callable[[float], None] = time.sleep) -> None:
        super().__init__(volume)
        self.links = PatientLinks(pause)

    def read(self, name: str) -> Repository:
        """Everything about one repository.

        Raises:
            NotPermittedError: a file may not be read. Whatever else can't be read is in the answer.
        """
        repository = self._read_directory(name, self._read_everything)
        self._read_manifests(repository)
        return repository

    def notes(self) -> list[Note]:
        """What it has noted since it was last asked: of a reader in another process, for `remember` of the first."""
        return []

    def remember(self, notes: Iterable[Note]) -> None:
        """Keep what this reader, or its copy in another process, has noted. This one keeps nothing."""

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
                tag = self.links.read(descriptor, f"{name}/current/link")
                if tag is None:
                    tags.pop(name, None)
                    repository.unlinked_tags.add(name)
                else:
                    tags[name] = tag

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
                        tag = self.links.read(descriptor, f"{name}/link")
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
                if manifest.shape in _UNSIGNED:
                    continue
            self._read_signatures(repository, digest)
        for index in indexes:  # which grows: such a child may be an index itself
            for child in index.children:
                if child in repository.layers and child not in repository.manifests:
                    indexes += self._read_linked_child(repository, child)
        for digest, manifest in repository.manifests.items() if repository.aliases else ():
            named = (*manifest.blobs, *manifest.children)
            blobs = (repository.aliases[name] for name in named if name in repository.aliases)
            repository.manifests[digest] = manifest._replace(blobs=(*manifest.blobs, *blobs))

    def _read_signatures(self, repository: Repository, digest: Digest) -> None:
        """The signatures of a manifest of schema 1: registries up to 2.4 keep them as blobs, and serve none without."""
        signatures = f"{REVISIONS}/{digests.algorithm_of(digest).name}/{digests.to_hex(digest)}/signatures"
        for algorithm in ALGORITHMS.values():
            path = f"{signatures}/{algorithm.name}"
            try:
                names = self.volume.names(f"{repository_path(repository.name)}/{path}")
            except PermissionError as error:
                raise permission_refused(self.volume, path, error) from None
            except OSError as error:
                repository.opaque = True
                repository.unreadable.append(Problem(repository.name, path, error.strerror or str(error)))
            else:
                repository.unparsed.update(digests.from_names(algorithm, names).values())

    def _read_linked_child(self, repository: Repository, digest: Digest) -> list[Manifest]:
        """A child that was pushed as a blob: distribution 2.8 takes such an index, and serves the child as a manifest.

        If it is one: BuildKit's cache is an index of layers.
        """
        try:
            manifest = repository.manifests[digest] = self.read_manifest(repository.aliases.get(digest, digest))
        except (FileNotFoundError, NoManifestError):
            return []
        except CorruptManifestError as error:
            repository.corrupt[digest] = str(error)
            return []
        return [manifest]

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

    def _names_and_links(self, repository: Repository, directory: int, path: str) -> tuple[list[str], list[str]]:
        """The names in a directory, and which are symbolic links: to ask later takes a call of the system for each."""
        with self._directory(repository, directory, path) as descriptor:
            if descriptor is None:
                return [], []
            with os.scandir(descriptor) as entries:
                found = [(entry.name, entry.is_symlink()) for entry in entries]
        return [name for name, _ in found], [name for name, redirected in found if redirected]

    def _read_layers(self, repository: Repository, directory: int) -> None:
        algorithms = self._names(repository, directory, LAYERS)
        for algorithm in algorithms:  # which grows
            names, redirected = self._names_and_links(repository, directory, f"{LAYERS}/{algorithm}")
            if algorithm == _TARSUM:
                versions = [f"{_TARSUM}/{version}" for version in names]
                below = [(path, self._names(repository, directory, f"{LAYERS}/{path}")) for path in versions]
                algorithms += [f"{path}/{name}" for path, found in below for name in found]
            if algorithm in ALGORITHMS:
                named = digests.from_names(ALGORITHMS[algorithm], names)
                repository.layers.update(named.values())
                repository.redirected.update(named[name] for name in redirected if name in named)
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
            tag = self.links.read(directory, path)
            if tag is None:
                return
            target = tag.digest
        if target is None:
            repository.unreadable.append(Problem(repository.name, path, "it is empty or malformed"))
        else:
            repository.note_alias(f"{algorithm}:{name}", target)


def _touch(directory: int, path: str) -> None:
    with suppress(OSError):
        descriptor = open_file(directory, path)
        try:
            # It need not be waited for: who reads it soon does that, if it has not come by then.
            os.posix_fadvise(descriptor, 0, MANIFEST_LIMIT, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def _touch_names(directory: int, path: str) -> list[str]:
    try:
        descriptor = open_directory(directory, path)
    except OSError:
        return []
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _is_directory(directory: int, name: str) -> bool:
    """Whether an entry of a directory is itself one, and no symbolic link."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False
