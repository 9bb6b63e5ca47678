"""Times for people and for JSON: RFC 3339 in UTC."""

import re
from datetime import date, datetime, timedelta
from functools import lru_cache

SECOND = 10**9
"""In nanoseconds."""

_EPOCH = date(1970, 1, 1)
_TWO_DIGITS = [f"{number:02d}" for number in range(60)]

_FRACTION = re.compile(r"(.*:[0-9]{2})\.([0-9]{1,9})(.*)", re.DOTALL)


def moment(nanoseconds: int) -> str | None:
    """RFC 3339 of nanoseconds since 1970, cut to the second; None for a time that no calendar has."""
    # Each line of a plan has a time: in this way it takes a third of what a datetime does.
    minute, second = divmod(nanoseconds // SECOND, 60)
    day, minute = divmod(minute, 24 * 60)
    try:
        return f"{_day(day)}T{_TWO_DIGITS[minute // 60]}:{_TWO_DIGITS[minute % 60]}:{_TWO_DIGITS[second]}Z"
    except OverflowError:
        return None


@lru_cache(4096)
def _day(number: int) -> str:
    """Such a day since 1970."""
    return (_EPOCH + timedelta(number)).isoformat()


def exact_moment(nanoseconds: int) -> str | None:
    """The same with as many digits behind the second as it has, for a plan that is to be made again."""
    text = moment(nanoseconds)
    fraction = f"{nanoseconds % SECOND:09d}".rstrip("0")
    return f"{text[:-1]}.{fraction}Z" if text and fraction else text


def parse_moment(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time.

    Raises:
        ValueError: it is none, or has no time zone.
    """
    # Python's own reading ends at the microsecond.
    fraction = _FRACTION.fullmatch(text)
    try:
        parsed = datetime.fromisoformat(text if fraction is None else fraction[1] + fraction[3])
    except ValueError:
        raise ValueError(f"{text!r} is no time: write it as 2026-11-24T10:31:45Z") from None
    if parsed.tzinfo is None:
        raise ValueError(f"{text} has no time zone: append Z for UTC")
    return round(parsed.timestamp()) * SECOND + (int(fraction[2].ljust(9, "0")) if fraction else 0)
