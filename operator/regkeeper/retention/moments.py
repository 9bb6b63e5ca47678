"""Times for people and for JSON: RFC 3339 in UTC, to the second."""

from datetime import UTC, datetime

SECOND = 10**9
"""In nanoseconds."""


def moment(nanoseconds: int) -> str | None:
    """RFC 3339 of nanoseconds since 1970; None for a time that no calendar has."""
    try:
        return f"{datetime.fromtimestamp(nanoseconds // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return None


def parse_moment(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time.

    Raises:
        ValueError: it is none, or has no time zone.
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text} has no time zone: append Z for UTC")
    return round(parsed.timestamp() * SECOND)
