"""What a manifest refers to. Pure: content in, references out.

Known are the OCI image manifest and index, Docker's schema 2 and manifest list, Docker's schema 1, and the withdrawn
OCI artifact manifest. Of anything else, every digest that the content mentions counts as a reference: what is not
understood keeps more, never less.
"""

from enum import IntEnum
from typing import Any, NamedTuple

from pydantic_core import from_json

from regkeeper.retention.digests import Digest, mentioned, parse


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
    attestations: tuple[Digest, ...] = ()
    """The children that are no images."""
    foreign: tuple[Digest, ...] = ()
    """The blobs that a client fetches from elsewhere, so that none need be here."""


class CorruptManifestError(ValueError):
    """The content is no JSON object."""


def parse_manifest(content: bytes) -> Manifest:
    """The references of a manifest whose digest was verified.

    Raises:
        CorruptManifestError: the content is not a JSON object.
    """
    try:
        document = from_json(content)
    except ValueError as error:
        raise CorruptManifestError(str(error)) from None
    if type(document) is not dict:
        raise CorruptManifestError("not a JSON object")
    try:
        return _known(document, len(content))
    except _NotUnderstoodError:
        mentions = tuple(dict.fromkeys(mentioned(content)))
        return Manifest(Shape.UNKNOWN, len(content), None, mentions, mentions, _subject_if_any(document))


class _NotUnderstoodError(Exception):
    """The document has not the fields that its media type promises."""


def _known(document: dict[str, Any], size: int) -> Manifest:
    shape = _shape(document)
    subject = _digest(document["subject"]) if document.get("subject") is not None else None
    if shape is Shape.IMAGE:
        config = _digest(document["config"]) if "config" in document else None
        layers = document.get("layers") or []
        if type(layers) is not list or config is None:
            raise _NotUnderstoodError
        digests = [config]
        foreign = []
        for layer in layers:
            digests.append(digest := _digest(layer))
            if layer.get("urls"):
                foreign.append(digest)
        return Manifest(shape, size, config, tuple(digests), (), subject, (), tuple(foreign))
    if shape is Shape.INDEX:
        return _index(document, size, subject)
    if shape is Shape.SCHEMA1:
        layers = [{"digest": layer.get("blobSum")} for layer in _objects(document.get("fsLayers"))]
        return Manifest(shape, size, None, tuple(map(_digest, layers)), (), subject)
    blobs = tuple(map(_digest, _objects(document.get("blobs") or [])))
    return Manifest(shape, size, None, blobs, (), subject)


def _shape(document: dict[str, Any]) -> Shape:
    """By media type or, without one, as the image specification allows, by the fields that only one kind has."""
    media_type = document.get("mediaType")
    if media_type is not None and media_type != "":
        if type(media_type) is not str or media_type not in MEDIA_TYPES:
            raise _NotUnderstoodError
        shape = MEDIA_TYPES[media_type]
    elif "manifests" in document:
        shape = Shape.INDEX
    elif "config" in document:
        shape = Shape.IMAGE
    elif "fsLayers" in document:
        shape = Shape.SCHEMA1
    else:
        raise _NotUnderstoodError
    # A document with the lists of two kinds is read differently by different clients (CVE-2021-41190).
    if ("manifests" in document) and shape is not Shape.INDEX:
        raise _NotUnderstoodError
    if shape is Shape.INDEX and ("layers" in document or "config" in document):
        raise _NotUnderstoodError
    return shape


def _index(document: dict[str, Any], size: int, subject: Digest | None) -> Manifest:
    children = []
    attestations = []
    for child in _objects(document.get("manifests") or []):
        children.append(digest := _digest(child))
        annotations = child.get("annotations")
        if type(annotations) is dict and ATTESTATION in annotations:
            attestations.append(digest)
    return Manifest(Shape.INDEX, size, None, (), tuple(children), subject, tuple(attestations))


def _objects(value: object) -> list[dict[str, Any]]:
    if type(value) is not list or not all(type(item) is dict for item in value):
        raise _NotUnderstoodError
    return value


def _digest(descriptor: Any) -> Digest:
    if type(descriptor) is dict:
        text = descriptor.get("digest")
        if type(text) is str and (digest := parse(text)) is not None:
            return digest
    raise _NotUnderstoodError


def _subject_if_any(document: dict[str, Any]) -> Digest | None:
    try:
        return _digest(document.get("subject"))
    except _NotUnderstoodError:
        return None
