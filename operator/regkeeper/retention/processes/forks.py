"""Processes that are forked to read for this one: they know what it knows, and nothing of it is run at their end."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress

_STOPPING = (signal.SIGINT, signal.SIGTERM)


def fork(work: Callable[[], object]) -> int:
    """A process that does a work and ends. Its number, for `end`.

    A terminal sends a signal to all, and so do others who stop a whole group, and one has to decide: this process. As
    long as it is there, the other goes on; without it, the other has nobody to answer to.

    Raises:
        OSError: there can be no further process.
    """
    # Else a signal that comes at once would raise in the other what it raises here, and run what is this one's to run.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        child = os.fork()
        if child == 0:
            try:
                for number in _STOPPING:
                    signal.signal(number, signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                work()
            finally:
                os._exit(0)
        return child
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(child: int) -> None:
    """End a process, if it has not ended, and wait until it is gone."""
    with suppress(ChildProcessError, ProcessLookupError):
        # Where this process was told to ignore SIGCHLD the number of one that ended is soon another's.
        if os.waitpid(child, os.WNOHANG)[0] == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
