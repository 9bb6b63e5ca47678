"""The generated config.yml under the real registries, 2.8 and 3.1."""

import http.client
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest

from regkeeper.resources.config import config_file
from tests.registry_content import IMAGE_TYPE, push, push_blob
from tests.registry_objects import UID, a_registry
from tests.registry_process import registry_program, serve_registry
from tests.waiting import wait_for

Version = Literal["2.8", "3.1"]

LARGE = 32 * 1024 * 1024
"""Bytes of a blob: more than the kernel takes on the way to a client that does not read."""


@pytest.fixture(params=["2.8", "3.1"])
def version(request: pytest.FixtureRequest) -> Version:
    answer: Version = request.param
    return answer


@contextmanager
def serving(version: Version, folder: Path, *, read_only: bool) -> Iterator[str]:
    # The user's part has what PyYAML and Go's yaml.v2 could read differently.
    registry = a_registry(config={"log": {"fields": {"release": "1e3", "answer": "y", "staging": "no"}}})
    text = config_file(registry, read_only=read_only).text
    settings = {"REGISTRY_HTTP_SECRET": "from the Secret"}
    with serve_registry(registry_program(version), folder, settings, config=text) as url:
        yield url


def ask(url: str, method: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path, headers={"Accept": IMAGE_TYPE})
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def test_it_serves_and_says_whose_it_is(version: Version, tmp_path: Path) -> None:
    with serving(version, tmp_path, read_only=False) as url:
        answer = ask(url, "GET", "/v2/")
        assert answer.status == 200
        assert answer.headers["X-Regkeeper-Registry"] == UID
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert ask(url, "GET", "/").status == 200, "the path of the probes"


def test_deletion_through_the_api_works(version: Version, tmp_path: Path) -> None:
    with serving(version, tmp_path, read_only=False) as url:
        digest = push(url, "boke/wordpress", "latest")
        assert ask(url, "GET", f"/v2/boke/wordpress/manifests/{digest}").status == 200
        assert ask(url, "DELETE", f"/v2/boke/wordpress/manifests/{digest}").status == 202
        assert ask(url, "GET", f"/v2/boke/wordpress/manifests/{digest}").status == 404


def test_a_blob_that_went_behind_its_back_is_gone_at_once(version: Version, tmp_path: Path) -> None:
    """The blob descriptor cache is off: a client that looks before it pushes pushes again."""
    with serving(version, tmp_path, read_only=False) as url:
        digest = push(url, "boke/wordpress", "latest")
        assert ask(url, "HEAD", f"/v2/boke/wordpress/manifests/{digest}").status == 200
        (data,) = tmp_path.glob(f"volume/docker/registry/v2/blobs/sha256/*/{digest.removeprefix('sha256:')}/data")
        data.unlink()
        assert ask(url, "HEAD", f"/v2/boke/wordpress/manifests/{digest}").status == 404


def test_read_only_refuses_pushes_and_deletions_and_serves_pulls(version: Version, tmp_path: Path) -> None:
    with serving(version, tmp_path, read_only=False) as url:
        digest = push(url, "boke/wordpress", "latest")
    with serving(version, tmp_path, read_only=True) as url:
        assert ask(url, "POST", "/v2/boke/wordpress/blobs/uploads/").status == 405
        assert ask(url, "DELETE", f"/v2/boke/wordpress/manifests/{digest}").status == 405
        assert ask(url, "GET", "/v2/boke/wordpress/manifests/latest").status == 200


def is_closed(url: str) -> bool:
    """Whether nobody listens there."""
    parts = urlsplit(url)
    with socket.socket() as client:
        return client.connect_ex((parts.hostname, parts.port)) != 0


def test_a_pull_that_is_under_way_is_served_to_its_end(version: Version, tmp_path: Path) -> None:
    """retention.md: "`http.draintimeout` lets running transfers end", after the registry was told to end."""

    def read_on(answer: http.client.HTTPResponse) -> bytes:
        wait_for(lambda: is_closed(url), 10, "the registry to take no more connections")
        return answer.read()

    with ThreadPoolExecutor() as beside:
        with serving(version, tmp_path, read_only=False) as url:
            digest = push_blob(url, "boke/wordpress", bytes(LARGE))
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
            connection.request("GET", f"/v2/boke/wordpress/blobs/{digest}")
            rest = beside.submit(read_on, connection.getresponse())
        with closing(connection):
            assert f"sha256:{sha256(rest.result()).hexdigest()}" == digest
