"""A volume as it will be once an open run is rolled back, for commands that only read.

What the run has moved is read where it lies in the quarantine, under the name that it will have again. As in the
rollback itself, what was pushed since stands in its place.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import ALGORITHMS, SHA256
from regkeeper.retention.volume.layout import (
    ABSENT,
    LAYERS,
    REVISIONS,
    TAGS,
    UPLOADS,
    Volume,
    repository_path,
)
from regkeeper.retention.volume.repository import TAG_NAME, Repository, Tag
from regkeeper.retention.volume.repository_reader import RepositoryReader


class RolledBackVolume(Volume):
    """Shows the entries of an open run where they were.

    Args:
        moved: by the path of each entry the path in the quarantine at which it is now.
    """

    def __init__(self, descriptor: int, path: str, moved: Mapping[str, str]) -> None:
        super().__init__(descriptor, path)
        self._moved: dict[str, str] = {}
        for original, now in moved.items():
            if self._is_there(f"{original}/current/link") and self._is_there(f"{now}/current/link"):
                # Of a tag that was pushed since the history alone comes back.
                self._moved[f"{original}/index"] = f"{now}/index"
            else:
                self._moved[original] = now
        self._below: dict[str, set[str]] = defaultdict(set)
        for original in self._moved:
            parts = original.split("/")
            for depth, name in enumerate(parts):
                self._below["/".join(parts[:depth])].add(name)

    @property
    def returning(self) -> frozenset[str]:
        return frozenset(self._moved.values())

    def moved_names(self, path: str) -> frozenset[str]:
        names = set(self._below.get(path, ()))
        if (where := self.moved_to(path)) is not None:
            names.update(super().names(where))
        return frozenset(names)

    def moved_to(self, path: str) -> str | None:
        """Where in the quarantine the thing at `path` would be, by the nearest entry that it belongs to."""
        head, rest = path, ""
        while head:
            if head in self._moved:
                return self._moved[head] + rest
            head, _, name = head.rpartition("/")
            rest = f"/{name}{rest}"
        return None

    def place(self, path: str) -> str:
        where = self.moved_to(path)
        return path if where is None or self._is_there(path) else where

    def names(self, path: str, *, symbolic_links: bool = True) -> list[str]:
        return list({*super().names(path, symbolic_links=symbolic_links), *self.moved_names(path)})

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        with super().directory(self.place(path)) as descriptor:
            yield descriptor

    def device(self, path: str) -> int | None:
        device = super().device(path)
        if device is None and path in self._below:  # it is made again for what comes back into it
            return os.fstat(self.descriptor).st_dev
        return device

    def status_below(self, directory: int, entry: str, file: str, parent: str) -> os.stat_result:
        try:
            return super().status_below(directory, entry, file, parent)
        except OSError as error:
            where = self.moved_to(f"{parent}/{entry}")
            if error.errno not in ABSENT or where is None:
                raise
            place, _, name = where.rpartition("/")
            with super().directory(place) as moved:
                return super().status_below(moved, name, file, place)

    def _is_there(self, path: str) -> bool:
        """Whether something is at a path of ours, whatever it is: it is opened only where no symbolic link leads."""
        parent, _, name = path.rpartition("/")
        try:
            with super().directory(parent) as descriptor:
                os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except OSError as error:
            if error.errno in ABSENT:
                return False
            raise
        return True


class RolledBackReader(RepositoryReader):
    """Reads repositories with what an open run has moved out of them."""

    def __init__(self, volume: RolledBackVolume) -> None:
        super().__init__(volume)
        self._rolled_back = volume

    def _read_everything(self, repository: Repository, directory: int) -> None:
        super()._read_everything(repository, directory)
        path = repository_path(repository.name)
        for algorithm in ALGORITHMS.values():
            layers = f"{path}/{LAYERS}/{algorithm.name}"
            names = list(self.volume.moved_names(layers))
            repository.layers.update(digests.from_names(algorithm, names).values())
            for name in () if algorithm is SHA256 else names:
                tag = self._moved_link(f"{layers}/{name}/link")
                if tag is not None and tag.digest is not None:
                    repository.note_alias(f"{algorithm.name}:{name}", tag.digest)
            revisions = f"{path}/{REVISIONS}/{algorithm.name}"
            found = digests.from_names(algorithm, sorted(self.volume.moved_names(revisions)))
            for name, digest in found.items():
                tag = None if digest in repository.revisions else self._moved_link(f"{revisions}/{name}/link")
                if tag is None:
                    if digest not in repository.revisions:
                        repository.unlinked.add(digest)
                    continue
                repository.unlinked.discard(digest)
                repository.revisions[digest] = tag.link
                if tag.digest != digest:
                    repository.corrupt[digest] = "its revision link is empty or malformed"
        repository.uploading |= bool(self.volume.moved_names(f"{path}/{UPLOADS}"))

    def _read_tags(self, repository: Repository, directory: int) -> None:
        super()._read_tags(repository, directory)
        path = f"{repository_path(repository.name)}/{TAGS}"
        for name in sorted(self.volume.moved_names(path)):
            if name in repository.tags or not TAG_NAME.fullmatch(name):
                continue
            tag = self._moved_link(f"{path}/{name}/current/link")
            if tag is None:
                repository.unlinked_tags.add(name)
            else:
                repository.unlinked_tags.discard(name)
                repository.tags[name] = tag

    def _moved_link(self, path: str) -> Tag | None:
        """A link in the quarantine; None if there is none."""
        where = self._rolled_back.moved_to(path)
        return None if where is None else self.links.look(self.volume.descriptor, where)
