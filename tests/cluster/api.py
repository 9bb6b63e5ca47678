"""The questions that the tool and its tests ask the API server again and again, with nothing but the standard library.

kubectl takes a twentieth of a second of processor time to ask one.
"""

import http.client
import json
import ssl
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT = 30  # seconds; takes a few milliseconds


class ApiError(Exception):
    """The API server refused a request."""


class Api:
    """A client that holds one certificate."""

    def __init__(self, server: str, certificates: Path, user: str) -> None:
        self._address = urlsplit(server).netloc
        self._certificates = certificates
        self._user = user

    def ready(self) -> bool:
        """Whether the server says that it is ready; False while nothing answers."""
        try:
            return self._send("GET", "/readyz") == (200, b"ok")
        except OSError:
            return False

    def get(self, path: str) -> dict[str, Any] | None:
        """The object at that path, None if there is none."""
        status, body = self._send("GET", path)
        if status == 404:
            return None
        if status != 200:
            raise ApiError(f"GET {path}: {status} {body.decode()}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    def merge(self, path: str, patch: dict[str, Any]) -> None:
        """Merge a patch into the object at that path."""
        status, body = self._send("PATCH", path, json.dumps(patch).encode())
        if status != 200:
            raise ApiError(f"PATCH {path}: {status} {body.decode()}")

    @cached_property
    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._certificates / "ca.crt"))
        context.load_cert_chain(self._certificates / f"{self._user}.crt", self._certificates / f"{self._user}.key")
        return context

    def _send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(self._address, context=self._context, timeout=_TIMEOUT)
        try:
            connection.request(method, path, body, {"Content-Type": "application/merge-patch+json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
