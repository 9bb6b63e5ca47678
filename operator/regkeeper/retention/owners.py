"""Which repository had a blob that it needs no more, for very many blobs in little memory."""

from array import array
from collections import defaultdict
from collections.abc import Iterable

from regkeeper.retention.digests import Algorithm, Digest


class Owners:
    """Digests with the number of the repository that had them, by the directory in which the blob lies."""

    def __init__(self) -> None:
        self._digests: dict[tuple[int, int], bytearray] = defaultdict(bytearray)
        self._numbers: dict[tuple[int, int], array[int]] = defaultdict(lambda: array("L"))

    def add(self, digests: Iterable[Digest], repository: int, *, freed: bool) -> None:
        """Note that a repository had these blobs.

        Args:
            digests: the blobs.
            repository: its number.
            freed: it needed them until now; otherwise only links named them.
        """
        number = repository << 1 | freed
        for digest in digests:
            shard = digest[0], digest[1]
            self._digests[shard] += digest
            self._numbers[shard].append(number)

    def take(self, algorithm: Algorithm, first: int) -> tuple[dict[Digest, int | None], set[Digest]]:
        """The blobs of an algorithm whose first byte is `first`; afterwards they are forgotten.

        Returns:
            The repository of each, None where more than one had it, and those that some repository needed until now.
        """
        shard = algorithm.code[0], first
        content = bytes(self._digests.pop(shard, b""))
        numbers = self._numbers.pop(shard, array("L"))
        owners: dict[Digest, int | None] = {}
        freed = set()
        for position, number in enumerate(numbers):
            digest = content[position * algorithm.size : (position + 1) * algorithm.size]
            repository = number >> 1
            owners[digest] = repository if owners.get(digest, repository) == repository else None
            if number & 1:
                freed.add(digest)
        return owners, freed
