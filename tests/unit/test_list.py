"""The command `regkeeper list` as a process, on real registries and on one that misbehaves."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.registry_content import push, push_index
from tests.registry_process import registry_program, serve_registry


def list_images(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "regkeeper", "list", *arguments]
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", **(environment or {})},
    )


@pytest.fixture(params=["2.8", "3.1"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with serve_registry(registry_program(request.param), tmp_path) as url:
        yield url


class Misbehaving(BaseHTTPRequestHandler):
    """Lists four repositories; of these one has no tags any more, one breaks, and one has a tag that names nothing."""

    digest = "sha256:" + "5" * 64
    answers: Mapping[str, tuple[int, object]] = {
        "/v2/_catalog": (200, {"repositories": ["good", "gone", "broken", "half", "\x1b[31mred"]}),
        "/v2/good/tags/list": (200, {"tags": ["v10", "v9"]}),
        "/v2/gone/tags/list": (404, {"errors": [{"code": "NAME_UNKNOWN"}]}),
        "/v2/broken/tags/list": (500, {}),
        "/v2/half/tags/list": (200, {"tags": ["v1", "dangling"]}),
        "/v2/half/manifests/dangling": (404, {}),
    }

    def do_GET(self) -> None:
        status, document = self.answers.get(self.path.partition("?")[0], (200, {}))
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Docker-Content-Digest", self.digest)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 (the name that http.server looks for)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the test's output clean."""


@pytest.fixture
def misbehaving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_prints_every_image_in_natural_order(registry: str) -> None:
    host = registry.removeprefix("http://")
    for repository, tag in [("db10/mysql", "5.7"), ("db9/mysql", "v10"), ("db9/mysql", "v9"), ("db9/mysql", "latest")]:
        push(registry, repository, tag)

    listed = list_images(registry)

    names = ["db9/mysql:latest", "db9/mysql:v9", "db9/mysql:v10", "db10/mysql:5.7"]
    assert listed.stdout.splitlines() == [f"{host}/{name}" for name in names]
    assert (listed.stderr, listed.returncode) == ("", 0)


def test_prints_digests_and_json(registry: str) -> None:
    host = registry.removeprefix("http://")
    image, index = push(registry, "app", "v1"), push_index(registry, "app", "v2")

    assert list_images(registry, "--digests").stdout.splitlines() == [
        f"{host}/app:v1@{image}",
        f"{host}/app:v2@{index}",
    ]
    lines = list_images(registry, "--json").stdout.splitlines()
    assert json.loads(lines[0]) == {"reference": f"{host}/app:v1", "repository": "app", "tag": "v1"}
    lines = list_images(registry, "--json", "--digests").stdout.splitlines()
    assert json.loads(lines[1]) == {
        "reference": f"{host}/app:v2@{index}",
        "repository": "app",
        "tag": "v2",
        "digest": index,
    }


def test_an_empty_registry_is_no_error(registry: str) -> None:
    listed = list_images(registry)
    assert (listed.stdout, listed.stderr, listed.returncode) == ("", "", 0)


def copy_tag(volume: Path, repository: str, tag: str, copies: int) -> None:
    """Tag the same image once more as tag1, tag2, … on the volume itself, as if each had been pushed."""
    tags = volume / "docker/registry/v2/repositories" / repository / "_manifests/tags"
    for number in range(1, copies + 1):
        (tags / f"{tag}{number}").symlink_to(tags / tag)


def test_more_tags_than_a_page_holds(registry: str, tmp_path: Path) -> None:
    push(registry, "app", "v")
    copy_tag(tmp_path / "volume", "app", "v", copies=2500)

    listed = list_images(registry)

    host = registry.removeprefix("http://")
    assert listed.stdout.splitlines() == [f"{host}/app:v", *(f"{host}/app:v{number}" for number in range(1, 2501))]
    assert (listed.stderr, listed.returncode) == ("", 0)


def test_says_what_it_could_not_read_and_prints_the_rest(misbehaving: str) -> None:
    host = misbehaving.removeprefix("http://")
    red = "\N{REPLACEMENT CHARACTER}[31mred"

    listed = list_images(misbehaving)

    names = ["good:v9", "good:v10", "half:dangling", "half:v1"]
    assert listed.stdout.splitlines() == [f"{host}/{name}" for name in names]
    assert sorted(listed.stderr.splitlines()) == [
        "regkeeper list: broken: answers with HTTP status 500",
        f"regkeeper list: {misbehaving}: lists names that are not valid (1), such as '{red}'",
    ]
    assert listed.returncode == 1


def test_prints_a_tag_whose_digest_could_not_be_read(misbehaving: str) -> None:
    host = misbehaving.removeprefix("http://")

    listed = list_images(misbehaving, "--digests")

    assert listed.stdout.splitlines()[2:] == [f"{host}/half:dangling", f"{host}/half:v1@{Misbehaving.digest}"]
    assert "regkeeper list: half: tag dangling: not found (404)" in listed.stderr.splitlines()
    assert listed.returncode == 1


def test_nobody_answers() -> None:
    listed = list_images("http://127.0.0.1:1")
    message = "regkeeper list: http://127.0.0.1:1: cannot be reached: Connection refused\n"
    assert (listed.stdout, listed.stderr, listed.returncode) == ("", message, 1)


@pytest.mark.parametrize(
    ("url", "message"),
    [("k8smaster:5000", "write http://k8smaster:5000"), ("http://me:s3cret@host", "user and password in the URL")],
)
def test_a_wrong_url_is_explained(url: str, message: str) -> None:
    listed = list_images(url)
    assert listed.returncode == 2
    assert message in listed.stderr
    assert "s3cret" not in listed.stderr


def test_a_reader_that_leaves_early_is_no_traceback(registry: str, tmp_path: Path) -> None:
    push(registry, "app", "v")
    copy_tag(tmp_path / "volume", "app", "v", copies=4000)  # more than a pipe holds, so that the writer must notice
    command = [sys.executable, "-m", "regkeeper", "list", registry]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_help_names_options_and_exit_status() -> None:
    text = list_images("--help").stdout
    for word in ("--digests", "--json", "http://k8smaster:5000", "exit status", "SSL_CERT_FILE"):
        assert word in text
