"""Types of the fields that hold durations."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from regkeeper.durations import DURATION, parse_duration

_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 40, "pattern": f"^{DURATION.pattern}$"}


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
