"""One agent a node: two that edit the same files would undo each other, and lose the record of what is ours.

A DaemonSet never has two pods on a node, but one that was deleted and made anew has: the old pod takes its time to end.
"""

import fcntl
import os

_PLACE = "/var/lib"
"""Where the record is. The lock is on the directory itself, so that nothing is left of it."""


class Turn:
    """The right to change a node, held from the first `take` that succeeds until the process ends."""

    def __init__(self, root: str) -> None:
        """Hold nothing yet.

        Args:
            root: where the node's `/` is seen.
        """
        self._path = root.rstrip("/") + _PLACE
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Whether it is this agent's turn; False: another has it. A node where nothing can be locked is this one's."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            return not isinstance(error, BlockingIOError)
        self._descriptor = descriptor
        return True
