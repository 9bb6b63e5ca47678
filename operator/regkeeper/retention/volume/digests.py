"""Digests as bytes: one byte for the algorithm, then the raw digest; 33 bytes for SHA-256, where text takes 71.

The names are those of the OCI image specification 1.1, "Digests". A digest of another algorithm is never read: what
lies in such a directory stays.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

Digest = bytes
"""An algorithm's `code`, then the raw digest."""


class Algorithm(Struct, frozen=True):
    """A hash function that manifests and directories may name."""

    name: str
    code: bytes
    size: int
    """Length of a `Digest`, in bytes, the code included."""

    @property
    def hex_length(self) -> int:
        return 2 * (self.size - 1)

    @property
    def link_length(self) -> int:
        """Length of a link file, in bytes: `alg:hex` without a newline."""
        return len(self.name) + 1 + self.hex_length


SHA256 = Algorithm("sha256", b"\x01", 33)
SHA512 = Algorithm("sha512", b"\x02", 65)
ALGORITHMS = {algorithm.name: algorithm for algorithm in (SHA256, SHA512)}
BY_CODE = {algorithm.code[0]: algorithm for algorithm in ALGORITHMS.values()}
LONGEST_LINK = max(algorithm.link_length for algorithm in ALGORITHMS.values())

_TEXT = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"
_FULL = re.compile(_TEXT)
_MENTION = re.compile(rf"(?:{_TEXT})(?![0-9a-f])".encode())
_GRAMMAR = re.compile(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):[A-Za-z0-9=_-]+")
_DEPENDANT_TAG = re.compile(r"(sha256|sha512)-([0-9a-f]{64})(?:\..+)?")


def parse(text: str) -> Digest | None:
    """The digest that is written as `alg:hex`, or None if that is not what the text is."""
    if len(text) == 71 and text[:7] == "sha256:":  # nearly all of them, without the regular expression's cost
        try:
            digest = bytes.fromhex(text[7:])
        except ValueError:
            return None
        return b"\x01" + digest if digest.hex() == text[7:] else None  # fromhex takes upper case and spaces
    if not _FULL.fullmatch(text):
        return None
    name, _, hexadecimal = text.partition(":")
    return ALGORITHMS[name].code + bytes.fromhex(hexadecimal)


def from_hex(algorithm: Algorithm, hexadecimal: str) -> Digest | None:
    """The digest of a directory's name below a directory that is named after the algorithm; None for other names."""
    try:
        digest = bytes.fromhex(hexadecimal)
    except ValueError:
        return None
    if len(digest) != algorithm.size - 1 or digest.hex() != hexadecimal:  # fromhex takes upper case and spaces
        return None
    return algorithm.code + digest


def from_names(algorithm: Algorithm, names: Iterable[str]) -> dict[str, Digest]:
    """The digests of many directories' names at once, by name; other names are left out."""
    length = algorithm.hex_length
    right = [name for name in names if len(name) == length]
    code = algorithm.code.hex()
    joined = code + code.join(right) if right else ""
    try:
        raw = bytes.fromhex(joined)
    except ValueError:
        raw = b""
    if raw.hex() != joined:  # one name of a foreign file: fromhex takes upper case and spaces too
        return {name: digest for name in right if (digest := from_hex(algorithm, name)) is not None}
    size = algorithm.size
    return dict(zip(right, [raw[start : start + size] for start in range(0, len(raw), size)], strict=True))


def algorithm_of(digest: Digest) -> Algorithm:
    return BY_CODE[digest[0]]


def to_hex(digest: Digest) -> str:
    return digest[1:].hex()


def to_text(digest: Digest) -> str:
    """`alg:hex`."""
    return f"{algorithm_of(digest).name}:{digest[1:].hex()}"


def short(digest: Digest) -> str:
    """The first twelve hexadecimal digits, as clients print them."""
    return f"{algorithm_of(digest).name}:{digest[1:7].hex()}"


def compute(content: bytes, algorithm: Algorithm) -> Digest:
    """The digest of a content."""
    if algorithm is SHA256:
        return b"\x01" + hashlib.sha256(content).digest()
    return algorithm.code + hashlib.new(algorithm.name, content).digest()


def hasher(algorithm: Algorithm) -> Any:
    """A `hashlib` object for content that comes in pieces."""
    return hashlib.new(algorithm.name)


def mentioned(content: bytes) -> list[Digest]:
    """Every digest that the content names anywhere."""
    return [digest for match in _MENTION.findall(content) if (digest := parse(match.decode()))]


Subject = bytes
"""The first 33 bytes of a digest. A tag has no room for more: of SHA-512 it names the first 64 hexadecimal digits."""


def subject(digest: Digest) -> Subject:
    """The subject that a digest is."""
    return digest[:33]


def subject_named(text: str) -> Digest | None:
    """The digest by which a manifest names its subject, or None if the text is none.

    One of an algorithm that is not read stands for itself alone: as a digest that nothing on a volume has.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None or match[1] in ALGORITHMS:
        return parse(text)
    return b"\x00" + hashlib.sha256(text.encode()).digest()


UNREADABLE_SUBJECT: Digest = b"\xff" + bytes(32)
"""In the place of a subject that a manifest has and nobody can read: nothing on a volume has this digest."""


def can_be_looked_up(subject: Subject) -> bool:
    """Whether the absence of a subject tells anything: a registry keeps all content under its SHA-256."""
    return subject[:1] == SHA256.code


def subject_of_tag(tag: str) -> Subject | None:
    """The subject of a dependant's tag: `<alg>-<hex>` (OCI 1.1's fallback) or `<alg>-<hex>.<anything>` (cosign)."""
    if not tag.startswith("sha"):
        return None
    match = _DEPENDANT_TAG.fullmatch(tag)
    return ALGORITHMS[match[1]].code + bytes.fromhex(match[2]) if match else None
