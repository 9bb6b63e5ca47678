"""One copy of what hundreds of objects have in common: most of a Deployment or a CronJob is the same for all.

What was handed out may never be changed. Parts that nobody has any more are forgotten as the table grows.
"""

import sys
from typing import Any

SHORT = 32
"""Characters of a text that many objects may have: a uid has more, an enum less."""

_HELD_BY_THE_TABLE = 3
"""References to a part that only the table has: its own, the variable's and the counting call's. Where Python counts
fewer, a part is forgotten that somebody has: that costs a second copy, and is no error."""


class Parts:
    """The table of parts: dicts and lists, by their type and what is in them."""

    def __init__(self) -> None:
        self._parts: dict[tuple[Any, ...], Any] = {}
        self._tidy_at = 1024

    def __len__(self) -> int:
        return len(self._parts)

    def shared(self, value: Any) -> Any:
        """The same value, with the parts of it that are known already."""
        if isinstance(value, dict):
            whole: Any = {sys.intern(key): self.shared(below) for key, below in value.items()}
            return self._part((dict, *whole, *map(_name, whole.values())), whole)
        if isinstance(value, list):
            whole = [self.shared(below) for below in value]
            return self._part((list, *map(_name, whole)), whole)
        return sys.intern(value) if isinstance(value, str) and len(value) <= SHORT else value

    def _part(self, name: tuple[Any, ...], whole: Any) -> Any:
        known = self._parts.setdefault(name, whole)
        if len(self._parts) >= self._tidy_at:
            self._tidy()
        return known

    def _tidy(self) -> None:
        """Forget what nobody has; what is within that is found without an owner the next time."""
        for name in list(self._parts):
            part = self._parts[name]
            if sys.getrefcount(part) <= _HELD_BY_THE_TABLE:
                del self._parts[name]
        self._tidy_at = max(1024, 2 * len(self._parts))


def _name(value: Any) -> Any:
    """A text by what it says; a part, which the table keeps, by where it is; what else JSON has by its type too."""
    if isinstance(value, dict | list):
        return id(value)
    return value if isinstance(value, str) else (type(value), value)
