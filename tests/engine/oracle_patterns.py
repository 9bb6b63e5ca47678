"""The oracle's own globs, durations and versions: short, slow, and independent of the engine's libraries."""

import re
from functools import total_ordering
from typing import NamedTuple

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def nanoseconds(duration: str) -> int:
    """`30d`, `24h`, `1h30m`."""
    return sum(int(count) * SECONDS[unit] for count, unit in re.findall(r"(\d+)([dhms])", duration)) * 10**9


def matches(pattern: str, text: str) -> bool:
    """A glob, or a regular expression between slashes that has to match in full."""
    if len(pattern) > 1 and pattern[0] == pattern[-1] == "/":
        return re.fullmatch(pattern[1:-1], text) is not None
    return any(_glob(alternative, text) for alternative in _alternatives(pattern))


def is_pattern(entry: str) -> bool:
    return entry.startswith("/") or any(character in entry for character in "*?[{")


def _alternatives(pattern: str) -> list[str]:
    """The pattern once for each word of its braces."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [each for word in braces[1].split(",") for each in _alternatives(before + word + after)]


def _glob(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern.startswith("**"):
        return any(_glob(pattern[2:], text[skip:]) for skip in range(len(text) + 1))
    if pattern[0] == "*":
        component = len(text.partition("/")[0])
        return any(_glob(pattern[1:], text[skip:]) for skip in range(component + 1))
    if not text:
        return False
    if pattern[0] == "?":
        return text[0] != "/" and _glob(pattern[1:], text[1:])
    if pattern[0] == "[":
        end = pattern.index("]", 2)
        return text[0] != "/" and _in_class(pattern[1:end], text[0]) and _glob(pattern[end + 1 :], text[1:])
    return pattern[0] == text[0] and _glob(pattern[1:], text[1:])


def _in_class(members: str, character: str) -> bool:
    negated = members[0] in "!^"
    pairs = re.findall(r"(.)-(.)|(.)", members[negated:])
    return negated != any(
        low <= character <= high or character == single for low, high, single in pairs if low or single
    )


@total_ordering
class Version(NamedTuple):
    """A semantic version without its build metadata; ordered as semver.org 2.0.0, section 11, says."""

    numbers: tuple[int, int, int]
    pre_release: str

    def __lt__(self, other: object) -> bool:
        assert isinstance(other, Version)
        if self.numbers != other.numbers:
            return self.numbers < other.numbers
        if not self.pre_release or not other.pre_release:
            return bool(self.pre_release) and not other.pre_release
        return _identifiers(self.pre_release) < _identifiers(other.pre_release)


def version_of(tag: str) -> Version | None:
    """`v1`, `1.2` and `1.2.3-rc.1` are versions, `latest` is none."""
    match = re.fullmatch(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", tag)
    if match is None:
        return None
    major, minor, patch, pre_release = match.groups()
    return Version((int(major), int(minor or 0), int(patch or 0)), pre_release or "")


def satisfies(version: Version, constraint: str) -> bool:
    """Comparisons joined by spaces or commas; a pre-release needs one that names a pre-release of its own numbers."""
    comparisons = re.findall(r"(>=|<=|>|<|=)\s*([^,\s]+)", constraint)
    bounds = [(operator, version_of(bound)) for operator, bound in comparisons]
    named = {bound.numbers for _, bound in bounds if bound is not None and bound.pre_release}
    if version.pre_release and version.numbers not in named:
        return False
    return all(bound is not None and _holds(version, operator, bound) for operator, bound in bounds)


def _holds(version: Version, operator: str, bound: Version) -> bool:
    equal, less = version == bound, version < bound
    return {">=": not less, "<=": less or equal, ">": not (less or equal), "<": less, "=": equal}[operator]


def _identifiers(pre_release: str) -> list[tuple[bool, int, str]]:
    """Numeric identifiers are lower than others and compare as numbers."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in pre_release.split(".")]
