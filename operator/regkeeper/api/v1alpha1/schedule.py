"""When a policy runs: the cron syntax and the time zones that Kubernetes takes, checked by the API server at apply.

A range that runs backwards (`5-1`) is left to the CronJob: no regular expression sees it.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from regkeeper.api.v1alpha1.schema import Rule, refused_unless


def _field(value: str) -> str:
    """The expression of one field: values, ranges and steps, as robfig/cron reads them."""
    item = f"([*?]|{value}(-{value})?)(/0*[1-9][0-9]*)?"
    return f"{item}(,{item})*"


def _value(numbers: str, names: Sequence[str] = ()) -> str:
    return f"({'|'.join((f'0*({numbers})', *names))})"


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

_FIELDS = (
    _value("[0-5]?[0-9]"),
    _value("1?[0-9]|2[0-3]"),
    _value("[1-9]|[12][0-9]|3[01]"),
    _value("[1-9]|1[0-2]", _MONTHS),
    _value("[0-6]", _DAYS),
)
_MACROS = "@(yearly|annually|monthly|weekly|daily|midnight|hourly)"

CRON = f"^( *(?i:{' +'.join(map(_field, _FIELDS))}) *|{_MACROS})$"
"""A schedule, as a regular expression."""

Schedule = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        json_schema_extra=refused_unless(
            Rule(
                f"self.matches('{CRON}')",
                "schedule: not in cron's syntax: write minute, hour, day of the month, month and day of the week, as "
                "in `30 3 * * 6`, or @daily; the time zone belongs in timeZone",
            )
        ),
    ),
]
"""Minute, hour, day of the month, month, day of the week; or @hourly, @daily, @weekly, @monthly, @yearly."""

TimeZone = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        json_schema_extra=refused_unless(
            Rule(
                # A zone that the API server does not know makes `getHours` fail, and that refuses the object. CEL
                # takes offsets too, which the CronJob does not.
                "!self.contains(':') && self.lowerAscii() != 'local' && "
                "timestamp('2000-01-01T00:00:00Z').getHours(self) >= 0",
                "timeZone: unknown: write a name of the IANA time zone database, as in Europe/Berlin or Etc/UTC",
            )
        ),
    ),
]
"""Name of the IANA time zone database."""
