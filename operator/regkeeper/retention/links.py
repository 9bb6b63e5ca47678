"""Facts about layer links that nothing needs: read only for these, since they are few."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby

from regkeeper.retention import digests
from regkeeper.retention.digests import Digest
from regkeeper.retention.layout import LAYERS, Volume, is_symbolic_link, permission_refused, repository_path
from regkeeper.retention.repository import Link


class LinkTimes:
    """Looks at layer links of one volume."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume

    def of(self, repository: str, wanted: Iterable[Digest]) -> Iterator[tuple[Digest, Link]]:
        """The links that are there, in the order of digests.

        A directory without its link is a deleted one. A link that can't be read is left out, and so stays.

        Raises:
            NotPermittedError: one may not be read.
        """
        for algorithm, ordered in groupby(sorted(wanted), digests.algorithm_of):
            path = f"{repository_path(repository)}/{LAYERS}/{algorithm.name}"
            with suppress(OSError), self.volume.directory(path) as directory:
                for digest in ordered:
                    name = digests.to_hex(digest)
                    if is_symbolic_link(directory, name):
                        continue
                    try:
                        status = self.volume.status_below(directory, name, "link", path)
                    except PermissionError as error:
                        raise permission_refused(self.volume, f"{path}/{name}/link", error) from None
                    except OSError:
                        continue
                    yield digest, Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    def present(self, repository: str, layers: Iterable[Digest]) -> set[Digest]:
        """Those of the digests whose directories have a link."""
        return {digest for digest, _ in self.of(repository, layers)}

    def exists(self, path: str) -> bool:
        """Whether a directory is there."""
        return self.volume.device(path) is not None
