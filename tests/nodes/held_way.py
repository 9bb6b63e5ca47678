"""Runs in a node: `held_way.py HOST:PORT HOST:PORT FIFO` listens at the first, and leads to the second.

The first transfer that comes to more than a mebibyte is held there, until somebody opens the pipe to write.
"""

import os
import socket
import sys
import threading

HELD_AFTER_BYTES = 1 << 20


class Way:
    def __init__(self, listens: str, leads: str, fifo: str) -> None:
        self._target = address(leads)
        self._fifo = fifo
        self._turn = threading.Lock()
        self._was_held = False
        with socket.create_server(address(listens)) as listener:
            print("listening", flush=True)
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        carried = 0
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
                carried += len(data)
                if carried > HELD_AFTER_BYTES:
                    self._hold()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            target.close()

    def _hold(self) -> None:
        with self._turn:
            if not self._was_held:
                self._was_held = True
                print("held", flush=True)
                os.close(os.open(self._fifo, os.O_RDONLY))  # it waits for who writes


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    Way(*sys.argv[1:])
