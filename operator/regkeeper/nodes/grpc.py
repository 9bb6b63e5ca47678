"""One unary gRPC call over a unix socket: HTTP/2 by h2, two messages of protobuf by hand.

The agent makes two kinds of call, with one string each way, for which grpcio and protobuf would be a lot of memory. The
frame of a message and the trailers are those of gRPC over HTTP/2 (grpc.io, PROTOCOL-HTTP2).
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions

_FRAME = struct.Struct(">BI")  # compressed?, length
_LARGEST_ANSWER = 4 << 20
_CHUNK = 64 << 10

UNIMPLEMENTED = 12


class GrpcError(Exception):
    """The call failed; `status` is gRPC's code, None where there was no answer."""

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def unary(connection: socket.socket, method: str, message: bytes) -> bytes:
    """Call a method on a fresh connection.

    Args:
        connection: connected, with a time-out.
        method: as in `/runtime.v1.ImageService/PullImage`.
        message: the request in protobuf.

    Raises:
        GrpcError: the server refused it, or did not answer as HTTP/2 has it.
    """
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    client.initiate_connection()
    stream = client.get_next_available_stream_id()
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    client.send_headers(stream, list(headers.items()))
    client.send_data(stream, _FRAME.pack(0, len(message)) + message, end_stream=True)
    try:
        return _answer(connection, client, stream)
    except (OSError, h2.exceptions.ProtocolError) as error:
        raise GrpcError(None, str(error) or type(error).__name__) from error


def _answer(connection: socket.socket, client: h2.connection.H2Connection, stream: int) -> bytes:
    body, trailers = bytearray(), dict[str, str]()
    while True:
        connection.sendall(client.data_to_send())
        received = connection.recv(_CHUNK)
        if not received:
            raise GrpcError(None, "the connection was closed")
        for event in client.receive_data(received):
            if isinstance(event, h2.events.DataReceived):
                body += event.data
                client.acknowledge_received_data(event.flow_controlled_length, stream)
                if len(body) > _LARGEST_ANSWER:
                    raise GrpcError(None, "the answer is too large")
            elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                trailers.update(_texts(event.headers))
            elif isinstance(event, h2.events.StreamEnded):
                return _unpack(bytes(body), trailers)
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise GrpcError(None, f"HTTP/2 error {event.error_code}")


def _texts(headers: Sequence[tuple[str | bytes, str | bytes]]) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        yield (
            name.decode() if isinstance(name, bytes) else name,
            value.decode() if isinstance(value, bytes) else value,
        )


def _unpack(body: bytes, trailers: dict[str, str]) -> bytes:
    status = trailers.get("grpc-status", "")
    if status != "0":
        raise GrpcError(int(status) if status.isdigit() else None, unquote(trailers.get("grpc-message", "no status")))
    if len(body) < _FRAME.size:
        raise GrpcError(None, "the answer is empty")
    compressed, length = _FRAME.unpack_from(body)
    if compressed or length != len(body) - _FRAME.size:
        raise GrpcError(None, "the answer is not one plain message")
    return body[_FRAME.size :]


def field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field: a string or an embedded message."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def fields(message: bytes) -> dict[int, bytes]:
    """The length-delimited fields of a message that has no others, which is all that is read here.

    Raises:
        GrpcError: it has others, or is cut short.
    """
    found, position = dict[int, bytes](), 0
    try:
        while position < len(message):
            key, position = _read_varint(message, position)
            length, position = _read_varint(message, position)
            if key & 7 != 2 or position + length > len(message):
                raise GrpcError(None, "the answer has an unknown form")
            found[key >> 3] = message[position : position + length]
            position += length
    except IndexError as error:
        raise GrpcError(None, "the answer is cut short") from error
    return found


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position
