"""Times for people and for JSON: RFC 3339 in UTC."""

import re
from datetime import UTC, datetime, timedelta

SECOND = 10**9
"""In nanoseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
"""Without its zone, to which reckoning pays no heed: a plan has a time in each of its lines."""

_FRACTION = re.compile(r"(.*:[0-9]{2})\.([0-9]{1,9})(.*)", re.DOTALL)


def moment(nanoseconds: int) -> str | None:
    """RFC 3339 of nanoseconds since 1970, cut to the second; None for a time that no calendar has."""
    try:
        return f"{(_EPOCH + timedelta(0, nanoseconds // SECOND)).isoformat()}Z"
    except OverflowError:
        return None


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
