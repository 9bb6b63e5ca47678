"""The memory of a process and of those that it forks, which share most of theirs with it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_EVERY = 0.05  # seconds


class Peak:
    """The largest sum that was seen.

    Attributes:
        mebibytes: of proportional sets (PSS of proc(5)): a page that two processes share counts half in each.
    """

    mebibytes = 0.0


@contextmanager
def watched(process: int) -> Iterator[Peak]:
    """Look at a process and its children all the time."""
    peak = Peak()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_EVERY):
            peak.mebibytes = max(peak.mebibytes, sum(map(_proportional, _family(process))))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _family(process: int) -> Iterator[int]:
    yield process
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _proportional(process: int) -> float:
    """Mebibytes; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0)
