"""Facts about layer links that nothing needs: read only for these, since they are few."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import (
    ABSENT,
    LAYERS,
    NOT_THERE,
    Volume,
    permission_refused,
    repository_path,
)
from regkeeper.retention.volume.repository import Link, Repository


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
