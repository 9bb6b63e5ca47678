"""Tiny images for tests to push and pull: kilobytes of content that no other image shares, made in milliseconds."""

import hashlib
import json
from pathlib import Path

from tests.cluster.images.archive import File, Image, image_config, layer_tar, write_archive
from tests.cluster.programs import PAUSE

PLATFORMS = ("amd64", "arm64")


def tiny_image(name: str, seed: str, layers: int, directory: Path) -> Path:
    """Write the docker archive of an image that runs (it waits until it is ended), and return its path.

    Args:
        name: host, repository and tag, or what of these `docker load` completes.
        seed: another seed, another content of every layer and another digest; the same seed, the same digests.
        layers: how many, besides the first with the program, which all tiny images share.
        directory: where the archive is written.
    """
    image = Image(
        names=[name],
        layers=[layer_tar({"pause": _program()}), *_unique_layers(seed, layers)],
        config={"Entrypoint": ["/pause"], "Labels": {"seed": seed}},
    )
    path = directory / f"{hashlib.sha256(f'{name} {seed} {layers}'.encode()).hexdigest()[:16]}.tar"
    write_archive(image, path)
    return path


def multi_platform_layout(tag: str, seed: str, directory: Path) -> Path:
    """Write an OCI image layout with an index of two platforms, and return its path.

    `skopeo copy --all oci:PATH:TAG docker://HOST/REPOSITORY:TAG` pushes it, index and all.
    """
    path = directory / f"index-{hashlib.sha256(f'{tag} {seed}'.encode()).hexdigest()[:16]}"
    layout = _Layout(path)
    manifests = [_platform_manifest(layout, architecture, f"{seed} {architecture}") for architecture in PLATFORMS]
    index_type = "application/vnd.oci.image.index.v1+json"
    index = layout.add_json({"schemaVersion": 2, "mediaType": index_type, "manifests": manifests}, index_type)
    index["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (path / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}))
    return path


def _program() -> File:
    return File(PAUSE.program("pause").read_bytes(), 0o755)


def _unique_layers(seed: str, count: int) -> list[bytes]:
    contents = [f"{seed}, layer {number}\n".encode() for number in range(count)]
    return [layer_tar({f"content/{number}": File(content * 16)}) for number, content in enumerate(contents)]


def _platform_manifest(layout: "_Layout", architecture: str, seed: str) -> dict[str, object]:
    layers = _unique_layers(seed, 2)
    image = Image(names=[], layers=layers, config={"Labels": {"seed": seed}}, architecture=architecture)
    config = image_config(image, [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers])
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": layout.add(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [layout.add(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
    }
    return {**layout.add_json(manifest, manifest_type), "platform": {"os": "linux", "architecture": architecture}}


class _Layout:
    """The blobs of an OCI image layout."""

    def __init__(self, path: Path) -> None:
        self._blobs = path / "blobs/sha256"
        self._blobs.mkdir(parents=True, exist_ok=True)

    def add(self, content: bytes, media_type: str) -> dict[str, object]:
        """Write a blob and return its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self._blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def add_json(self, document: object, media_type: str) -> dict[str, object]:
        return self.add(json.dumps(document, sort_keys=True).encode(), media_type)
