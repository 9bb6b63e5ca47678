"""The volume on which the engine is compared with others: repositories of images that share their base layers.

With 500 repositories of 40 tags it has what storage.md measured: 20,000 tags and manifests, 81,800 blobs, 123,000
links. Written directly, in a minute or two, with the times that years of pushes leave.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regkeeper.retention.records.remembering import SETTLED_NANOSECONDS

REPOSITORIES = 500
TAGS = 40
GLOBAL_LAYERS = 300
DAY = 86400  # seconds


@contextmanager
def prepared(repositories: int) -> Iterator[tuple[Path, Path]]:
    """A folder for files of a benchmark, and a volume of so many repositories.

    REGKEEPER_BENCH_VOLUMES names a directory in which volumes are kept for the next time; without it they are removed.
    """
    kept = os.environ.get("REGKEEPER_BENCH_VOLUMES")
    with tempfile.TemporaryDirectory(prefix="regkeeper-bench-") as folder:
        root = Path(kept or folder) / f"volume-{repositories}"
        if not root.exists():
            ReferenceVolume(root, repositories=repositories, now=time.time()).write()
        yield Path(folder), root


def forget(root: Path) -> None:
    """Remove what earlier runs left of theirs: records, journals, and the marks of what an undo brought back."""
    shutil.rmtree(root / "docker" / "registry" / "v2" / ".regkeeper", ignore_errors=True)


def changed(root: Path) -> None:
    """Note that something on the volume was changed now."""
    _first_group(root).touch()


def settle(root: Path) -> None:
    """Return when the volume is old enough for runs to remember it."""
    age = time.time() - _first_group(root).stat().st_ctime
    time.sleep(max(0, SETTLED_NANOSECONDS / 10**9 + 60 - age))


def _first_group(root: Path) -> Path:
    return root / "docker" / "registry" / "v2" / "repositories" / "group0"


def tag_names(repositories: int) -> Iterator[str]:
    """`repository:tag` of each tag."""
    return (f"{repository_name(number)}:v1.{tag}" for number in range(repositories) for tag in range(TAGS))


def repository_name(number: int) -> str:
    return f"group{number % 25}/app{number}"


class ReferenceVolume:
    """Writes the volume below `root`."""

    def __init__(self, root: Path, *, repositories: int, now: float) -> None:
        self.v2 = str(root / "docker" / "registry" / "v2")
        self.repositories = repositories
        self.now = now

    def write(self) -> None:
        """Write all of it."""
        for number in range(256):
            os.makedirs(f"{self.v2}/blobs/sha256/{number:02x}")
        shared = [self._blob(b"global %d" % number) for number in range(GLOBAL_LAYERS)]
        for number in range(self.repositories):
            self._repository(number, shared[number % GLOBAL_LAYERS])

    def _repository(self, number: int, shared: tuple[str, int]) -> None:
        path = f"{self.v2}/repositories/{repository_name(number)}"
        os.makedirs(f"{path}/_uploads")
        base = [self._blob(b"base %d %d" % (number, layer)) for layer in range(3)] + [shared]
        oldest = self.now - 400 * DAY
        for tag in range(TAGS):
            pushed = oldest + tag * 9 * DAY + number * 61
            layers = [*base, *(self._blob(b"layer %d %d %d" % (number, tag, layer)) for layer in range(2))]
            config = self._blob(_config(number, tag))
            digest, _ = self._blob(_manifest(config, layers))
            for layer, _ in (config, *layers):
                self._link(f"{path}/_layers/sha256/{layer}", layer, oldest)
            self._link(f"{path}/_manifests/revisions/sha256/{digest}", digest, pushed)
            self._link(f"{path}/_manifests/tags/v1.{tag}/index/sha256/{digest}", digest, pushed)
            self._link(f"{path}/_manifests/tags/v1.{tag}/current", digest, pushed)

    def _blob(self, content: bytes) -> tuple[str, int]:
        digest = hashlib.sha256(content).hexdigest()
        directory = f"{self.v2}/blobs/sha256/{digest[:2]}/{digest}"
        if not os.path.isdir(directory):
            os.mkdir(directory)
            self._write(f"{directory}/data", content, self.now - 400 * DAY)
        return digest, len(content)

    def _link(self, directory: str, digest: str, modified: float) -> None:
        if not os.path.isdir(directory):
            os.makedirs(directory)
            self._write(f"{directory}/link", f"sha256:{digest}".encode(), modified)

    def _write(self, path: str, content: bytes, modified: float) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, content)
        os.utime(descriptor, (modified, modified))
        os.close(descriptor)


def _config(number: int, tag: int) -> bytes:
    config = {"Env": [f"REPOSITORY={number}", f"TAG={tag}"], "Cmd": ["sh"]}
    return json.dumps({"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers"}}).encode()


def _manifest(config: tuple[str, int], layers: list[tuple[str, int]]) -> bytes:
    """As Docker writes it: indented by three spaces."""
    kind = "application/vnd.docker."
    document = {
        "schemaVersion": 2,
        "mediaType": f"{kind}distribution.manifest.v2+json",
        "config": _descriptor(f"{kind}container.image.v1+json", config),
        "layers": [_descriptor(f"{kind}image.rootfs.diff.tar.gzip", layer) for layer in layers],
    }
    return json.dumps(document, indent=3).encode()


def _descriptor(media_type: str, blob: tuple[str, int]) -> dict[str, str | int]:
    digest, size = blob
    return {"mediaType": media_type, "size": size, "digest": f"sha256:{digest}"}
