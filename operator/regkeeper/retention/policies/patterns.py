"""Globs and regular expressions over the names of repositories and tags, matched in full and in linear time.

A glob's `*`, `?` and `[…]` stay within a path component, `{a,b}` is either, `**` crosses components. So `team/*` is
`team/app` but not `team/app/x`, and `team/**` is whatever lies below `team`, not `team` itself. A pattern in slashes,
`/v[0-9]+/`, is a regular expression in RE2's syntax.
"""

import re
from collections.abc import Callable, Iterable

from msgspec import Struct

_MAGIC = frozenset("*?[{")
_RANGE = re.compile("(.)-(.)", re.DOTALL)
_BRACKETS = re.compile(r"\[[!^]?[^\]][^\]]*\]")
_BRACES = re.compile(r"\{[A-Za-z0-9_.*?,-]*\}")
_OF_TAGS = re.compile(r"[A-Za-z0-9_.*?-]*")
_ESCAPED = frozenset(r"\.^$|()[]{}*+?")

Matcher = Callable[[str], bool]


class PatternError(ValueError):
    """The pattern can't be understood."""


def is_glob(text: str) -> bool:
    """Whether the text has a character that makes it a pattern rather than a name."""
    return not _MAGIC.isdisjoint(text)


def may_be_tags(pattern: str) -> bool:
    """Whether a pattern has nothing that no tag can have: `!v*`, `v1, v2` and `app:v1` match none."""
    if _is_regular_expression(pattern):
        return True
    text, before = _BRACKETS.sub("", pattern), ""
    while text != before:
        text, before = _BRACES.sub("", text), text
    return _OF_TAGS.fullmatch(text) is not None


def everything(name: str) -> bool:  # noqa: ARG001 - a matcher
    """Matches every name."""
    return True


def matcher(patterns: Iterable[str], *, regular_expressions: bool = True) -> Matcher:
    """A function that tells whether one of the patterns matches a name. It can be pickled.

    Raises:
        PatternError: one can't be understood.
    """
    names = set()
    expressions = []
    for pattern in patterns:
        if regular_expressions and _is_regular_expression(pattern):
            expressions.append(_Expression(pattern[1:-1], pattern))
        elif pattern == "**":
            return everything
        elif is_glob(pattern):
            expressions.append(_Expression(translate(pattern), pattern))
        else:
            names.add(pattern)
    return _AnyOf(names, expressions) if expressions else names.__contains__


def _is_regular_expression(pattern: str) -> bool:
    return len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/")


class _AnyOf(Struct, frozen=True):
    names: set[str]
    expressions: list["_Expression"]

    def __call__(self, name: str) -> bool:
        return name in self.names or any(matches(name) for matches in self.expressions)


class _Expression:
    """Whether a name matches a regular expression, which another process compiles anew."""

    def __init__(self, expression: str, pattern: str) -> None:
        import re2  # only where a policy has patterns

        options = re2.Options()
        options.log_errors = False
        options.dot_nl = True
        self._arguments = expression, pattern
        try:
            self._fullmatch = re2.compile(expression, options).fullmatch
        except re2.error as error:
            detail = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            raise PatternError(f"{pattern}: {detail}") from None

    def __call__(self, name: str) -> bool:
        # A directory may have a name that no registry made and RE2 can't take.
        return name.isascii() and self._fullmatch(name) is not None

    def __reduce__(self) -> tuple[object, ...]:
        return _Expression, self._arguments


def translate(glob: str) -> str:
    """The regular expression of a glob.

    Raises:
        PatternError: a bracket or brace is not closed.
    """
    parts = []
    depth = 0
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "*":
            if glob[position : position + 1] == "*":
                position += 1
                parts.append(".+" if glob[position - 3 : position - 2] == "/" and position == len(glob) else ".*")
            else:
                parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            expression, position = _character_class(glob, position)
            parts.append(expression)
        elif character == "{":
            depth += 1
            parts.append("(?:")
        elif character == "}" and depth:
            depth -= 1
            parts.append(")")
        elif character == "," and depth:
            parts.append("|")
        else:
            parts.append(f"\\{character}" if character in _ESCAPED else character)
    if depth:
        raise PatternError(f"{glob}: a brace is not closed")
    return "".join(parts)


def _character_class(glob: str, position: int) -> tuple[str, int]:
    """The class that begins after the bracket at `position`, and the position behind it."""
    negated = glob[position : position + 1] in ("!", "^")
    start = position + negated
    end = glob.find("]", start + 1)
    if end < 0:
        raise PatternError(f"{glob}: a bracket is not closed")
    body = "".join(f"\\{character}" if character in r"\[]^&~|" else character for character in glob[start:end])
    if negated:
        # A hyphen that stands first means itself: behind the slash it would be a range that begins there.
        hyphen = "\\" if body.startswith("-") else ""
        return f"[^/{hyphen}{body}]", end + 1
    if "/" in glob[start:end] or any(first < "/" < last for first, last in _RANGE.findall(glob[start:end])):
        raise PatternError(f"{glob}: the brackets include `/`, which they never match")
    return f"[{body}]", end + 1
