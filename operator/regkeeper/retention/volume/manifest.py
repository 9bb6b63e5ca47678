"""What a manifest refers to. Pure: content in, references out.

Known are the OCI image manifest and index, Docker's schema 2 and manifest list, Docker's schema 1, and the withdrawn
OCI artifact manifest. Of anything else, every digest that the content mentions counts as a reference: what is not
understood keeps more, never less.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

from regkeeper.retention.volume.digests import BY_CODE, UNREADABLE_SUBJECT, Digest, mentioned, parse, subject_named


class Shape(IntEnum):
    """What kind of document it is; the numbers are stored in the cache."""

    IMAGE = 0
    INDEX = 1
    SCHEMA1 = 2
    ARTIFACT = 3
    UNKNOWN = 4


MEDIA_TYPES = {
    "application/vnd.oci.image.manifest.v1+json": Shape.IMAGE,
    "application/vnd.docker.distribution.manifest.v2+json": Shape.IMAGE,
    "application/vnd.oci.image.index.v1+json": Shape.INDEX,
    "application/vnd.docker.distribution.manifest.list.v2+json": Shape.INDEX,
    "application/vnd.docker.distribution.manifest.v1+json": Shape.SCHEMA1,
    "application/vnd.docker.distribution.manifest.v1+prettyjws": Shape.SCHEMA1,
    "application/vnd.oci.artifact.manifest.v1+json": Shape.ARTIFACT,
}

ATTESTATION = "vnd.docker.reference.type"
"""Annotation on the descriptor of a child that is no image (BuildKit's attestations)."""


class Manifest(NamedTuple):
    """A manifest's references. A named tuple: a volume has a hundred thousand of them."""

    shape: Shape
    size: int
    """Bytes of the document itself."""
    config: Digest | None
    blobs: tuple[Digest, ...]
    """Config, layers and whatever else is a blob; of an unknown shape, every digest that is mentioned."""
    children: tuple[Digest, ...]
    """Manifests that an index lists; of an unknown shape, every digest that is mentioned."""
    subject: Digest | None
    """What it is about; `UNREADABLE_SUBJECT`: something that can't be read."""
    attestations: tuple[Digest, ...] = ()
    """The children that are no images."""
    foreign: tuple[Digest, ...] = ()
    """The blobs that a client fetches from elsewhere, so that none need be here."""


class CorruptManifestError(ValueError):
    """The content can't be understood."""


class NoManifestError(CorruptManifestError):
    """The content, whole as it is, is none of a manifest: no JSON object."""


class _Descriptor(msgspec.Struct):
    digest: str
    urls: list[str] | None = None
    annotations: dict[str, object] | None = None


class _BlobSum(msgspec.Struct):
    digest: str = msgspec.field(name="blobSum")


class _Document(msgspec.Struct):
    """The fields of every kind; UNSET tells a missing one from null."""

    media_type: str | None = msgspec.field(name="mediaType", default=None)
    config: _Descriptor | msgspec.UnsetType = msgspec.UNSET
    layers: list[_Descriptor] | msgspec.UnsetType | None = msgspec.UNSET
    manifests: list[_Descriptor] | msgspec.UnsetType | None = msgspec.UNSET
    fs_layers: list[_BlobSum] | msgspec.UnsetType = msgspec.field(name="fsLayers", default=msgspec.UNSET)
    blobs: list[_Descriptor] | msgspec.UnsetType | None = msgspec.UNSET
    subject: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _NotUnderstoodError(Exception):
    """The document has not the fields that its media type promises."""


_NONE: Mapping[str, Digest] = {}
_decode = msgspec.json.Decoder(_Document).decode
_decode_subject = msgspec.json.Decoder(_Descriptor | None).decode
_FIELDS = {
    name.casefold(): name
    for name in ("config", "layers", "manifests", "digest", "subject", "mediaType", "fsLayers", "blobSum", "blobs")
}


def parse_manifest(content: bytes, known: Mapping[str, Digest] = _NONE) -> Manifest:
    """The references of a manifest whose digest was verified.

    Args:
        content: the document.
        known: digests by their text, which need not be parsed again.

    Raises:
        NoManifestError: the content is not a JSON object.
    """
    try:
        return _understood(_decode(content), content, known)
    except (msgspec.MsgspecError, _NotUnderstoodError, UnicodeDecodeError, RecursionError):
        return _unknown(content)


def _understood(document: _Document, content: bytes, known: Mapping[str, Digest]) -> Manifest:
    shape = _shape(document)
    subject = None if document.subject is msgspec.UNSET else _understood_subject(document.subject)
    named = 0 if subject is None or subject[0] not in BY_CODE else 1
    config: Digest | None = None
    blobs: tuple[Digest, ...] = ()
    children: tuple[Digest, ...] = ()
    attestations: tuple[Digest, ...] = ()
    foreign: tuple[Digest, ...] = ()
    if shape is Shape.IMAGE:
        if document.config is msgspec.UNSET:
            raise _NotUnderstoodError
        config = known.get(document.config.digest) or _digest(document.config)
        layers = document.layers or ()
        blobs = (config, *[known.get(layer.digest) or _digest(layer) for layer in layers])
        foreign = tuple([_digest(layer) for layer in layers if layer.urls])
    elif shape is Shape.INDEX:
        listed = document.manifests or ()
        children = tuple([known.get(child.digest) or _digest(child) for child in listed])
        attestations = tuple(_digest(child) for child in listed if ATTESTATION in (child.annotations or ()))
    elif shape is Shape.SCHEMA1:
        blobs = tuple(map(_digest, document.fs_layers or ()))
    else:
        blobs = tuple(map(_digest, document.blobs or ()))
    named += len(blobs) + len(children)
    counted = content.count(b'"sha')
    subjects = content.lower().count(b'"subject"')
    read = document.subject is not msgspec.UNSET
    if counted != named or subjects != read or b"\\" in content or not content.isascii():
        _refuse_other_spellings(content)
    return Manifest(shape, len(content), config, blobs, children, subject, attestations, foreign)


def _understood_subject(field: msgspec.Raw) -> Digest | None:
    try:
        descriptor = _decode_subject(field)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return UNREADABLE_SUBJECT
    return None if descriptor is None else subject_named(descriptor.digest) or UNREADABLE_SUBJECT


def _shape(document: _Document) -> Shape:
    """By media type or, without one, as the image specification allows, by the fields that only one kind has."""
    unset = msgspec.UNSET
    if document.media_type:
        shape = MEDIA_TYPES.get(document.media_type, Shape.UNKNOWN)
    elif document.manifests is not unset:
        shape = Shape.INDEX
    elif document.config is not unset:
        shape = Shape.IMAGE
    elif document.fs_layers is not unset:
        shape = Shape.SCHEMA1
    else:
        shape = Shape.UNKNOWN
    # A document with the lists of two kinds is read differently by different clients (CVE-2021-41190).
    if shape is Shape.INDEX:
        ambiguous = document.config is not unset or document.layers is not unset
    else:
        ambiguous = document.manifests is not unset or (shape is Shape.IMAGE and document.fs_layers is not unset)
    if shape is Shape.UNKNOWN or ambiguous:
        raise _NotUnderstoodError
    return shape


def _refuse_other_spellings(content: bytes) -> None:
    """Raise for fields that Go's decoder, which the registry uses, reads and ours does not.

    It takes a name that differs in case, folded as Unicode has it (`layer\u017f` is `layers`), and of a field that
    stands twice it merges what both say.
    """

    def check(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            field = _FIELDS.get(name.casefold())
            if field is not None and (name != field or name in seen):
                raise _NotUnderstoodError
            seen.add(name)

    try:
        _decode_as_go(content, object_pairs_hook=check)
    except (ValueError, RecursionError):
        raise _NotUnderstoodError from None


class _Object(list[tuple[str, Any]]):
    """A JSON object with all of its fields, those that stand twice too."""

    def folded(self, name: str) -> list[Any]:
        """The values of a field, however its name is spelt, without those that are null."""
        return [value for key, value in self if key.casefold() == name and value is not None]


def _decode_as_go(content: bytes, **options: Any) -> Any:
    """Decode what Go's decoder takes and stricter ones refuse.

    That is bytes that are no UTF-8, half of a surrogate pair (a label that was cut in an emoji), and numbers of any
    length.
    """
    return json.loads(content.decode("utf-8", "replace"), parse_int=float, **options)


def _digest(descriptor: _Descriptor | _BlobSum) -> Digest:
    if (digest := parse(descriptor.digest)) is None:
        raise _NotUnderstoodError
    return digest


def _unknown(content: bytes) -> Manifest:
    document: Any = None
    try:
        document = _decode_as_go(content, object_pairs_hook=_Object)
    except RecursionError:
        pass  # The registry took it: it is JSON, and what it mentions in plain text stays.
    except ValueError as error:
        raise NoManifestError(f"not JSON: {error}") from None
    else:
        if not isinstance(document, _Object):
            raise NoManifestError("not a JSON object")
    subject = UNREADABLE_SUBJECT if document is None else _subject(document)
    named = [content]
    if b"\\" in content:  # a digest may be spelt with escapes
        named.extend(text.encode("utf-8", "surrogatepass") for text in _texts(document))
    mentions = tuple(_distinct(digest for part in named for digest in mentioned(part)))
    return Manifest(Shape.UNKNOWN, len(content), None, mentions, mentions, subject)


def _subject(document: _Object) -> Digest | None:
    """What a document is about, if it names one thing; None if it is about nothing."""
    subjects = document.folded("subject")
    if not subjects:
        return None
    named = subjects[0].folded("digest") if len(subjects) == 1 and isinstance(subjects[0], _Object) else []
    digest = subject_named(named[0]) if len(named) == 1 and isinstance(named[0], str) else None
    return digest or UNREADABLE_SUBJECT


def _texts(document: Any) -> Iterator[str]:
    """Every string in a decoded document, however deep it is."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):  # an object is a list of its fields
            waiting.extend(value)


def _distinct(digests: Iterable[Digest]) -> Iterable[Digest]:
    return dict.fromkeys(digests)
