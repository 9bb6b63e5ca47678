"""Progress lines on standard error, each with the seconds since the command began."""

import sys
import time

_BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"[{time.monotonic() - _BEGAN:6.1f} s] {text}", file=sys.stderr, flush=True)
