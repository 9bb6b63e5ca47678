"""Progress on standard error: bars on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from regkeeper.commands.answering import note

_LINE_EVERY = 10_000
_SHOWN_EVERY = 0.1  # seconds


class Progress:
    """Counts repositories that were read and entries that were moved. This one writes lines."""

    def __init__(self) -> None:
        self._read = 0
        self._moved = 0

    def read(self, repository: str) -> None:  # noqa: ARG002
        """A repository was read."""
        self._read += 1
        if self._read % _LINE_EVERY == 0:
            note(f"{self._read:,} repositories read")

    def moved(self, move: object) -> None:  # noqa: ARG002
        """An entry was moved."""
        self._moved += 1
        if self._moved % _LINE_EVERY == 0:
            note(f"{self._moved:,} entries moved")

    def hidden(self) -> AbstractContextManager[object]:
        """Out of the way of a question."""
        return nullcontext()


@contextmanager
def progress() -> Iterator[Progress]:
    """The progress of one command."""
    if not sys.stderr.isatty():
        yield Progress()
        return
    from rich.console import Console  # only for a person who looks at it
    from rich.progress import Progress as Bars
    from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    # Without the library's thread, beside which no process can be forked (spread.py).
    with Bars(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bars:
        reading = bars.add_task("repositories read", total=None)
        moving = bars.add_task("entries moved", total=None)
        last = 0.0

        def advance(task: TaskID) -> None:
            nonlocal last
            bars.advance(task)
            if (now := time.monotonic()) - last >= _SHOWN_EVERY:
                last = now
                bars.refresh()

        class Shown(Progress):
            def read(self, repository: str) -> None:  # noqa: ARG002
                advance(reading)

            def moved(self, move: object) -> None:  # noqa: ARG002
                advance(moving)

            @contextmanager
            def hidden(self) -> Iterator[None]:
                bars.stop()
                try:
                    yield
                finally:
                    bars.start()

        yield Shown()
