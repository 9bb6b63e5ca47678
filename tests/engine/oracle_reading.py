"""What the oracle sees of a volume: everything, read at once, with pathlib, into dictionaries.

Source of the layout: `registry/storage/paths.go` of distribution. Digests are strings (`alg:hex`), times nanoseconds.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DIGEST = re.compile(r"sha256:[0-9a-f]{64}(?![0-9a-f])|sha512:[0-9a-f]{128}(?![0-9a-f])")

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

IMAGES = {"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}
INDEXES = {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
ARTIFACTS = {"application/vnd.oci.artifact.manifest.v1+json"}


@dataclass
class Tag:
    name: str
    digest: str | None
    """None: its current link is absent or unreadable."""
    unreadable: bool
    pushed: int
    history: dict[str, int]
    """Digest → when the tag came to point to it."""


@dataclass
class Repository:
    name: str
    tags: dict[str, Tag] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    """Digest → time of the revision link."""
    bad_revisions: set[str] = field(default_factory=set)
    """Those whose link is empty or malformed."""
    layers: dict[str, int] = field(default_factory=dict)
    """Digest → time of the layer link."""
    named: set[str] = field(default_factory=set)
    """Every digest that a revision or layer directory names, with a link or without."""
    uploads: dict[str, int] = field(default_factory=dict)
    """Upload → the newest time of anything in it."""
    strangers: bool = False
    """Something in it is neither a tag nor named by a digest."""


@dataclass
class Document:
    """What a manifest says: what it refers to and what it is about."""

    present: bool
    readable: bool = True
    blobs: set[str] = field(default_factory=set)
    children: set[str] = field(default_factory=set)
    """Manifests that it leads to, if the repository has them."""
    platforms: set[str] = field(default_factory=set)
    """The same, if it is known to be an index."""
    subject: str | None = None
    """`unreadable:` if it has one that can't be read."""
    config: str | None = None


@dataclass
class World:
    repositories: dict[str, Repository]
    sizes: dict[str, int]
    """Digest of each blob whose `data` is there → bytes."""
    modified: dict[str, int]
    half_written: dict[str, int]
    """Digest of each blob that has no `data`, and what 3.1 had begun to write → the newest time of that."""
    temporaries: dict[Path, int]
    """What 3.1 had begun to write beside a `data` → its time."""
    documents: dict[str, Document]
    """For each digest that some revision link, readable or not, names."""


def read(v2: Path) -> World:
    """Everything below `docker/registry/v2`."""
    blobs = {
        f"{data.parents[2].name}:{data.parent.name}": data.stat()
        for data in sorted(v2.glob("blobs/*/*/*/data"))
        if data.is_file()
    }
    repositories = _repositories(v2 / "repositories")
    linked = {digest for repository in repositories.values() for digest in repository.revisions}
    return World(
        repositories,
        {digest: status.st_size for digest, status in blobs.items()},
        {digest: status.st_mtime_ns for digest, status in blobs.items()},
        _half_written(v2),
        {
            path: path.stat().st_mtime_ns
            for path in v2.glob("blobs/*/*/*/data.*.tmp")
            if path.with_name("data").is_file()
        },
        {digest: _document(v2, digest) for digest in linked},
    )


def complete_tags(world: World) -> set[tuple[str, str]]:
    """(repository, tag) of each that pulls in full: its manifest, the children that its repository has, their blobs."""

    def complete(repository: Repository, digest: str) -> bool:
        document = world.documents.get(digest)
        if document is None or not document.present or not document.readable:
            return False
        if digest not in repository.revisions or digest in repository.bad_revisions:
            return False
        children = document.children & repository.revisions.keys()
        blobs = document.blobs - document.children
        there = all(blob in world.sizes and blob in repository.layers for blob in blobs)
        return there and all(complete(repository, child) for child in children)

    return {
        (name, tag.name)
        for name, repository in world.repositories.items()
        for tag in repository.tags.values()
        if tag.digest is not None and complete(repository, tag.digest)
    }


def _half_written(v2: Path) -> dict[str, int]:
    found = {}
    for blob in v2.glob("blobs/*/*/*"):
        inside = sorted(blob.iterdir())
        if inside and all(path.name.startswith("data.") and path.suffix == ".tmp" for path in inside):
            found[f"{blob.parents[1].name}:{blob.name}"] = max(path.stat().st_mtime_ns for path in inside)
    return found


def _repositories(top: Path) -> dict[str, Repository]:
    found = {}
    for directory, below, _ in os.walk(top):
        rooms = {name for name in below if name.startswith("_")}
        below[:] = sorted(set(below) - rooms)
        if rooms & {"_layers", "_manifests", "_uploads"}:
            name = str(Path(directory).relative_to(top))
            found[name] = _repository(Path(directory), name)
    return found


def _repository(directory: Path, name: str) -> Repository:
    repository = Repository(name)
    for tag in (directory / "_manifests" / "tags").glob("*"):
        if tag.is_dir():
            repository.tags[tag.name] = _tag(tag)
    for digest, link in _links(directory / "_manifests" / "revisions"):
        repository.named.add(digest)
        if link.is_file():
            repository.revisions[digest] = link.stat().st_mtime_ns
            if link.read_text(errors="replace") != digest:
                repository.bad_revisions.add(digest)
    for digest, link in _links(directory / "_layers"):
        repository.named.add(digest)
        if link.is_file():
            repository.layers[digest] = link.stat().st_mtime_ns
    repository.strangers = _has_strangers(directory)
    for upload in (directory / "_uploads").glob("*"):
        repository.uploads[upload.name] = max(path.stat().st_mtime_ns for path in (upload, *upload.rglob("*")))
    return repository


def _has_strangers(directory: Path) -> bool:
    manifests = directory / "_manifests"
    rooms = {path.name for path in manifests.glob("*")} - {"revisions", "tags"}
    tags = [path for path in (manifests / "tags").glob("*") if not TAG.fullmatch(path.name)]
    links = [*(manifests / "revisions").glob("*/*"), *(directory / "_layers").glob("*/*")]
    return bool(rooms or tags) or any(not DIGEST.fullmatch(f"{path.parent.name}:{path.name}") for path in links)


def _tag(directory: Path) -> Tag:
    history = {digest: link.stat().st_mtime_ns for digest, link in _links(directory / "index") if link.is_file()}
    current = directory / "current" / "link"
    if not current.is_file():
        return Tag(directory.name, None, unreadable=False, pushed=0, history=history)
    content = current.read_text(errors="replace")
    readable = DIGEST.fullmatch(content) is not None
    return Tag(directory.name, content if readable else None, not readable, current.stat().st_mtime_ns, history)


def _links(directory: Path) -> list[tuple[str, Path]]:
    """(digest, path of its link) of each `<alg>/<hex>` in a directory."""
    found = [(f"{path.parent.name}:{path.name}", path / "link") for path in sorted(directory.glob("*/*"))]
    return [(digest, link) for digest, link in found if DIGEST.fullmatch(digest)]


def _document(v2: Path, digest: str) -> Document:
    algorithm, _, hexadecimal = digest.partition(":")
    data = v2 / "blobs" / algorithm / hexadecimal[:2] / hexadecimal / "data"
    if not data.is_file():
        return Document(present=False)
    content = data.read_bytes()
    if hashlib.new(algorithm, content).hexdigest() != hexadecimal:
        return Document(present=True, readable=False)
    try:
        return _parsed(json.loads(content), content.decode())
    except (ValueError, KeyError, TypeError, AttributeError):
        return Document(present=True, readable=False)


def _parsed(manifest: dict[str, Any], text: str) -> Document:
    """By the media type or, as OCI allows to leave it out, by the fields."""
    media_type = manifest.get("mediaType", "")
    subject = None if manifest.get("subject") is None else _subject(manifest["subject"])
    if media_type in INDEXES or (not media_type and "manifests" in manifest):
        children = {child["digest"] for child in manifest["manifests"] or ()}
        return Document(present=True, children=children, platforms=children, subject=subject)
    if media_type in IMAGES or (not media_type and "config" in manifest):
        config = manifest["config"]["digest"]
        layers = {layer["digest"] for layer in manifest["layers"] or ()}
        return Document(present=True, blobs={config} | layers, subject=subject, config=config)
    if media_type in ARTIFACTS:
        return Document(present=True, blobs={blob["digest"] for blob in manifest.get("blobs") or ()}, subject=subject)
    if manifest.get("schemaVersion") == 1:
        return Document(present=True, blobs={layer["blobSum"] for layer in manifest["fsLayers"]})
    mentions = set(DIGEST.findall(text))
    return Document(present=True, blobs=mentions, children=mentions, subject=subject)


def _subject(descriptor: Any) -> str:
    """The digest that is named, or what no digest begins with."""
    named = str(descriptor.get("digest")) if isinstance(descriptor, dict) else "?"
    return named if DIGEST.fullmatch(named) else "unreadable:"
