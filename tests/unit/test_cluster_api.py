"""What asks the API server of a cluster, where that ends in the middle of an answer."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.api import Api, Wire

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def server(*answers: bytes) -> Iterator[str]:
    """One that sends each of these bytes to one request, and closes the connection."""

    def serve() -> None:
        for answer in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # a test that failed asks no more
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("sent", [WHOLE[:-1], WHOLE[:10], b""], ids=["body", "status line", "nothing"])
def test_an_answer_that_breaks_off_is_none(sent: bytes) -> None:
    """As of an API server that restarts; the next one is asked over a connection of its own."""
    with server(sent, sent, WHOLE) as url:
        wire = Wire(url)
        with pytest.raises(OSError, match="broke off"):
            wire.send("GET", "/readyz", None, {})
        assert not Api(wire).ready()
        assert Api(wire).ready()
        wire.close()
