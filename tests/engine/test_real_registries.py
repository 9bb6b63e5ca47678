"""The engine beside the programs that it is for: distribution 2.8 and 3.1, and the clients that people push with.

The registry runs all the while, with its descriptor cache off, as ours do. So that nothing is too young, the engine is
told that it is 40 days later.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.engine import documents, driver
from tests.engine.clients import Client, Crane, Docker, Skopeo, docker_daemon, put_manifest, status, upload
from tests.engine.documents import Descriptor
from tests.engine.driver import REFUSES_NOTHING, complete
from tests.engine.oracle_reading import read
from tests.engine.volumes import DAY, SECOND, Volume
from tests.registry_process import registry_program, serve_registry

Version = Literal["2.8", "3.1"]

CONFIG = "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\n"

KEEP_THE_LAST = {
    "rules": [{"repositories": ["app", "multi"], "keep": {"last": 1}}],
    "untagged": {"deleteAfter": "24h"},
    "limits": REFUSES_NOTHING,
}


@pytest.fixture(params=["2.8", "3.1"])
def version(request: pytest.FixtureRequest) -> Version:
    assert request.param in ("2.8", "3.1")
    return "2.8" if request.param == "2.8" else "3.1"


@pytest.fixture(scope="module")
def docker_host() -> Iterator[str]:
    with docker_daemon() as host:
        yield host


@pytest.fixture(
    params=["skopeo", "crane", pytest.param("docker", marks=[pytest.mark.root, pytest.mark.xdist_group("docker")])]
)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    folder = tmp_path / "client"
    folder.mkdir()
    if request.param == "docker":
        return Docker(folder, request.getfixturevalue("docker_host"))
    return Skopeo(folder) if request.param == "skopeo" else Crane(folder)


class Registry:
    """A running registry, its volume, and a client."""

    def __init__(self, url: str, volume: Volume, client: Client) -> None:
        self.address = url.removeprefix("http://")
        self.volume = volume
        self.client = client
        self.digests: dict[str, str] = {}

    def push(self, name: str, seed: str) -> None:
        self.client.push(f"{self.address}/{name}", seed)
        self.remember(name)

    def push_index(self, name: str, seed: str) -> None:
        self.client.push_index(f"{self.address}/{name}", seed)
        self.remember(name)

    def remember(self, name: str) -> None:
        code, self.digests[name] = status(self.address, name.replace(":", "/manifests/"))
        assert code == 200

    def assert_pulls(self, *names: str) -> None:
        """By tag and by digest, everything that they lead to."""
        for name in names:
            repository = name.partition(":")[0]
            assert status(self.address, name.replace(":", "/manifests/")) == (200, self.digests[name])
            self.client.pull(f"{self.address}/{name}", f"{self.address}/{repository}@{self.digests[name]}")

    def assert_gone(self, *names: str) -> None:
        for name in names:
            repository = name.partition(":")[0]
            assert status(self.address, name.replace(":", "/manifests/"))[0] == 404
            assert status(self.address, f"{repository}/manifests/{self.digests[name]}")[0] == 404


def garbage_collect(program: str, volume: Volume, folder: Path, *options: str) -> str:
    """What the registry's own collection says."""
    config = folder / "garbage-collect.yml"
    config.write_text(CONFIG % volume.root)
    command = [program, "garbage-collect", *options, str(config)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_kept_pulls_and_what_is_deleted_is_gone(version: Version, client: Client, tmp_path: Path) -> None:
    """Retain, delete, restore, purge, push again: at each step every image pulls in full or answers 404."""
    program = registry_program(version)
    later = time.time_ns() + 40 * DAY * SECOND
    with serve_registry(program, tmp_path) as url:
        volume = Volume(tmp_path / "volume", now=later)
        registry = Registry(url, volume, client)
        for number in (1, 2, 3):
            registry.push(f"app:v{number}", f"seed {number}")
        registry.push("team/app:v1", "seed 1")
        kept, gone = ["app:v3", "team/app:v1"], ["app:v1", "app:v2"]
        if client.pushes_indexes:
            registry.push_index("multi:v1", "seed 1")
            registry.push_index("multi:v2", "seed 2")
            kept.append("multi:v2")
            gone.append("multi:v1")

        assert driver.retain(volume, KEEP_THE_LAST).code == 0
        registry.assert_pulls(*kept)
        registry.assert_gone(*gone)
        assert_nothing_left_to_free(garbage_collect(program, volume, tmp_path, "--dry-run"), volume)

        volume.now += 60 * SECOND
        assert driver.delete(volume, "team/app", "--repository").code == 0
        registry.assert_gone("team/app:v1")
        assert "team/app" not in read(volume.v2).repositories

        volume.now += 60 * SECOND
        assert driver.run(volume, "restore").code == 0
        registry.assert_pulls("team/app:v1")
        registry.assert_gone(*gone)

        volume.now += 60 * SECOND
        assert driver.run(volume, "restore").code == 0
        registry.assert_pulls(*kept, *gone)

        volume.now += 60 * SECOND
        assert driver.delete(volume, *gone).code == 0
        volume.now += 60 * SECOND
        assert driver.run(volume, "purge", "--older-than", "0s").code == 0
        registry.assert_gone(*gone)
        registry.assert_pulls(*kept)
        assert_nothing_left_to_free(garbage_collect(program, volume, tmp_path, "--dry-run"), volume)

        for number in (1, 2):
            registry.push(f"app:v{number}", f"seed {number}")
        if client.pushes_indexes:
            registry.push_index("multi:v1", "seed 1")
        registry.assert_pulls(*kept, *gone)


def assert_nothing_left_to_free(output: str, volume: Volume) -> None:
    """garbage-collect marks exactly the blobs that are there, and finds none to delete."""
    counts = re.search(r"(\d+) blobs marked, (\d+) blobs and \d+ manifests eligible for deletion", output)
    assert counts is not None, output
    assert counts.groups() == (str(len(read(volume.v2).sizes)), "0"), output


# The bugs that test_bugs_of_garbage_collect.py avoids are there.


def test_2_8_deletes_the_children_of_a_tagged_index(volume: Volume, tmp_path: Path) -> None:
    """distribution/distribution#3178, with `--delete-untagged`; fixed in 3.0."""
    app = volume.repository("app")
    app.push_index("latest", children=[app.push_image(layers=[name]) for name in (b"amd64", b"arm64")])
    garbage_collect(registry_program("2.8"), volume, tmp_path, "--delete-untagged")
    assert complete(volume) == {("app", "latest")}  # it has no children any more: nothing is missing
    assert len(read(volume.v2).repositories["app"].revisions) == 1


def test_3_1_deletes_layers_behind_a_sparse_index(volume: Volume, tmp_path: Path) -> None:
    """`--delete-untagged` shares its marks among repositories: the complete index after a sparse copy is skipped."""
    complete_one, sparse = volume.repository("z-complete"), volume.repository("a-sparse")
    children = [complete_one.push_image(layers=[name]) for name in (b"amd64", b"arm64")]
    complete_one.push_index("latest", children=children)
    sparse.push_index("latest", children=children)
    (sparse.layers / "sha256").mkdir(parents=True)  # without `_layers`, which only a push of a layer makes, it gives up
    assert ("z-complete", "latest") in complete(volume)
    garbage_collect(registry_program("3.1"), volume, tmp_path, "--delete-untagged")
    assert complete(volume) == {("a-sparse", "latest")}
    assert not {documents.digest_of(b"amd64"), documents.digest_of(b"arm64")} & read(volume.v2).sizes.keys()


@pytest.mark.parametrize("version", ["2.8", "3.1"])
def test_referrers_die_with_delete_untagged(volume: Volume, tmp_path: Path, version: Version) -> None:
    app = volume.repository("app")
    sbom = app.push_image(subject=app.push_image("latest", layers=[b"image"]), layers=[b"sbom"])
    garbage_collect(registry_program(version), volume, tmp_path, "--delete-untagged")
    assert sbom.digest not in read(volume.v2).repositories["app"].revisions


@pytest.mark.parametrize("version", ["2.8", "3.1"])
def test_an_empty_link_stops_it(volume: Volume, tmp_path: Path, version: Version) -> None:
    broken = volume.repository("broken")
    volume.empty(broken.revision_link(broken.push_image("v1", layers=[b"lost"]).digest))
    with pytest.raises(AssertionError, match="invalid checksum digest format"):
        garbage_collect(registry_program(version), volume, tmp_path)


def test_the_children_of_an_index_that_2_8_took_as_blobs_are_whole(tmp_path: Path) -> None:
    """A manifest that was pushed as a blob and is served as a manifest, and BuildKit's cache, an index of layers."""
    child_layer, cached = Descriptor.of(b"child", documents.OCI_LAYER), Descriptor.of(b"cached", documents.OCI_LAYER)
    config = Descriptor.of(documents.EMPTY_JSON, documents.OCI_CONFIG)
    child = documents.image(config, [child_layer])
    with serve_registry(registry_program("2.8"), tmp_path) as url:
        address = url.removeprefix("http://")
        for content in (b"child", documents.EMPTY_JSON, child.content):
            upload(address, "app", content, documents.digest_of(content))
        upload(address, "cache", b"cached", cached.digest)
        index, cache = documents.index([child.descriptor()]), documents.index([cached])
        put_manifest(address, "app/manifests/multi", index.content, index.media_type)
        put_manifest(address, "cache/manifests/main", cache.content, cache.media_type)
        paths = [
            f"app/manifests/{child.descriptor().digest}",
            f"app/blobs/{child_layer.digest}",
            f"cache/blobs/{cached.digest}",
        ]
        assert [status(address, path)[0] for path in paths] == [200, 200, 200]

        volume = Volume(tmp_path / "volume", now=time.time_ns() + 40 * DAY * SECOND)
        driver.retain(volume, {})
        assert [status(address, path)[0] for path in paths] == [200, 200, 200]
        driver.delete(volume, "app:multi", "cache:main")
        assert [status(address, path)[0] for path in paths] == [404, 404, 404]
        for reference in ("app:multi", "cache:main"):
            assert driver.run(volume, "restore", "--ref", reference).code == 0
        driver.run(volume, "purge", "--older-than", "0s")
        assert [status(address, path)[0] for path in paths] == [200, 200, 200]


def test_a_layer_is_served_by_every_digest_that_it_was_pushed_by(version: Version, tmp_path: Path) -> None:
    """The blob is under its SHA-256 alone, which no manifest names."""
    layers = [
        Descriptor(documents.OCI_LAYER, documents.digest_of(content, algorithm), len(content))
        for content, algorithm in ((b"one", "sha512"), (b"two", "sha384"))
    ]
    image = documents.image(Descriptor.of(documents.EMPTY_JSON, documents.OCI_CONFIG), layers)
    with serve_registry(registry_program(version), tmp_path) as url:
        address = url.removeprefix("http://")
        upload(address, "app", documents.EMPTY_JSON, documents.digest_of(documents.EMPTY_JSON))
        for content, layer in zip((b"one", b"two"), layers, strict=True):
            upload(address, "app", content, layer.digest)
        put_manifest(address, "app/manifests/v1", image.content, image.media_type)
        paths = [f"app/blobs/{layer.digest}" for layer in layers]
        volume = Volume(tmp_path / "volume", now=time.time_ns() + 40 * DAY * SECOND)
        driver.retain(volume, {})
        assert [status(address, path)[0] for path in paths] == [200, 200]
        driver.delete(volume, "app:v1")
        assert status(address, paths[0])[0] == 404
        assert driver.run(volume, "restore", "--ref", "app:v1").code == 0
        driver.run(volume, "purge", "--older-than", "0s")
        assert [status(address, path)[0] for path in paths] == [200, 200]
