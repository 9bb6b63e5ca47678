"""The order in which people expect names with numbers: v2 before v10."""

import re
from functools import lru_cache

_DIGITS = re.compile(r"([0-9]+)")


@lru_cache(4096)  # repositories share tags' names
def natural_key(text: str) -> tuple[list[str | int], str]:
    """Key for `sorted`: runs of digits compare as numbers; `text` itself breaks the tie of v1 and v01.

    `text` is the name of a repository or a tag, so its length (255 at most) bounds the cost of `int`.
    """
    # A split by one group alternates text and digits, so position by position the types are the same.
    parts: list[str | int] = [*_DIGITS.split(text)]
    parts[1::2] = map(int, parts[1::2])
    return parts, text
