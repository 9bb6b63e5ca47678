"""Durations as a person writes them: days, hours, minutes, seconds, in this order, as in 30d, 24h or 1h30m."""

import re

DURATION = re.compile(r"([0-9]{1,6}d)?([0-9]{1,8}h)?([0-9]{1,9}m)?([0-9]{1,10}s)?")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_LONGEST_DAYS = 999_999
"""So that no calendar ends before a time that is so far away: Python's does in the year 9999."""


def parse_duration(text: str) -> int:
    """Seconds in a duration.

    Raises:
        ValueError: it is none, or longer than calendars are.
    """
    if not text or not DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write it as in 30d, 24h or 1h30m")
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", text))
    if seconds > _LONGEST_DAYS * _SECONDS["d"]:
        raise ValueError(f"{text} is too long; write at most {_LONGEST_DAYS}d")
    return seconds
