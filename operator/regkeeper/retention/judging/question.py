"""What a plan is made from besides the repositories, and what becomes of one tag or manifest."""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct, field

from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.policies.references import Reference
from regkeeper.retention.policies.rules import Rule
from regkeeper.retention.quarantine.moves import Move
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest

UNAPPROVED = "not among what was approved"
YOUNGER = "younger than --older-than"


class Verdict(NamedTuple):
    """What becomes of one tag or manifest, and why."""

    goes: bool
    reason: str


class Question(Struct, frozen=True):
    """What a plan is made from, besides the repositories.

    Attributes:
        intent: what is asked for.
        now: nanoseconds since the epoch; every age counts from it.
        in_use: the images in use.
        restored: what an undo brought back, by repository, tag (empty for what is none) and `alg:hex`, with the run
            that it undid. A tag that was pushed again since is no longer the one that came back.
        approved: (repository, tag, digest) of the victims that an approval allows; None: no approval limits them.
        immovable: what was half written and could not be moved.
        departures: when a run deleted the last tag of a digest, by repository and digest; nanoseconds.
    """

    intent: Intent
    now: int
    in_use: InUse = field(default_factory=InUse)
    restored: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    approved: frozenset[tuple[str, str, str]] | None = None
    immovable: frozenset[Move] = frozenset()
    departures: Mapping[tuple[str, Digest], int] = field(default_factory=dict)

    def is_younger_than_asked(self, pushed: int) -> bool:
        """Whether something is younger than `delete --older-than` says, which holds for exact names too."""
        return 0 < self.intent.older_than > self.now - pushed

    @property
    def young(self) -> str:
        """Why something stays that was pushed within `intent.younger_than`."""
        return YOUNGER if self.intent.older_than else "pushed a short while ago"

    @property
    def uncovered(self) -> str:
        """Why a tag stays of which nothing is said; the command `delete` has no policies, and so no rules."""
        return "no rule covers it" if self.intent.policies else "nothing names it"

    def restored_from(self, repository: str, tag: str, digest: Digest) -> str | None:
        """The run whose undo brought something back, if one did; `tag` is empty for a manifest."""
        return self.restored.get((repository, tag, digests.to_text(digest))) if self.restored else None

    def allows(self, repository: str, tag: str, digest: Digest | None) -> bool:
        """Whether something may go, as far as an approval limits that; `tag` is empty for a manifest."""
        if self.approved is None:
            return True
        return (repository, tag, digests.to_text(digest) if digest is not None else "") in self.approved

    def references(self, repository: str) -> list[Reference]:
        """The deletions by name that are about a repository."""
        return [reference for reference in self.intent.deletions if reference.matches_repository(repository)]

    def rules(self, repository: str) -> list[Rule]:
        """The rules that cover a repository."""
        return [rule for rule in self.intent.rules if rule.covers_repository(repository)]
