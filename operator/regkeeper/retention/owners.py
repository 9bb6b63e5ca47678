"""Which repository alone had a blob that it needs no more, for very many blobs in little memory."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator

from regkeeper.retention.digests import Algorithm, Digest


class Owners:
    """Digests with the number of the repository that had them, by the directory in which the blob lies."""

    def __init__(self) -> None:
        self._digests: dict[tuple[int, int], bytearray] = defaultdict(bytearray)
        self._repositories: dict[tuple[int, int], array[int]] = defaultdict(lambda: array("L"))

    def add(self, digests: Iterable[Digest], repository: int) -> None:
        """Note that a repository had these blobs."""
        for digest in digests:
            shard = digest[0], digest[1]
            self._digests[shard] += digest
            self._repositories[shard].append(repository)

    def shard(self, algorithm: Algorithm, first: int) -> dict[Digest, int | None]:
        """The repository of each blob of an algorithm whose first byte is `first`; None: more than one had it."""
        owners: dict[Digest, int | None] = {}
        for digest, repository in self._pairs(algorithm, first):
            owners[digest] = repository if owners.get(digest, repository) == repository else None
        return owners

    def _pairs(self, algorithm: Algorithm, first: int) -> Iterator[tuple[Digest, int]]:
        shard = algorithm.code[0], first
        content = bytes(self._digests.get(shard, b""))
        starts = range(0, len(content), algorithm.size)
        found = [content[start : start + algorithm.size] for start in starts]
        return zip(found, self._repositories.get(shard, ()), strict=True)
