"""The two calls of the container runtime interface (CRI v1) that prove a node's trust.

A pull of a name that can't exist makes the runtime itself talk to the registry and downloads nothing.
"""

from regkeeper.nodes import grpc, process
from regkeeper.nodes.answers import NO_TAG, NOWHERE
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import NodeProblemError, Reason

HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""HTTP/2's preface and an empty SETTINGS frame (RFC 9113, 3.4): what makes a gRPC server write something."""

_PULL_SECONDS = 20.0
_VERSION_SECONDS = 5.0


class Cri:
    """One runtime's CRI behind one socket."""

    def __init__(self, files: NodeFiles, path: str, *, name: str) -> None:
        self._files = files
        self._path = path
        self._name = name

    def version(self) -> str | None:
        """The runtime's version, as in 1.6.20; None if it serves no CRI (a containerd that Docker keeps for itself).

        Raises:
            NodeProblemError: `NOT_RUNNING`, it does not answer.
        """
        try:
            answer = self._call("/runtime.v1.RuntimeService/Version", b"", _VERSION_SECONDS)
            return grpc.fields(answer).get(3, b"").decode(errors="replace").removeprefix("v")
        except grpc.GrpcError as error:
            if error.status == grpc.UNIMPLEMENTED:
                return None
            raise NodeProblemError(Reason.NOT_RUNNING, runtime=self._name) from error

    def ask_registry(self, host: str) -> str:
        """Make the runtime pull an image that no registry has; its error, empty if it found one.

        Raises:
            NodeProblemError: `NOT_RUNNING`, nobody listens.
        """
        image = grpc.field(1, f"{host}/{NOWHERE}:{NO_TAG}".encode())
        try:
            self._call("/runtime.v1.ImageService/PullImage", grpc.field(1, image), _PULL_SECONDS)
        except grpc.GrpcError as error:
            if error.status is None and "timed out" not in error.message:
                raise NodeProblemError(Reason.NOT_RUNNING, runtime=self._name) from error
            return error.message
        return ""

    def _call(self, method: str, message: bytes, timeout: float) -> bytes:
        try:
            with process.connected(self._files, self._path, timeout) as connection:
                return grpc.unary(connection, method, message)
        except OSError as error:
            raise grpc.GrpcError(None, str(error)) from error
