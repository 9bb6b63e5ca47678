"""Durations as Go writes them, for the few that a builder must know."""

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 2**63 * 1e-9
"""Go counts nanoseconds in 64 bits."""
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def go_duration_seconds(text: str) -> float | None:
    """Seconds in `text` (Go's time.ParseDuration without signs); None if it is no duration."""
    if text == "0":
        return 0.0
    if not re.fullmatch(f"({_PART.pattern})+", text):
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return seconds if seconds < _LONGEST else None
