"""A way to the node's registry that stops in the middle of a push or a pull, until a test lets it go on.

What a test does meanwhile is then done during the transfer for certain, however small that is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.nodes.namespaces import ADDRESS
from tests.nodes.node import Node
from tests.waiting import wait_for

HOST = f"{ADDRESS}:5010"
LAYER_BYTES = 4 << 20
_PROGRAM = Path(__file__).with_name("held_way.py")
_FIFO = "/run/held-transfer"


class HeldTransfer:
    """The way, in a node."""

    def __init__(self, node: Node) -> None:
        node.run("mkfifo", _FIFO)
        self._fifo = node.path(_FIFO)
        self._program = node.start("way", *node.python, str(_PROGRAM), HOST, f"{ADDRESS}:5000", _FIFO)
        wait_for(lambda: "listening" in self._said(), 10, self._said)

    def wait_until_held(self) -> None:
        wait_for(lambda: "held" in self._said(), 30, self._said)

    def go_on(self) -> None:
        """Let the one that is held go on, and hold none from here on."""
        self._fifo.write_bytes(b"")

    def close(self) -> None:
        self._program.stop()
        self._fifo.unlink()

    def _said(self) -> str:
        return self._program.log.read_text()


@contextmanager
def held_transfer(node: Node) -> Iterator[HeldTransfer]:
    """The first transfer through HOST of more than a mebibyte is held."""
    held = HeldTransfer(node)
    try:
        yield held
    finally:
        held.close()


def make_image(node: Node, image: str) -> None:
    """One that does not get smaller by being compressed."""
    make = f"head -c {LAYER_BYTES} /dev/urandom > /run/layer; tar -C /run -c layer | docker import - {image}"
    node.run("sh", "-c", f"{make}; rm /run/layer")
