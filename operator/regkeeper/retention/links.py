"""Facts about layer links that nothing needs: read only for these, since they are few."""

import os
from collections.abc import Iterable, Iterator

from regkeeper.retention.digests import Digest
from regkeeper.retention.layout import LAYERS, Volume, link_directory, permission_refused, repository_path
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
        ordered = sorted(wanted)
        if not ordered:
            return
        path = repository_path(repository)
        with self.volume.directory(path) as directory:
            for digest in ordered:
                name = f"{link_directory(LAYERS, digest)}/link"
                try:
                    descriptor = self.volume.open_below(directory, name, path)
                except PermissionError as error:
                    raise permission_refused(self.volume, f"{path}/{name}", error) from None
                except OSError:
                    continue
                try:
                    status = os.fstat(descriptor)
                finally:
                    os.close(descriptor)
                yield digest, Link(status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    def present(self, repository: str, layers: Iterable[Digest]) -> set[Digest]:
        """Those of the digests whose directories have a link."""
        return {digest for digest, _ in self.of(repository, layers)}

    def exists(self, path: str) -> bool:
        """Whether a directory is there."""
        return self.volume.device(path) is not None
