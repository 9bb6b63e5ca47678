"""Numbers that several processes, and threads of theirs, take, each number once."""

import fcntl
import mmap
import os
import threading

_SIZE = 8  # bytes


class SharedCounter:
    """Counts from 0 for all processes that are forked while it is open.

    A file's position, which these share, would do it in one call, but lseek(2) promises no more than to set it: on a
    memfd two processes were given the same number (Linux 6.18). The lock ends with who holds it, killed or not; a
    process has it with all its threads, which therefore have one more.
    """

    def __init__(self) -> None:
        """Make one.

        Raises:
            OSError: there is no room for a further file, or none in memory is allowed.
        """
        self._count = mmap.mmap(-1, _SIZE)
        self._lock = os.memfd_create("counter")
        self._mine = threading.Lock()

    def take(self) -> int:
        """The next number."""
        with self._mine:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
            try:
                number = self.taken
                self._count[:] = (number + 1).to_bytes(_SIZE, "big")
                return number
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)

    @property
    def taken(self) -> int:
        """How many were taken."""
        return int.from_bytes(self._count[:], "big")

    def close(self) -> None:
        self._count.close()
        os.close(self._lock)
