"""How a runtime was started, or will be: the flags of its command line."""

from collections.abc import Sequence
from itertools import pairwise


def flag_values(arguments: Sequence[str], flag: str) -> list[str]:
    """Values of a flag, as `--flag=value` and as `--flag value`."""
    values = [word.partition("=")[2] for word in arguments if word.startswith(f"{flag}=")]
    return values + [value for word, value in pairwise(arguments) if word == flag]
