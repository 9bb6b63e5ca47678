"""A gateway that answers in the place of whoever a connection was meant for, as some networks' do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Gateway:
    """Where it is, and the credentials that it was given."""

    url: str
    credentials: list[str] = field(default_factory=list)


@contextmanager
def serve_gateway(status: int | None, address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[Gateway]:
    """Answer every request with a status; None: take each connection, and close it without a word."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            gateway.credentials.extend(self.headers.get_all("Authorization") or ())
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("WWW-Authenticate", 'Basic realm="gateway"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = _answer  # noqa: N815 -- as the base class looks them up

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(address, Handler)
    host, port = server.server_address[:2]
    gateway = Gateway(f"http://{host!s}:{port}")
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
