"""Facts about layer links that nothing needs: read only for these, since they are few."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import ALGORITHMS, Digest
from regkeeper.retention.volume.layout import (
    ABSENT,
    LAYERS,
    MANIFESTS,
    NOT_THERE,
    REVISIONS,
    TAGS,
    Volume,
    permission_refused,
    repository_path,
)
from regkeeper.retention.volume.repository import TAG_NAME, Link, Repository


class LinkTimes:
    """Looks at layer links of one volume."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume

    def of(self, repository: Repository, wanted: Iterable[Digest]) -> Iterator[tuple[Digest, Link | None]]:
        """The links that are there, in the order of digests; None for one that can't be read, or its directory.

        A directory without its link is a deleted one.

        Raises:
            NotPermittedError: one may not be read.
        """
        for algorithm, ordered in groupby(sorted(wanted), digests.algorithm_of):
            path = f"{repository_path(repository.name)}/{LAYERS}/{algorithm.name}"
            with self._opened(path) as directory:
                for digest in ordered:
                    name = digests.to_hex(digest)
                    if directory is None or digest in repository.redirected:
                        yield digest, None
                        continue
                    try:
                        status = self.volume.status_below(directory, name, "link", path)
                    except PermissionError as error:
                        raise permission_refused(self.volume, f"{path}/{name}/link", error) from None
                    except OSError as error:
                        if error.errno not in ABSENT:
                            yield digest, None
                        continue
                    yield digest, Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    @contextmanager
    def _opened(self, path: str) -> Iterator[int | None]:
        """The directory; None if it can't be opened.

        `NOT_THERE` if it is absent: all its links may be about to come back (rolled_back.py).
        """
        with ExitStack() as stack:
            try:
                descriptor: int | None = stack.enter_context(self.volume.directory(path))
            except OSError as error:
                descriptor = NOT_THERE if error.errno in ABSENT else None
            yield descriptor

    def present(self, repository: Repository, layers: Iterable[Digest]) -> set[Digest]:
        """Those of the digests whose directories have a link."""
        return {digest for digest, _ in self.of(repository, layers)}

    def has_strangers(self, repository: str) -> bool:
        """Whether beside tags, revisions and layers a repository has what is not read: of an unknown algorithm, say.

        What can't be listed has some, too.
        """
        try:
            return self._has_strangers(repository_path(repository))
        except OSError:
            return True

    def _has_strangers(self, path: str) -> bool:
        names = self.volume.names
        algorithms = [
            (f"{path}/{parent}", name) for parent in (REVISIONS, LAYERS) for name in names(f"{path}/{parent}")
        ]
        return (
            not {f"{MANIFESTS}/{name}" for name in names(f"{path}/{MANIFESTS}")} <= {REVISIONS, TAGS}
            or not all(TAG_NAME.fullmatch(name) for name in names(f"{path}/{TAGS}"))
            or not all(name in ALGORITHMS for _, name in algorithms)
            or not all(
                digests.from_hex(ALGORITHMS[algorithm], name)
                for parent, algorithm in algorithms
                for name in names(f"{parent}/{algorithm}")
            )
        )

    def exists(self, path: str) -> bool:
        """Whether a directory is there."""
        return self.volume.device(path) is not None
