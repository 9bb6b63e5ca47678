"""Container images without a daemon: reproducible layers and docker archives, with nothing but tar and a hash.

`docker load`, `ctr images import`, `skopeo copy docker-archive:` and `buildah pull docker-archive:` read the format:
a tar with the layers, the configuration named by its digest, and manifest.json.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class File:
    """A file of a layer."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link of a layer."""

    target: str


@dataclass(frozen=True)
class Directory:
    """A directory of a layer that needs another mode than 0755."""

    mode: int


Layer = Mapping[str, File | Link | Directory]
"""What a layer holds, by path without a leading slash. Parent directories come by themselves. All is root's."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """What an archive holds."""

    names: Sequence[str]
    """With host and tag, such as docker.io/library/registry:3."""
    layers: Sequence[bytes | Path]
    """Each a tar, uncompressed."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Entrypoint, Cmd, Env and the like, as Docker spells them."""
    architecture: str = _ARCHITECTURES[platform.machine()]


def layer_tar(layer: Layer) -> bytes:
    """The tar of a layer: the same bytes for the same content."""
    entries: dict[str, File | Link | Directory] = dict(layer)
    for path in layer:
        for parent in Path(path).parents:
            if str(parent) != ".":
                entries.setdefault(str(parent), Directory(0o755))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(entries):
            _add(archive, path, entries[path])
    return buffer.getvalue()


def image_config(image: Image, diff_ids: Sequence[str]) -> bytes:
    """The image's configuration, whose digest is the image's id."""
    document = {
        "architecture": image.architecture,
        "os": "linux",
        "created": _EPOCH,
        "config": dict(image.config),
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [{"created": _EPOCH, "created_by": "tests.cluster"} for _ in diff_ids],
    }
    return json.dumps(document, sort_keys=True).encode()


def write_archive(image: Image, path: Path) -> None:
    """Write a docker archive."""
    digests = [_digest(layer) for layer in image.layers]
    config = image_config(image, [f"sha256:{digest}" for digest in digests])
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_names = [f"{digest}/layer.tar" for digest in digests]
    manifest = [{"Config": config_name, "RepoTags": list(image.names), "Layers": layer_names}]
    with tarfile.open(path, "w") as archive:
        _add(archive, config_name, File(config))
        for name, layer in dict(zip(layer_names, image.layers, strict=True)).items():
            if isinstance(layer, bytes):
                _add(archive, name, File(layer))
            else:
                _add_from(archive, name, layer)
        _add(archive, "manifest.json", File(json.dumps(manifest).encode()))


def _add(archive: tarfile.TarFile, path: str, entry: File | Link | Directory) -> None:
    info = tarfile.TarInfo(path)
    match entry:
        case File(content, mode):
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
        case Link(target):
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(info)
        case Directory(mode):
            info.type, info.mode = tarfile.DIRTYPE, mode
            archive.addfile(info)


def _add_from(archive: tarfile.TarFile, name: str, layer: Path) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = layer.stat().st_size, 0o644
    with layer.open("rb") as content:
        archive.addfile(info, content)


def _digest(layer: bytes | Path) -> str:
    if isinstance(layer, bytes):
        return hashlib.sha256(layer).hexdigest()
    with layer.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
