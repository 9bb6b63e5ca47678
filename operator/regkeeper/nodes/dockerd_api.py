"""The little of dockerd's API that the agent asks, over its unix socket.

Paths have no version, which makes dockerd take its own: what is asked has not changed since 1.30 (Docker 17.06), but
versions that old are refused by Docker 29.
"""

import http.client
import json
import socket
from typing import Any
from urllib.parse import quote

from regkeeper.nodes import process
from regkeeper.nodes.answers import NO_TAG, NOWHERE
from regkeeper.nodes.files import NodeFiles

_LARGEST_ANSWER = 4 << 20

PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"


class DockerError(Exception):
    """dockerd did not answer, or not as its API says."""


class Dockerd:
    """One dockerd behind one socket."""

    def __init__(self, files: NodeFiles, path: str) -> None:
        self._files = files
        self._path = path

    def info(self) -> dict[str, Any]:
        """`GET /info`.

        Raises:
            DockerError: it did not answer.
        """
        status, body = self._get("/info", timeout=10)
        if status != 200 or not isinstance(body, dict):
            raise DockerError(f"/info answered {status}")
        return body

    def ask_registry(self, host: str, timeout: float = 20) -> str:
        """Make dockerd itself ask a registry for a manifest that can't exist, and return what it says of it.

        An empty text means that there is such a manifest. Nothing is downloaded (facts of node trust).

        Raises:
            DockerError: dockerd did not answer.
        """
        name = quote(f"{host}/{NOWHERE}:{NO_TAG}", safe="/:")
        try:
            status, body = self._get(f"/distribution/{name}/json", timeout=timeout)
        except DockerError as error:
            if isinstance(error.__cause__, TimeoutError):
                return "timed out"  # dockerd waits for the registry for longer than we do
            raise
        if status == 200:
            return ""
        return str(body.get("message", "")) if isinstance(body, dict) else f"HTTP {status}"

    def _get(self, path: str, *, timeout: float) -> tuple[int, Any]:
        connection = _Connection(self._files, self._path, timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read(_LARGEST_ANSWER)
            kind = response.headers.get_content_type()
            return response.status, json.loads(body) if kind == "application/json" else body
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DockerError(type(error).__name__) from error
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket of the node."""

    def __init__(self, files: NodeFiles, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._files = files
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        process.connect(self._files, self.sock, self._path)
