"""A plan: what goes, what stays and why, in exact bytes; and its document, which docs/guides/documents.md describes."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec import Struct, field

from regkeeper.retention.moments import exact_moment, moment
from regkeeper.retention.planning.planned_moves import PlannedMoves
from regkeeper.retention.planning.rows import ManifestRows, TagRows
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.repository import Problem

Victim = tuple[str, str, str]
"""Repository, tag (empty for a manifest) and digest (empty if it can't be read)."""


class Outcome(StrEnum):
    """What a plan comes to."""

    NOTHING = "nothing"
    READY = "ready"
    LIMITED = "limited"
    REFUSED = "refused"


class Exceeded(NamedTuple):
    """A limit that the plan exceeds."""

    limit: str
    message: str


class Prevented(NamedTuple):
    """A deletion by name that something prevents."""

    asked: str
    repository: str
    name: str
    reason: str


class RepositoryPlan(Struct):
    """What becomes of one repository."""

    name: str
    tags: TagRows
    manifests: ManifestRows = field(default_factory=ManifestRows)
    deleted_bytes: int = 0
    empty: bool = False

    @property
    def loses_something(self) -> bool:
        """Whether a tag or a manifest goes, or all that is left."""
        return self.empty or self.tags.deleted_count > 0 or any(self.manifests.deleted())


class Plan(Struct):
    """The plan of a run. See `regkeeper.retention.quarantine.moves.Plan` for what the sweep needs of it.

    Attributes:
        now: nanoseconds since the epoch.
        rules: a digest of the rules; empty for the command `delete`.
        policies: the same of each policy that deletes, by its label.
        repositories: how many the volume has.
        entries: what becomes of each, in the order of names.
        moves: in the order in which they are safe.
        refusal: why it may not be carried out, approval or not; empty: it may.
    """

    now: int
    rules: str = ""
    policies: Mapping[str, str] = field(default_factory=dict)
    repositories: int = 0
    entries: list[RepositoryPlan] = field(default_factory=list)
    moves: PlannedMoves = field(default_factory=PlannedMoves)
    refusal: str = ""
    limits: list[Exceeded] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    kept: list[Prevented] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        if self.refusal:
            return Outcome.REFUSED
        if not self.moves:
            return Outcome.NOTHING
        return Outcome.LIMITED if self.limits else Outcome.READY

    @property
    def deleted_bytes(self) -> int:
        return self.moves.bytes()

    def count(self, *kinds: Kind) -> int:
        """How many moves are of these kinds."""
        return self.moves.count(*kinds)

    def victims(self) -> Iterator[Victim]:
        """Whatever goes, in order."""
        for entry in self.entries:
            rows = list(entry.tags.deleted())
            rows += [("", digest) for digest in entry.manifests.deleted()]
            for tag, digest in sorted(rows, key=lambda row: (row[0], row[1] or b"")):
                yield entry.name, tag, digests.to_text(digest) if digest else ""

    @property
    def hash(self) -> str:
        """Of the sorted victims and the rules, as 64 hexadecimal digits."""
        return hash_of(self.rules, self.victims(), in_order=True)

    def document(self) -> dict[str, Any]:
        """The plan as a JSON object (`--json`)."""
        refusal = {"refusal": self.refusal} if self.refusal else {}
        return {
            "now": exact_moment(self.now),
            "hash": self.hash,
            "rules": self.rules,
            "outcome": self.outcome.value,
            **refusal,
            "limits": [exceeded._asdict() for exceeded in self.limits],
            "totals": {
                "repositories": self.repositories,
                "tags": sum(len(entry.tags) for entry in self.entries),
                "deletedTags": self.count(Kind.TAG),
                "deletedManifests": self.count(Kind.INDEX_REVISION, Kind.REVISION),
                "deletedLinks": self.count(Kind.LAYER_LINK),
                "deletedBlobs": self.count(Kind.BLOB, Kind.MANIFEST_BLOB),
                "deletedUploads": self.count(Kind.UPLOAD),
                "deletedLeftovers": self.count(Kind.LEFTOVER, Kind.TEMPORARY),
                "deletedBytes": self.deleted_bytes,
            },
            "problems": [problem.document() for problem in self.problems],
            "unmatched": self.unmatched,
            "kept": [prevented._asdict() for prevented in self.kept],
            "warnings": self.warnings,
            "repositories": [_entry_document(entry) for entry in self.entries],
        }


def hash_of(rules: str, victims: Iterable[Victim], *, in_order: bool = False) -> str:
    """The hash of a plan, as 64 hexadecimal digits; a million victims that come in order need not be sorted."""
    state = hashlib.sha256(rules.encode())
    for victim in victims if in_order else sorted(victims):
        state.update(("\n" + "\0".join(victim)).encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def _entry_document(entry: RepositoryPlan) -> dict[str, Any]:
    return {
        "repository": entry.name,
        "deletedBytes": entry.deleted_bytes,
        "empty": entry.empty,
        "tags": [
            {
                "tag": row.tag,
                "digest": digests.to_text(row.digest) if row.digest else None,
                "pushed": moment(row.pushed) if row.pushed else None,  # without a link there is no time
                "deleted": row.deleted,
                "reason": row.reason,
            }
            for row in entry.tags
        ],
        "manifests": [
            {"digest": digests.to_text(row.digest), "deleted": row.deleted, "reason": row.reason}
            for row in entry.manifests
        ],
    }
