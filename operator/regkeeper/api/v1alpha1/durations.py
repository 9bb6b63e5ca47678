"""Durations as a person writes them: days, hours, minutes, seconds, in this order, as in 30d, 24h or 1h30m."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

_DURATION = re.compile(r"([0-9]{1,6}d)?([0-9]{1,8}h)?([0-9]{1,9}m)?([0-9]{1,10}s)?")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_LONGEST_DAYS = 999_999
"""So that no calendar ends before a time that is so far away: Python's does in the year 9999."""
_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 40, "pattern": f"^{_DURATION.pattern}$"}


def parse_duration(text: str) -> int:
    """Seconds in a duration.

    Raises:
        ValueError: it is none, or longer than calendars are.
    """
    if not text or not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write it as in 30d, 24h or 1h30m")
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", text))
    if seconds > _LONGEST_DAYS * _SECONDS["d"]:
        raise ValueError(f"{text} is too long; write at most {_LONGEST_DAYS}d")
    return seconds


def _zero_needs_no_unit(value: Any) -> Any:
    return "0s" if value == 0 and type(value) is int else value


def _checked(text: str) -> str:
    parse_duration(text)
    return text


def _at_least_a_minute(text: str) -> str:
    if parse_duration(text) < 60:
        raise ValueError(f"{text} is too short; write at least 1m")
    return text


Duration = Annotated[
    str,
    BeforeValidator(_zero_needs_no_unit),
    AfterValidator(_checked),
    WithJsonSchema(
        {
            **{key: value for key, value in _SCHEMA.items() if key != "type"},
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": 0,
        }
    ),
]
"""Zero needs no unit."""

DurationOfMinutes = Annotated[
    str,
    AfterValidator(_at_least_a_minute),
    WithJsonSchema(
        {
            **_SCHEMA,
            "x-kubernetes-validations": [
                {
                    # A day, hour or minute, or 60 seconds.
                    "rule": "self.matches('[1-9][0-9]*[dhm]|([6-9][0-9]|[1-9][0-9]{2,})s')",
                    "message": "too short: write at least 1m",
                }
            ],
        }
    ),
]
"""A minute or more."""
