"""What the links of layers and of tags' histories say, for a check: a plan takes the names of their directories."""

from collections.abc import Iterator

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import ALGORITHMS, SHA256, Digest
from regkeeper.retention.volume.layout import (
    ABSENT,
    LAYERS,
    TAGS,
    Volume,
    link_directory,
    permission_refused,
    read_link,
    repository_path,
)
from regkeeper.retention.volume.repository import Repository
from regkeeper.retention.volume.repository_reader import RepositoryReader


class LinkContents:
    """Reads such links of one volume.

    Args:
        reader: its links are as patient with one that can't be read.
    """

    def __init__(self, volume: Volume, reader: RepositoryReader) -> None:
        self._volume = volume
        self._links = reader.links

    def layers(self, repository: Repository) -> tuple[set[Digest], set[Digest]]:
        """The layers of a repository that have a link, and those of them whose link is none that a registry follows."""
        linked, unreadable = set[Digest](), set[Digest]()
        for digest in repository.layers:
            path = f"{repository_path(repository.name)}/{link_directory(LAYERS, digest)}/link"
            try:
                sound = self._is_sound(path, digest)
            except FileNotFoundError:
                continue
            linked.add(digest)
            if not sound:
                unreadable.add(digest)
        return linked, unreadable

    def unreadable_history(self, repository: Repository) -> Iterator[str]:
        """The paths of links in the histories of a repository's tags that are none."""
        for tag in sorted(repository.tags):
            for algorithm in ALGORITHMS.values():
                path = f"{repository_path(repository.name)}/{TAGS}/{tag}/index/{algorithm.name}"
                try:
                    names = self._volume.names(path)
                except OSError:
                    yield path
                    continue
                for name, digest in digests.from_names(algorithm, sorted(names)).items():
                    try:
                        sound = self._is_sound(f"{path}/{name}/link", digest)
                    except FileNotFoundError:
                        continue
                    if not sound:
                        yield f"{path}/{name}/link"

    def _is_sound(self, path: str, digest: Digest) -> bool:
        """Whether a link says what its directory is called; one of another algorithm may name the SHA-256.

        Raises:
            FileNotFoundError: there is none.
            NotPermittedError: it may not be read.
        """
        place = self._volume.place(path)
        try:
            content, _ = read_link(self._volume.descriptor, place)
            if _names(digest, digests.parse(content.decode("ascii", "replace"))):
                return True
            tag = self._links.read(self._volume.descriptor, place)
        except PermissionError as error:
            raise permission_refused(self._volume, path, error) from None
        except OSError as error:
            if error.errno in ABSENT:
                raise FileNotFoundError(error.errno, error.strerror, path) from None
            return False
        if tag is None:
            raise FileNotFoundError(path)
        return _names(digest, tag.digest)


def _names(digest: Digest, said: Digest | None) -> bool:
    """Whether a link that says this may be in the directory of a digest."""
    return said == digest or (said is not None and digests.algorithm_of(digest) is not SHA256)
