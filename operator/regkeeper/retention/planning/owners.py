"""Which repository had a blob that it needs no more, for very many blobs in little memory."""

from collections.abc import Iterable

from regkeeper.retention.volume.digests import Algorithm, Digest
from regkeeper.retention.volume.shards import ShardedRecords, split

_NUMBER = 4
"""Bytes of a repository's number, whose last bit tells whether it needed the blob until now."""


class Owners:
    """Digests with the number of the repository that had them, by the directory in which the blob lies."""

    def __init__(self) -> None:
        self._records = ShardedRecords()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, digests: Iterable[Digest], repository: int, *, freed: bool) -> None:
        """Note that a repository had these blobs.

        Args:
            digests: the blobs.
            repository: its number, less than 2**31.
            freed: it needed them until now; otherwise only links named them.
        """
        number = (repository << 1 | freed).to_bytes(_NUMBER, "big")
        self._records.add([digest + number for digest in digests])

    def merge(self, other: "Owners") -> None:
        """Add what another one has noted."""
        self._records.merge(other._records)

    def take(self, algorithm: Algorithm, first: int) -> tuple[dict[Digest, int | None], set[Digest]]:
        """The blobs of an algorithm whose first byte is `first`; afterwards they are forgotten.

        Returns:
            The repository of each, None where more than one had it, and those that some repository needed until now.
        """
        owners: dict[Digest, int | None] = {}
        freed = set()
        for record in split(self._records.get(algorithm, first), algorithm.size + _NUMBER):
            digest, number = record[:-_NUMBER], int.from_bytes(record[-_NUMBER:], "big")
            repository = number >> 1
            owners[digest] = repository if owners.get(digest, repository) == repository else None
            if number & 1:
                freed.add(digest)
        self._records.drop(algorithm, first)
        return owners, freed
