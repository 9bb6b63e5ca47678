"""Manifests of every kind that a distribution registry may hold, as bytes: pure functions of their parts.

The fields are those of the OCI image specification 1.1, of Docker's manifest v2 schemas 1 and 2, and of the withdrawn
OCI artifact manifest, which registries of 2022 and 2023 still hold.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

EMPTY_JSON = b"{}"
"""The content of the empty descriptor, OCI image specification 1.1."""


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """`alg:hex` of the content."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says about a blob that it refers to."""

    media_type: str
    digest: str
    size: int
    platform: str = ""
    """`os/architecture`, for a child of an index."""
    annotations: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, content: bytes, media_type: str, algorithm: str = "sha256") -> "Descriptor":
        return cls(media_type, digest_of(content, algorithm), len(content))

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform:
            system, architecture = self.platform.split("/")
            document["platform"] = {"os": system, "architecture": architecture}
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return document


@dataclass(frozen=True)
class Manifest:
    """A manifest's bytes with the media type under which a client would push them."""

    media_type: str
    content: bytes

    def descriptor(self, *, algorithm: str = "sha256", platform: str = "") -> Descriptor:
        return Descriptor(self.media_type, digest_of(self.content, algorithm), len(self.content), platform)


def encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def image(
    config: Descriptor,
    layers: Sequence[Descriptor],
    *,
    media_type: str = OCI_MANIFEST,
    subject: Descriptor | None = None,
    artifact_type: str = "",
) -> Manifest:
    """An OCI image manifest or, by `media_type`, Docker's schema 2; with `subject` it is a referrer."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.document(),
        "layers": [layer.document() for layer in layers],
    }
    if artifact_type:
        document["artifactType"] = artifact_type
    return _with_subject(media_type, document, subject)


def index(
    children: Sequence[Descriptor],
    *,
    media_type: str = OCI_INDEX,
    subject: Descriptor | None = None,
    annotations: dict[str, str] | None = None,
) -> Manifest:
    """An OCI image index or, by `media_type`, Docker's manifest list."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [child.document() for child in children],
    }
    if annotations:
        document["annotations"] = annotations
    return _with_subject(media_type, document, subject)


def artifact(blobs: Sequence[Descriptor], *, subject: Descriptor | None = None) -> Manifest:
    """The OCI artifact manifest of 1.1.0-rc1 and -rc2: `blobs` instead of `layers`, and no config."""
    document = {
        "mediaType": OCI_ARTIFACT,
        "artifactType": "application/vnd.example.artifact",
        "blobs": [blob.document() for blob in blobs],
    }
    return _with_subject(OCI_ARTIFACT, document, subject)


def schema1(name: str, tag: str, layers: Sequence[Descriptor]) -> Manifest:
    """Docker's schema 1 as a registry stores it: the signed payload, whose hash is the digest, without signatures."""
    document = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": layer.digest} for layer in layers],
        "history": [{"v1Compatibility": encode({"id": layer.digest[-64:]}).decode()} for layer in layers],
    }
    return Manifest(DOCKER_SCHEMA1, json.dumps(document, indent=3).encode())


def unknown(mentions: Sequence[Descriptor]) -> Manifest:
    """A manifest of a type that nobody knows yet; it names other blobs in fields that nobody knows either."""
    media_type = "application/vnd.example.future.v9+json"
    document = {"mediaType": media_type, "parts": {"first": [mention.digest for mention in mentions]}}
    return Manifest(media_type, encode(document))


def image_config(created: str | None, *, architecture: str = "amd64", salt: str = "") -> bytes:
    """An image's config; `created` in RFC 3339, `salt` makes it another image."""
    document: dict[str, Any] = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": {"salt": salt}},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    if created is not None:
        document["created"] = created
    return encode(document)


def _with_subject(media_type: str, document: dict[str, Any], subject: Descriptor | None) -> Manifest:
    if subject is not None:
        document["subject"] = subject.document()
    return Manifest(media_type, encode(document))
