"""Where tests with many volumes put them: fsync costs nothing there, for the test and for those beside it.

A killed process loses nothing that it has written, on any file system.
"""

import tempfile


def folder_in_memory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir="/dev/shm")
