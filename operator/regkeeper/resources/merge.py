"""Laying settings over a configuration: a nested mapping, or one environment variable as distribution does it."""

from collections.abc import Sequence
from typing import Any


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base`: mappings key by key, everything else replaced whole. Neither argument is changed."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def set_by_environment(base: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Set one value as distribution's configuration/parser.go does, for 2.8 and 3.x alike.

    A key that is there matches without regard to case, a new one is lower case, and what stands in the way is
    replaced. Lists are not entered (3.x does, by index): they are replaced too, which errs on the strict side.
    """
    key = next((known for known in base if str(known).lower() == path[0].lower()), path[0].lower())
    if len(path) == 1:
        return {**base, key: value}
    below = base.get(key)
    return {**base, key: set_by_environment(below if isinstance(below, dict) else {}, path[1:], value)}
