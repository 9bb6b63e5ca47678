"""A set of names in a few bytes, of which one may ask whether a name is in it (a Bloom filter).

"No" is always true. "Yes" is wrong for 1 of 100 other names, and for 1 of 7 where the set is as large as it may be.

A run's answer has one, as the names themselves would not fit. It knows neither Kubernetes nor the engine.
"""

from collections.abc import Collection, Iterator
from hashlib import blake2b

LARGEST_BYTES = 480
MOST_NAMES = 1000
_BITS_OF_A_NAME = 12
_HASHES = 4


def sketch(names: Collection[bytes]) -> bytes | None:
    """The sketch of a set; None: it has too many names for a sketch to say anything."""
    if len(names) > MOST_NAMES:
        return None
    bits = bytearray(min(LARGEST_BYTES, max(1, -(-len(names) * _BITS_OF_A_NAME // 8))))
    for name in names:
        for place in _places(name, len(bits)):
            bits[place // 8] |= 1 << place % 8
    return bytes(bits)


def may_have(bits: bytes, name: bytes) -> bool:
    """Whether a name may be in the set of a sketch."""
    return all(bits[place // 8] & 1 << place % 8 for place in _places(name, len(bits)))


def name_of_tag(repository: str, tag: str) -> bytes:
    """Under which name a sketch has a tag."""
    return f"{repository}:{tag}".encode("utf-8", "surrogateescape")


def _places(name: bytes, size: int) -> Iterator[int]:
    digest = blake2b(name, digest_size=4 * _HASHES).digest()
    for number in range(_HASHES):
        yield int.from_bytes(digest[4 * number : 4 * number + 4]) % (8 * size)
