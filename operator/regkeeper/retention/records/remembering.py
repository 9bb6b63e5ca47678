"""Reads repositories by what an earlier run remembered of them, where nothing of it has changed since.

A record answers for a repository as long as every directory and file that was read for it is still the same one, by
inode and ctime: three calls of the system for an image instead of twelve, and no manifest is read. Where only some
changed, links are read anew, and manifests of unchanged files are not. What a file holds beneath an unchanged inode
and ctime is not looked at: content that a disk lost is found by whoever reads afresh.

So records may say what a dry run shows, and that there is nothing to do. Whatever deletes has read everything itself
(asking.py), and so has whatever purges (needed.py). Records are safe to lose; one that is damaged, foreign, outdated
or of another version is passed over.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from regkeeper.retention.errors import NotPermittedError
from regkeeper.retention.records.record import DIRECTORIES, NotARecordError, Record, decode, encode
from regkeeper.retention.records.record_files import RecordFiles, WritableRecordFiles
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.beneath import open_directory
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import (
    ABSENT,
    BLOBS,
    REVISIONS,
    TAGS,
    UPLOADS,
    Volume,
    blob_data,
    repository_path,
)
from regkeeper.retention.volume.manifest import Manifest
from regkeeper.retention.volume.repository import NO_LINK, Link, Repository
from regkeeper.retention.volume.repository_reader import Note, RepositoryReader

SETTLED_NANOSECONDS = 600 * 10**9
"""What changed later than this before now is not recorded: within the tick of a clock, or behind the clock of a file
server, it might change once more and keep its ctime."""


class RememberingReader(RepositoryReader):
    """Reads by records, and writes them where they may be written.

    Args:
        volume: the volume.
        files: where its records are.
        now: nanoseconds since 1970.
        trusting: read by records; otherwise read everything, and only write them.

    Attributes:
        trusted: in how many repositories something was remembered instead of read, of those whose notes it was given.
    """

    def __init__(self, volume: Volume, files: RecordFiles, *, now: int, trusting: bool) -> None:
        super().__init__(volume)
        self.trusted = 0
        self._files = files
        self._settled = now - SETTLED_NANOSECONDS
        self._trusting = trusting
        self._device = os.fstat(volume.descriptor).st_dev
        self._notes: list[Note] = []
        self._remembered: dict[Digest, Manifest] = {}  # of the repository at hand, those whose files are unchanged

    def read(self, name: str) -> Repository:
        """Everything about one repository.

        Raises:
            NotPermittedError: a file may not be read. Whatever else can't be read is in the answer.
        """
        self._remembered = {}
        content = self._files.load(name)
        if remembered := self._recorded(name, content):
            if self._is_unchanged(*remembered):
                self._notes.append(Note(name, b"", trusted=True))
                return remembered[1]
            self._remembered = self._of_unchanged_files(*remembered)
        repository = super().read(name)
        record = self._record(repository) if isinstance(self._files, WritableRecordFiles) else b""
        self._notes.append(Note(name, b"" if record == content else record, trusted=bool(self._remembered)))
        return repository

    def notes(self) -> list[Note]:
        """What it has noted since it was last asked."""
        notes, self._notes = self._notes, []
        return notes

    def remember(self, notes: Iterable[Note]) -> None:
        """Write the records of repositories, where they may be written; without one, an old one may still know some."""
        for name, record, trusted in notes:
            self.trusted += trusted
            if isinstance(self._files, WritableRecordFiles):
                self._files.save(name, record)

    def touch(self, name: str) -> None:
        """Bring the files of a repository into the kernel's cache; of an unchanged one only what shows that it is."""
        with suppress(NotPermittedError):
            remembered = self._recorded(name, self._files.load(name))
            if remembered and self._is_unchanged(*remembered):
                return
        super().touch(name)

    def _recorded(self, name: str, content: bytes) -> tuple[Record, Repository] | None:
        """What a record says of a repository; None if it is none, or is not to be trusted."""
        if self._trusting and content:
            with suppress(NotARecordError):
                record, repository = decode(content)
                if repository.name == name:
                    return record, repository
        return None

    def read_manifest(self, digest: Digest) -> Manifest:
        """The manifest's references, from its verified content or as they are remembered."""
        return self._remembered.get(digest) or super().read_manifest(digest)

    def _is_unchanged(self, record: Record, repository: Repository) -> bool:
        """Whether all that was read for a record is still the same; notes whether an upload is under way."""
        tags = [(f"{name}/current/link", link) for name, (_, link) in repository.tags.items()]
        tags += [(f"{name}/current/link", NO_LINK) for name in repository.unlinked_tags]
        revisions = [(_link_path(digest), link) for digest, link in repository.revisions.items()]
        revisions += [(_link_path(digest), NO_LINK) for digest in repository.unlinked]
        data = [(_data_path(digest), link) for digest, link in record.data()]
        try:
            with self.volume.directory(repository_path(repository.name)) as directory:
                repository.uploading = bool(self._names(repository, directory, UPLOADS))
                return (
                    self._are(directory, ".", zip(DIRECTORIES, record.directories, strict=True))
                    and (not tags or self._are(directory, TAGS, tags))
                    and (not revisions or self._are(directory, REVISIONS, revisions))
                    and (not data or self._are(self.volume.descriptor, BLOBS, data))
                    and not repository.opaque
                )
        except OSError:
            return False

    def _of_unchanged_files(self, record: Record, repository: Repository) -> dict[Digest, Manifest]:
        """The manifests that are read from files which are still the same."""
        return {
            digest: repository.manifests[digest]
            for digest, link in record.data()
            if digest in repository.manifests and self._observe(self.volume.descriptor, blob_data(digest)) == link
        }

    def _are(self, directory: int, parent: str, known: Iterable[tuple[str, Link]]) -> bool:
        """Whether the files at some paths below a directory are the ones that they were; NO_LINK: there was none.

        A symbolic link on the way is followed, but nothing is read behind it: what it leads to is the same file.

        Raises:
            OSError: one has gone, or it can't be told.
        """
        absent = []
        device, status_of = self._device, os.stat
        descriptor = open_directory(directory, parent)
        try:
            for path, (_, inode, changed) in known:
                if not inode:  # as of NO_LINK
                    absent.append(path)
                    continue
                status = status_of(path, dir_fd=descriptor, follow_symlinks=False)
                if status.st_ctime_ns != changed or status.st_ino != inode or status.st_dev != device:
                    return False
            return all(self._observe(descriptor, path) == NO_LINK for path in absent)
        finally:
            os.close(descriptor)

    def _observe(self, directory: int, path: str) -> Link:
        """Which file or directory is at a path.

        Raises:
            OSError: it can't be told.
        """
        try:
            status = os.stat(path, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno in ABSENT:
                return NO_LINK
            raise
        if status.st_dev != self._device:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        return Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    def _record(self, repository: Repository) -> bytes:
        """A record of a repository that was just read; empty if something in it can't be read, is new, or is rare.

        It is looked at after it was read. What changed in between is too new to be recorded.
        """
        rare = (
            repository.aliases
            or repository.unparsed
            or repository.redirected
            or any(map(_has_odd_subject, repository.manifests.values()))
        )
        if rare or any(True for _ in repository.problems()):
            return b""
        try:
            with self.volume.directory(repository_path(repository.name)) as directory:
                directories = [self._observe(directory, path) for path in DIRECTORIES]
            looked_at = dict.fromkeys(repository.manifests) | dict.fromkeys(_linked_children(repository))
            data = {digest: self._observe(self.volume.descriptor, blob_data(digest)) for digest in looked_at}
        except OSError:
            return b""
        links = (tag.link for tag in repository.tags.values())
        newest = max(
            (link.changed for link in (*directories, *data.values(), *links, *repository.revisions.values())), default=0
        )
        return encode(repository, directories, data) if newest < self._settled else b""


def _linked_children(repository: Repository) -> Iterator[Digest]:
    """What the reader looks at in case that it is a manifest, though only a layer link names it."""
    for manifest in repository.manifests.values():
        yield from (child for child in manifest.children if child in repository.layers)


def _has_odd_subject(manifest: Manifest) -> bool:
    return manifest.subject is not None and not digests.can_be_looked_up(manifest.subject)


_NAMES = {code: algorithm.name for code, algorithm in digests.BY_CODE.items()}


def _link_path(digest: Digest) -> str:
    return f"{_NAMES[digest[0]]}/{digest[1:].hex()}/link"


def _data_path(digest: Digest) -> str:
    hexadecimal = digest.hex()
    return f"{_NAMES[digest[0]]}/{hexadecimal[2:4]}/{hexadecimal[2:]}/data"
