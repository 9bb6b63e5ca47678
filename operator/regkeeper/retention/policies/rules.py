"""The keep rules: small objects, each a pure function of the covered tags of one repository and of `now`.

Each labels the tags that it keeps with the reason. What keeps nothing deletes nothing either: a tag goes only because
a rule covers it and no rule, of whatever policy, keeps it.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from regkeeper.retention.policies.patterns import Matcher
from regkeeper.retention.policies.versions import Version, constraint, version_of
from regkeeper.retention.volume.digests import Digest

SECOND = 10**9  # nanoseconds
OLDEST_PLAUSIBLE = (10 * 365 + 2 + 2) * 86400 * SECOND
"""The end of 1980-01-02: reproducible builders and lost clocks write 1970 or 1980-01-01, in any time zone."""


class Covered(NamedTuple):
    """A tag that a rule covers."""

    name: str
    digest: Digest | None
    """None: its link can't be read."""
    pushed: int
    """Nanoseconds since the epoch."""
    whole: bool
    """Its link and its manifest can be read: another takes no place among the N that stay."""


class Keeper(Protocol):
    """One condition under which tags stay."""

    def kept(self, tags: Sequence[Covered], now: int) -> dict[str, str]:
        """The reason for each tag that stays, by its name.

        Args:
            tags: all tags of one repository that the rule covers.
            now: nanoseconds since the epoch.
        """


class Last(Struct, frozen=True):
    """The tags of the N distinct digests that were pushed last; equal times at the edge all stay.

    Times that can't be right take no place.
    """

    number: int

    def kept(self, tags: Sequence[Covered], now: int) -> dict[str, str]:
        if self.number == 0:
            return {}
        newest: dict[Digest, int] = {}
        for _, digest, pushed, whole in tags:
            if whole and digest is not None and OLDEST_PLAUSIBLE <= pushed <= now and pushed > newest.get(digest, -1):
                newest[digest] = pushed
        times = sorted(newest.values(), reverse=True)
        edge = times[self.number - 1] if len(times) >= self.number else -1
        last = {digest for digest, pushed in newest.items() if pushed >= edge}
        reason = f"among the last {self.number}"
        return {tag.name: reason for tag in tags if tag.digest in last and OLDEST_PLAUSIBLE <= tag.pushed <= now}


class PushedWithin(Struct, frozen=True):
    """The tags pushed within a time, its boundary included."""

    text: str
    nanoseconds: int

    def kept(self, tags: Sequence[Covered], now: int) -> dict[str, str]:
        edge = now - self.nanoseconds
        reason = f"pushed within {self.text}"
        return {tag.name: reason for tag in tags if tag.pushed >= edge}


class HighestVersions(Struct, frozen=True):
    """The tags of the highest distinct semantic versions that satisfy a constraint."""

    number: int | None
    """None: of all that satisfy it."""
    constraint: str | None

    def kept(self, tags: Sequence[Covered], now: int) -> dict[str, str]:  # noqa: ARG002 - ranks, not ages
        counts = constraint(self.constraint)
        versions: dict[str, Version] = {}
        for tag in tags:
            version = version_of(tag.name) if tag.whole else None
            if version is not None and counts(version):
                versions[tag.name] = version
        distinct = sorted(set(versions.values()), reverse=True)
        highest = set(distinct if self.number is None else distinct[: self.number])
        of = f" of {self.constraint}" if self.constraint else ""
        reason = f"a version{of}" if self.number is None else f"among the highest {self.number} versions{of}"
        return {name: reason for name, version in versions.items() if version in highest}


class Matching(Struct, frozen=True):
    """The tags of certain names."""

    text: str
    matches: Matcher

    def kept(self, tags: Sequence[Covered], now: int) -> dict[str, str]:  # noqa: ARG002 - names, not ages
        return {tag.name: f"matches {self.text}" for tag in tags if self.matches(tag.name)}


class Rule(Struct, frozen=True):
    """Which tags are covered, and what keeps some of them.

    Attributes:
        label: as people know it: the policy's name and its own.
        deletes: False for a policy that only keeps (`--also-keep`).
    """

    label: str
    covers_repository: Matcher
    covers_tag: Matcher
    keepers: tuple[Keeper, ...]
    deletes: bool = True

    def kept(self, tags: Sequence[Covered], now: int) -> dict[str, str]:
        """The reason for each tag that stays by this rule."""
        reasons: dict[str, str] = {}
        labelled: dict[str, str] = {}  # a hundred thousand tags share a handful of reasons
        for keeper in self.keepers:
            for name, reason in keeper.kept(tags, now).items():
                if reason not in labelled:
                    labelled[reason] = sys.intern(f"{reason} ({self.label})")
                reasons.setdefault(name, labelled[reason])
        return reasons


def plausible(pushed: int, now: int) -> bool:
    """Whether a push time can be one: not in the future, and after 1980-01-02."""
    return OLDEST_PLAUSIBLE <= pushed <= now
