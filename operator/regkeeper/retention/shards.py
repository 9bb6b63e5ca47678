"""Very many digests in little memory: one byte string for each of the directories in which blobs lie.

A million digests in a Python set take 115 MB, here 33 MB; only the shard at hand is ever made a set.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from regkeeper.retention.digests import BY_CODE, SHA256, Algorithm, Digest


class Shards:
    """A bag of digests; one that is added twice takes its place twice."""

    def __init__(self) -> None:
        self._sha256: list[bytearray] = [bytearray() for _ in range(256)]
        self._others: dict[tuple[int, int], bytearray] = defaultdict(bytearray)

    def add(self, digests: Iterable[Digest]) -> None:
        shards = self._sha256
        for digest in digests:
            if digest[0] == 1:
                shards[digest[1]] += digest
            else:
                self._others[digest[0], digest[1]] += digest

    def shard(self, algorithm: Algorithm, first: int) -> set[Digest]:
        """The distinct digests of an algorithm whose first byte is `first`."""
        if algorithm is SHA256:
            return set(_split(self._sha256[first], algorithm))
        return set(_split(self._others.get((algorithm.code[0], first), bytearray()), algorithm))

    def __iter__(self) -> Iterator[Digest]:
        for shard in self._sha256:
            yield from _split(shard, SHA256)
        for (code, _), shard in self._others.items():
            yield from _split(shard, BY_CODE[code])


def _split(shard: bytearray, algorithm: Algorithm) -> list[Digest]:
    content = bytes(shard)
    size = algorithm.size
    return [content[start : start + size] for start in range(0, len(content), size)]
