"""The agent's only door: its report for the operator, and whether it is alive for kubelet."""

import errno
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from regkeeper.nodes.report import (
    MINIMUM_KEY_BYTES,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    Report,
    encode_answer,
    question_is_genuine,
)

_CONNECTION_SECONDS = 5.0
"""From accept to the last byte, whoever it is."""
_CONNECTIONS = 16
"""At once; more are closed unread."""
_POLL_SECONDS = 2.0


class ReportServer(ThreadingHTTPServer):
    """Serves `/report` to whoever knows the key, and `/healthz` to all."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    address_family = socket.AF_INET6

    def __init__(
        self, port: int, *, key_path: str, pod_uid: str, report: Callable[[], Report], healthy: Callable[[], bool]
    ) -> None:
        """Listen on every address, IPv4 and, where the kernel has it, IPv6.

        Args:
            port: 0 lets the kernel choose.
            key_path: of the file with the shared key; read for each question, so that it may be replaced.
            pod_uid: of the agent's own pod.
            report: gives the report of this moment.
            healthy: whether the agent's passes go on.
        """
        self.key_path = key_path
        self.pod_uid = pod_uid
        self.report = report
        self.healthy = healthy
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        try:
            super().__init__(("::", port), _Handler)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            # A kernel that was started with ipv6.disable=1.
            self.address_family = socket.AF_INET
            super().__init__(("0.0.0.0", port), _Handler)  # noqa: S104  # the pod's addresses

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def start(self) -> None:
        """Serve in a thread of its own."""
        threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,), name="report", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._open) >= _CONNECTIONS
            if not full:
                self._open[request] = time.monotonic()
        if full:
            super().shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called every `_POLL_SECONDS`: end what has been open for too long."""
        oldest = time.monotonic() - _CONNECTION_SECONDS
        with self._lock:
            late = [connection for connection, since in self._open.items() if since < oldest]
        for connection in late:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it ended meanwhile

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A stranger's broken connection is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    server_version = "regkeeper"
    sys_version = ""
    timeout = _CONNECTION_SECONDS

    def do_GET(self) -> None:  # the library's name
        if self.path == "/healthz":
            self._answer(HTTPStatus.OK if self.server.healthy() else HTTPStatus.SERVICE_UNAVAILABLE)
        elif self.path == "/report":
            self._report()
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Requests are not logged: strangers could fill the log."""

    def _report(self) -> None:
        key = self._key()
        if key is None:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        asked = {name: self.headers.get(name, "") for name in (NONCE_HEADER, SIGNATURE_HEADER)}
        if not question_is_genuine(key, asked, pod_uid=self.server.pod_uid):
            self._answer(HTTPStatus.FORBIDDEN)
        else:
            body, headers = encode_answer(key, self.server.report(), nonce=asked[NONCE_HEADER])
            self._answer(HTTPStatus.OK, body, {"Content-Type": "application/json", **headers})

    def _key(self) -> bytes | None:
        try:
            with open(self.server.key_path, "rb") as file:
                key = file.read(1024)
        except OSError:
            return None
        return key if len(key) >= MINIMUM_KEY_BYTES else None

    def _answer(self, status: HTTPStatus, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
