"""The programs with which people push and pull: skopeo, crane and docker, each behind the same few methods."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from tests.cluster.images.tiny import multi_platform_layout, tiny_image
from tests.cluster.programs import CRANE
from tests.waiting import wait_for

MANIFEST_TYPES = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)


class Client(Protocol):
    """A program that pushes and pulls. References are `host:port/repository:tag` or `…@digest`."""

    pushes_indexes: bool

    def push(self, reference: str, seed: str) -> None:
        """Push an image of one platform whose content depends on the seed alone."""

    def push_index(self, reference: str, seed: str) -> None:
        """Push an index of two platforms."""

    def pull(self, *references: str) -> None:
        """Pull everything that the references of one image lead to, and check every digest."""


class Skopeo:
    """skopeo copies between archives, layouts and registries."""

    pushes_indexes = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def push(self, reference: str, seed: str) -> None:
        self._copy(f"docker-archive:{tiny_image('image:seed', seed, 2, self.folder)}", f"docker://{reference}")

    def push_index(self, reference: str, seed: str) -> None:
        layout = multi_platform_layout("index", seed, self.folder)
        self._copy(f"oci:{layout}:index", f"docker://{reference}")

    def pull(self, *references: str) -> None:
        for reference in references:
            with tempfile.TemporaryDirectory(dir=self.folder) as target:
                self._copy(f"docker://{reference}", f"dir:{target}")

    def _copy(self, source: str, target: str) -> None:
        options = ["--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--retry-times=0"]
        _run("skopeo", "--insecure-policy", "copy", *options, source, target)


class Crane:
    """crane, of go-containerregistry: what most CI systems push with."""

    pushes_indexes = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = str(CRANE.program("crane"))

    def push(self, reference: str, seed: str) -> None:
        _run(self.program, "push", str(tiny_image("image:seed", seed, 2, self.folder)), reference)

    def push_index(self, reference: str, seed: str) -> None:
        layout = multi_platform_layout("index", seed, self.folder)
        _run(self.program, "push", "--index", str(layout), reference)

    def pull(self, *references: str) -> None:
        for reference in references:
            with tempfile.TemporaryDirectory(dir=self.folder) as target:
                _run(self.program, "pull", "--format=oci", reference, target)


class Docker:
    """The docker client with a daemon of its own."""

    pushes_indexes = False

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self.host = host

    def push(self, reference: str, seed: str) -> None:
        self._docker("load", "--input", str(tiny_image(reference, seed, 2, self.folder)))
        self._docker("push", reference)
        self._docker("rmi", "--force", reference)

    def push_index(self, reference: str, seed: str) -> None:
        raise NotImplementedError("docker pushes an index only with buildx")

    def pull(self, *references: str) -> None:
        """The layers come once, by the first: each that is unpacked starts a dockerd, which took most of the time."""
        for reference in references:
            self._docker("pull", reference)
        self._docker("rmi", "--force", *references)

    def _docker(self, *arguments: str) -> None:
        _run("docker", "--host", self.host, *arguments)


@contextmanager
def docker_daemon() -> Iterator[str]:
    """A dockerd that touches nothing of the machine's: no bridge, no iptables, all its files in one folder.

    Yields:
        Its `DOCKER_HOST`.
    """
    with tempfile.TemporaryDirectory(prefix="rk-", dir="/run") as folder, (Path(folder) / "log").open("w") as log:
        host = f"unix://{folder}/docker.sock"
        options = ["--host", host, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
        options += ["--pidfile", f"{folder}/pid", "--storage-driver", "vfs", "--config-file", f"{folder}/none.json"]
        options += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        (Path(folder) / "none.json").write_text("{}")
        process = subprocess.Popen(["dockerd", *options], stdout=log, stderr=subprocess.STDOUT)
        try:

            def answers() -> bool:
                assert process.poll() is None, Path(log.name).read_text()
                command = ["docker", "--host", host, "info"]
                return subprocess.run(command, check=False, capture_output=True).returncode == 0

            wait_for(answers, 60, Path(log.name).read_text)
            yield host
        finally:
            process.terminate()
            process.wait(30)


def status(address: str, path: str) -> tuple[int, str]:
    """What a registry answers to HEAD /v2/…: the status code, and the digest of its content or ""."""
    connection = HTTPConnection(address, timeout=30)
    try:
        connection.request("HEAD", f"/v2/{path}", headers={"Accept": MANIFEST_TYPES})
        response = connection.getresponse()
        return response.status, response.headers.get("Docker-Content-Digest", "")
    finally:
        connection.close()


def upload(address: str, repository: str, content: bytes, digest: str) -> None:
    """Push a blob with two requests, under a digest of any algorithm."""
    connection = HTTPConnection(address, timeout=30)
    try:
        connection.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
        response = connection.getresponse()
        location = urlsplit(response.headers["Location"])
        response.read()
        connection.request("PUT", f"{location.path}?{location.query}&digest={digest}", content)
        assert connection.getresponse().status == HTTPStatus.CREATED
    finally:
        connection.close()


def put_manifest(address: str, reference: str, content: bytes, media_type: str) -> None:
    """Push a manifest whose blobs are there; `reference` is `repository/manifests/tag`."""
    connection = HTTPConnection(address, timeout=30)
    try:
        connection.request("PUT", f"/v2/{reference}", content, {"Content-Type": media_type})
        response = connection.getresponse()
        assert response.status == HTTPStatus.CREATED, response.read()
    finally:
        connection.close()


def _run(*command: str) -> None:
    """Runs a program without a proxy and without anybody's credentials.

    Raises:
        AssertionError: with what it wrote.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home, "NO_PROXY": "*"}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
