"""Circuit breakers: plans that delete too much, or judge by times that say nothing, wait for an approval."""

from collections.abc import Iterator
from fractions import Fraction

import msgspec

from regkeeper.retention.judging.judgement import Judgement
from regkeeper.retention.judging.question import Question
from regkeeper.retention.planning.plan import Exceeded, Plan
from regkeeper.retention.planning.reset_times import times_were_reset
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.blobs import BlobStore
from regkeeper.retention.volume.layout import BLOBS, REPOSITORIES, Volume
from regkeeper.retention.volume.manifest_reader import ManifestReader
from regkeeper.retention.volume.places import LEFT
from regkeeper.retention.volume.repository import Repository
from regkeeper.retention.volume.shards import Shards, Sizes

FEWEST_COVERED = 20
"""Covered tags below which no share is taken and no reset of the times is suspected."""

HEADLESS_SHARE = Fraction(1, 10)
"""Of the repositories, those with layers and no manifests that are still no surprise: pushes that nobody ended."""


class Counts(msgspec.Struct):
    """What the covered repositories had, and what they lose.

    Attributes:
        covered: covered tags.
        kept_blobs: what the covered repositories need from now on.
        kept_sizes: of those of them that were read, the manifests; as far as the share of bytes is limited.
        kept_bytes: at least so many bytes have those of them that were looked at.
        emptied: repositories that lose their last tag by rules.
        headless: how many repositories have layers, and neither tag nor manifest.
    """

    covered: int = 0
    tags: int = 0
    deleted_tags: int = 0
    manifests: int = 0
    deleted_manifests: int = 0
    victims_by_rule: int = 0
    kept_blobs: Shards = msgspec.field(default_factory=Shards)
    kept_sizes: Sizes = msgspec.field(default_factory=Sizes)
    kept_bytes: int = 0
    emptied: list[str] = msgspec.field(default_factory=list)
    headless: int = 0

    def add(self, repository: Repository, judgement: Judgement) -> None:
        """Count one repository."""
        verdicts = judgement.tags
        victims = judgement.victims
        self.headless += repository.is_headless
        if verdicts.by_rule and not any(_is_version(name) for name in repository.tags.keys() - victims):
            self.emptied.append(repository.name)
        self.victims_by_rule += len(verdicts.by_rule)
        if not verdicts.selected:
            return
        self.tags += len(repository.tags)
        self.deleted_tags += len(victims)
        self.manifests += len(repository.revisions)
        self.deleted_manifests += len(judgement.going)
        self.covered += sum(repository.tags[name].digest is not None for name in verdicts.selected)

    def merge(self, other: "Counts") -> None:
        """Add what another one has counted."""
        self.covered += other.covered
        self.tags += other.tags
        self.deleted_tags += other.deleted_tags
        self.manifests += other.manifests
        self.deleted_manifests += other.deleted_manifests
        self.victims_by_rule += other.victims_by_rule
        self.kept_blobs.merge(other.kept_blobs)
        self.kept_sizes.merge(other.kept_sizes)
        self.emptied += other.emptied
        self.headless += other.headless


class Limits:
    """Holds a plan against the limits of its intent."""

    def __init__(self, volume: Volume, question: Question, reader: ManifestReader) -> None:
        self.volume = volume
        self.question = question
        self.reader = reader

    def apply(self, plan: Plan, counts: Counts) -> None:
        """Note in the plan what it exceeds."""
        intent = self.question.intent
        if intent.largest_share is None:
            return
        if not intent.allow_empty:
            plan.limits.extend(
                Exceeded("allowEmptyRepositories", f"{name} would lose its last tag") for name in sorted(counts.emptied)
            )
        if plan.moves and counts.headless > 1 and counts.headless > HEADLESS_SHARE * plan.repositories:
            plan.limits.append(
                Exceeded(
                    "missingManifests",
                    f"{counts.headless} of {plan.repositories} repositories have layers, but neither tags nor "
                    "manifests: the volume may be a copy that was not finished",
                )
            )
        if counts.covered < FEWEST_COVERED:
            return
        share = intent.largest_share
        for what, deleted, had in (
            ("tags", counts.deleted_tags, counts.tags),
            ("manifests", counts.deleted_manifests, counts.manifests),
        ):
            if deleted > share * had:
                plan.limits.append(_exceeded(what, deleted, had, share))
        self._limit_bytes(plan, counts, share)
        if counts.victims_by_rule and times_were_reset(plan, self.reader):
            plan.limits.append(
                Exceeded(
                    "timestamps",
                    f"80 % of {counts.covered} covered tags were pushed within one hour, but were created over "
                    "more than 30 days: the volume may be a copy that lost its times",
                )
            )

    def _limit_bytes(self, plan: Plan, counts: Counts, share: Fraction) -> None:
        """Blobs that stay are looked at only until they are enough to show that the share is within its limit."""
        deleted = plan.moves.bytes(Kind.BLOB, Kind.MANIFEST_BLOB)
        enough = kept_within(share, deleted)
        if enough is not None and counts.kept_bytes >= enough:
            return
        kept = 0
        for size in self._sizes(counts.kept_blobs):
            kept += size
            if enough is not None and kept >= enough:
                return
        plan.limits.append(_exceeded("bytes", deleted, deleted + kept, share))

    def _sizes(self, kept: Shards) -> Iterator[int]:
        store = BlobStore(self.volume)
        for shard in store.shards():
            for _, status in store.files(shard.blobs(shard.among(kept))):
                yield status.st_size


def kept_within(share: Fraction | None, deleted: int) -> int | None:
    """How many bytes must stay so that a share of all at most goes; None: no number would do."""
    if share is None or share >= 1 or not deleted:
        return 0
    return -(-deleted * (share.denominator - share.numerator) // share.numerator) if share else None  # rounded up


def _is_version(tag: str) -> bool:
    """Whether a tag is an image's own, not a dependant's."""
    return digests.subject_of_tag(tag) is None


def refusal(volume: Volume, repositories: int, before: int | None) -> str:
    """Why a volume may not be cleaned at all, approval or not: what is needed is likely to be out of sight.

    Args:
        volume: the volume.
        repositories: how many it has now.
        before: how many the last run saw, if that is known.

    Returns:
        Words for people, empty if there is nothing to refuse.
    """
    if before is not None and 2 * repositories < before:
        return (
            f"it has {repositories} repositories and had {before} at the last run: is the whole volume mounted? "
            f"If they were removed on purpose, remove {volume.path}/{LEFT}"
        )
    device = volume.device(BLOBS)
    if device is None:
        return ""
    other = volume.device(REPOSITORIES)
    if other is not None and other != device:
        return f"{REPOSITORIES} is on another device than {BLOBS}"
    if repositories == 0 and any(
        next(BlobStore(volume).files(shard.digests), None) for shard in BlobStore(volume).shards()
    ):
        return f"{BLOBS} holds data while {REPOSITORIES} is {'missing' if other is None else 'empty'}"
    return ""


def _exceeded(what: str, deleted: int, had: int, share: Fraction) -> Exceeded:
    return Exceeded(
        "maxDeletedShare",
        f"{deleted} of {had} {what} of the covered repositories would go, more than {float(100 * share):g}%",
    )
