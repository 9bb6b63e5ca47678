"""SIGTERM and SIGINT end a run, an undo or a purge between two entries, instead of in the midst of one."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

Stop = Callable[[], str | None]
"""Asked between two entries; answers why to stop, or None."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def never() -> str | None:
    """Go on to the end."""
    return None


class StopOnSignal:
    """While entered, notes the first signal; called, answers why to stop, or None."""

    def __init__(self) -> None:
        self._received = ""
        self._before: list[tuple[signal.Signals, object]] = []

    def __call__(self) -> str | None:
        return self._received or None

    def __enter__(self) -> Self:
        self._before = [(number, signal.signal(number, self._note)) for number in _SIGNALS]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._received = self._received or signal.Signals(number).name
