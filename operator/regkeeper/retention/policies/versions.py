"""Semantic versions of tags: `v` is optional, `1` and `1.2` are 1.0.0 and 1.2.0, build metadata is ignored."""

import re
from collections.abc import Callable
from typing import Any

_TAG = re.compile(
    r"v?(0|[1-9][0-9]{0,17})(?:\.(0|[1-9][0-9]{0,17}))?(?:\.(0|[1-9][0-9]{0,17}))?"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_SPACE_AFTER_OPERATOR = re.compile(r"([<>=~^])\s+")
_PRERELEASE = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)-")

Version = Any
"""A semantic_version.Version, which is ordered; the library has no types."""


class ConstraintError(ValueError):
    """The constraint can't be understood."""


def version_of(tag: str) -> Version | None:
    """The version that a tag is, without its build metadata, or None."""
    import semantic_version  # only for rules about versions

    match = _TAG.fullmatch(tag)
    if not match:
        return None
    major, minor, patch, prerelease = match.groups()
    text = f"{major}.{minor or 0}.{patch or 0}" + (f"-{prerelease}" if prerelease else "")
    try:
        return semantic_version.Version(text)
    except ValueError:  # a numeric part of a pre-release with a leading zero
        return None


def constraint(text: str | None) -> Callable[[Version], bool]:
    """A function that tells whether a version counts: npm's ranges, with commas or spaces between comparisons.

    Pre-releases count only where the range names one of the same major, minor and patch.

    Raises:
        ConstraintError: it can't be understood.
    """
    import semantic_version

    normal = re.sub(r"\s+", " ", _SPACE_AFTER_OPERATOR.sub(r"\1", (text or "*").replace(",", " ").strip()))
    try:
        specification = semantic_version.NpmSpec(normal)
    except ValueError:
        raise ConstraintError(f"{text!r} is no range of versions; write it as in >=1.0 <3") from None
    for alternative in normal.split("||"):
        if " - " not in alternative and sum(part.lstrip("v=")[:1].isdigit() for part in alternative.split()) > 1:
            raise ConstraintError(f"{text!r}: no version is two at once; write || between them")
    named = {tuple(map(int, triple)) for triple in _PRERELEASE.findall(normal)}

    def counts(version: Version) -> bool:
        if version.prerelease and (version.major, version.minor, version.patch) not in named:
            return False  # the library counts 2.0.0-rc.1 as <2, npm does not
        return bool(specification.match(version))

    return counts
