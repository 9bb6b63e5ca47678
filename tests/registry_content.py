"""Small, real images in and out of a running registry by plain HTTP requests, so that no client program is needed."""

import hashlib
import json
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"

_CONNECTION_SECONDS = 0.5
"""It takes less than a millisecond, but a try that meets a pod that has just gone waits for seconds in vain, in which
the next one would have been at its successor's."""
_ANSWER_SECONDS = 5.0


def push(url: str, name: str, tag: str, *, seed: int = 0, layers: int = 2) -> str:
    """Push an image and tag it. The same `name`, `seed` and `layers` give the same bytes, another `seed` other ones.

    Args:
        url: of the registry, `http://host:port`.
        name: of the repository.
        tag: its tag.
        seed: distinguishes the contents of images.
        layers: how many; at least 1. They are no tar files: no registry looks inside.

    Returns:
        The manifest's digest.
    """
    connection = HTTPConnection(urlsplit(url).netloc)
    try:
        return _put_manifest(connection, name, tag, IMAGE_TYPE, _push_image(connection, name, seed, layers))
    finally:
        connection.close()


def push_index(url: str, name: str, tag: str, *, seed: int = 0, platforms: tuple[str, ...] = ("amd64", "arm64")) -> str:
    """Push a multi-platform index with one image a platform, and tag it. Returns the index's digest."""
    connection = HTTPConnection(urlsplit(url).netloc)
    try:
        manifests = []
        for number, architecture in enumerate(platforms):
            manifest = _push_image(connection, name, seed * 100 + number, layers=1)
            digest = _put_manifest(connection, name, _digest(manifest), IMAGE_TYPE, manifest)
            platform = {"os": "linux", "architecture": architecture}
            manifests.append({**_descriptor(IMAGE_TYPE, manifest), "digest": digest, "platform": platform})
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}).encode()
        return _put_manifest(connection, name, tag, INDEX_TYPE, index)
    finally:
        connection.close()


def push_blob(url: str, name: str, blob: bytes) -> str:
    """Push a blob that no manifest names. Returns its digest."""
    connection = HTTPConnection(urlsplit(url).netloc)
    try:
        _push_blob(connection, name, blob)
    finally:
        connection.close()
    return _digest(blob)


def _push_image(connection: HTTPConnection, name: str, seed: int, layers: int) -> bytes:
    contents = [f"{name} {seed} layer {number}".encode() for number in range(layers)]
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    for blob in (*contents, config):
        _push_blob(connection, name, blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": IMAGE_TYPE,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", blob) for blob in contents],
    }
    return json.dumps(manifest).encode()


def _push_blob(connection: HTTPConnection, name: str, blob: bytes) -> None:
    location = _request(connection, "POST", f"/v2/{name}/blobs/uploads/", expect=202)
    upload = urlsplit(location)
    target = f"{upload.path}?{upload.query}&digest={_digest(blob)}"
    _request(connection, "PUT", target, blob, "application/octet-stream", expect=201)


def _put_manifest(connection: HTTPConnection, name: str, reference: str, media_type: str, manifest: bytes) -> str:
    _request(connection, "PUT", f"/v2/{name}/manifests/{reference}", manifest, media_type, expect=201)
    return _digest(manifest)


def _request(
    connection: HTTPConnection, method: str, path: str, body: bytes = b"", media_type: str = "", *, expect: int
) -> str:
    connection.request(method, path, body, {"Content-Type": media_type} if media_type else {})
    response = connection.getresponse()
    answer = response.read()
    assert response.status == expect, f"{method} {path}: {response.status} {answer!r}"
    return response.headers.get("Location", "")


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def pull(url: str, name: str, reference: str, *, timeout: float = 60) -> str:
    """Get a manifest by tag or digest with everything that it names, check each against its digest.

    Args:
        url: of the registry, `http://host:port`.
        name: of the repository.
        reference: its tag or digest.
        timeout: seconds for each answer.

    Returns:
        The manifest's digest.
    """
    connection = HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        return _pull_manifest(connection, name, reference)
    finally:
        connection.close()


def manifest_of(url: str, name: str, reference: str) -> bytes:
    """A manifest as it stands in the registry."""
    connection = HTTPConnection(urlsplit(url).netloc)
    try:
        return _get(connection, f"/v2/{name}/manifests/{reference}")
    finally:
        connection.close()


def _pull_manifest(connection: HTTPConnection, name: str, reference: str) -> str:
    content = _get(connection, f"/v2/{name}/manifests/{reference}")
    manifest = json.loads(content)
    for child in manifest.get("manifests", ()):
        assert _pull_manifest(connection, name, child["digest"]) == child["digest"]
    parts = [manifest["config"], *manifest["layers"]] if "config" in manifest else []
    for part in parts:
        assert _digest(_get(connection, f"/v2/{name}/blobs/{part['digest']}")) == part["digest"]
    return _digest(content)


def _get(connection: HTTPConnection, path: str) -> bytes:
    connection.request("GET", path, headers={"Accept": f"{INDEX_TYPE}, {IMAGE_TYPE}, */*"})
    response = connection.getresponse()
    content = response.read()
    assert response.status == 200, f"GET {path}: {response.status} {content!r}"
    return content


def takes_pushes(url: str) -> bool:
    """Whether a registry answers and takes pushes: begins one, and takes it back, as an upload refuses a run.

    While a registry is being replaced nobody answers.
    """
    try:
        with closing(_quickly_connected(url)) as connection:
            begun = _answered(connection, "POST", "/v2/web/tomcat/blobs/uploads/")
            if begun.status >= 300:
                return False
            upload = urlsplit(begun.headers["Location"])
            return _answered(connection, "DELETE", f"{upload.path}?{upload.query}").status < 300
    except OSError:
        return False


def refuses_pushes(url: str) -> bool:
    """Whether a registry answers that it takes no pushes. One that does gets no manifest, and nothing is left of it."""
    try:
        with closing(_quickly_connected(url)) as connection:
            return _answered(connection, "PUT", "/v2/web/tomcat/manifests/none", b"{}", IMAGE_TYPE).status == 405
    except OSError:
        return False


def _quickly_connected(url: str) -> HTTPConnection:
    """A connection.

    Raises:
        OSError: there is none at once.
    """
    connection = HTTPConnection(urlsplit(url).netloc, timeout=_CONNECTION_SECONDS)
    connection.connect()
    connection.sock.settimeout(_ANSWER_SECONDS)
    return connection


def _answered(
    connection: HTTPConnection, method: str, path: str, body: bytes = b"", media_type: str = ""
) -> HTTPResponse:
    """The answer to a request, read to its end."""
    connection.request(method, path, body, {"Content-Type": media_type} if media_type else {})
    response = connection.getresponse()
    response.read()
    return response
