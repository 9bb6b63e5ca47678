"""What a run did, or would do, in an answer's few words."""

import re
from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from regkeeper.answer import Answer, Deleted, Freed, Kept, Outcome
from regkeeper.retention.errors import RetentionError
from regkeeper.retention.moments import exact_moment, moment
from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.quarantine.contents import NAMES_OF_IMAGES, Contents
from regkeeper.retention.quarantine.journal import State
from regkeeper.retention.quarantine.journals import Journals
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.runs.needed import names_of_use
from regkeeper.retention.runs.purge import Purged
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import Volume
from regkeeper.retention.volume.manifest import CorruptManifestError
from regkeeper.retention.volume.repository_reader import RepositoryReader
from regkeeper.retention.volume.usage import blob_bytes, quarantined_bytes
from regkeeper.retention.wording import shown
from regkeeper.sketch import MOST_NAMES, name_of_tag, sketch

MOST_VICTIMS = 100
"""As many as an answer could ever hold."""

MOST_UNDONE = 5
"""Runs of which an answer says that they are undone; a status asks of one."""

_GROUPS = (
    (re.compile(r"in use by .*"), "in use"),
    (re.compile(r"restored from run .*"), "restored by an undo"),
    (re.compile(r"its subject .* stays"), "their subject stays"),
    (re.compile(r"its subject .* is nowhere.*"), "their subject is nowhere"),
    (re.compile(r"something in the repository can't be read: .*"), "something in their repository can't be read"),
    (re.compile(r"asked for by delete: .*, but kept: .*"), "asked for by delete, but kept"),
)
"""Reasons that name something, and what they have in common."""


def planned(outcome: Outcome, message: str, plan: Plan, victims: list[str]) -> Answer:
    """The answer about a plan, carried out or not.

    Args:
        outcome: What came of it.
        message: In words.
        plan: The plan.
        victims: The largest, as `largest_victims` names them.
    """
    tags = plan.count(Kind.TAG)
    warnings = [*plan.warnings, *(str(problem) for problem in plan.problems)]
    warnings += [f"delete: {text} names nothing" for text in plan.unmatched]
    warnings += [f"delete: {kept.asked} asks for {kept.name}, but: {kept.reason}" for kept in plan.kept]
    return Answer(
        outcome=outcome,
        message=message,
        hash=plan.hash,
        now=exact_moment(plan.now),
        limits=[exceeded.message for exceeded in plan.limits],
        kept=_kept(plan),
        deleted=Deleted(
            tags=tags,
            manifests=plan.count(Kind.INDEX_REVISION, Kind.REVISION),
            blobs=plan.count(Kind.BLOB, Kind.MANIFEST_BLOB),
            bytes=plan.deleted_bytes,
        ),
        reclaimable=0 if outcome is Outcome.DONE else plan.deleted_bytes,
        unreadable=len(plan.problems),
        warnings=len(warnings),
        texts=warnings,
        victims=victims,
        omitted=tags - len(victims),
    )


def _kept(plan: Plan) -> Kept:
    reasons: Counter[str] = Counter(row.reason for entry in plan.entries for row in entry.tags if not row.deleted)
    groups: Counter[str] = Counter()
    for reason, tags in reasons.items():
        groups[next((group for form, group in _GROUPS if form.fullmatch(reason)), reason)] += tags
    return Kept(tags=reasons.total(), reasons=dict(groups))


def largest_victims(plan: Plan, reader: RepositoryReader) -> list[str]:
    """`repository:tag bytes` of tags that go, the largest first, of the repositories that lose most.

    The bytes are of the blobs that go and that the tag's image names; a shared one counts with each of its tags.
    Reads manifests, so the plan must not have been carried out yet.
    """
    chosen: list[tuple[str, str, Digest | None]] = []
    for entry in sorted(plan.entries, key=lambda entry: -entry.deleted_bytes):
        chosen += [(entry.name, tag, digest) for tag, digest in entry.tags.deleted()]
        if len(chosen) >= MOST_VICTIMS:
            break
    sizes = {move.name: move.bytes for move in plan.moves if move.kind in (Kind.BLOB, Kind.MANIFEST_BLOB)}
    rows = [
        (sum(sizes.get(digests.to_text(blob), 0) for blob in _blobs(digest, reader)), repository, tag)
        for repository, tag, digest in chosen[:MOST_VICTIMS]
    ]
    return [f"{shown(repository)}:{tag} {size}" for size, repository, tag in sorted(rows, key=lambda row: -row[0])]


def _blobs(digest: Digest | None, reader: RepositoryReader) -> set[Digest]:
    """The digests of an image's manifests, configs and layers."""
    waiting, found = [] if digest is None else [digest], set[Digest]()
    while waiting:
        manifest_digest = waiting.pop()
        if manifest_digest in found:
            continue
        found.add(manifest_digest)
        try:
            manifest = reader.read_manifest(manifest_digest)
        except (FileNotFoundError, CorruptManifestError):
            continue
        found.update(manifest.blobs)
        waiting += manifest.children
    return found


def touched(volume: Volume, journals: Journals, run: str, plan: Plan) -> bytes | None:
    """A sketch of all names by which what a run deleted may be in use; None: nobody can say, or it would say nothing.

    The run is done, and tells so whatever of it can't be read: an exact `delete` takes what is damaged, too.
    """
    if plan.count(*NAMES_OF_IMAGES) > MOST_NAMES:
        return None
    try:
        contents = Contents(volume, journals, [run], {*NAMES_OF_IMAGES, Kind.MANIFEST_BLOB})
        tags, found = names_of_use(contents)
    except (RetentionError, OSError):
        return None
    return sketch([*(name_of_tag(repository, tag) for repository, tag in tags), *found])


def with_purges(answer: Answer, purges: Iterable[Purged]) -> Answer:
    """The answer, and what was purged on the way, or why it was not."""
    every = list(purges)
    warnings = [purged.unverified for purged in every if purged.unverified]
    warnings += [f"{text}; the next purge tries again" for purged in every for text in purged.stuck]
    return replace(
        answer,
        freed=Freed(
            runs=len({run for item in every for run in item.freed_runs}), bytes=sum(item.bytes for item in every)
        ),
        warnings=answer.warnings + len(warnings),
        texts=[*warnings, *answer.texts],
    )


def undone_last(journals: Journals) -> list[str]:
    """Runs that are undone: any run finishes an undo that was stopped, and who asked for that one heard it failed."""
    undone = sorted((journal for journal in journals.all() if journal.undone), key=lambda journal: journal.undone)
    return sorted(journal.run for journal in undone[-MOST_UNDONE:])


def space(volume: Volume, journals: Journals) -> dict[str, int | str | None]:
    """The fields of an answer about the volume as it is now."""
    due = [journal.next_purge for journal in journals.all() if journal.state in (State.DONE, State.PURGING)]
    return {
        "used": blob_bytes(volume),
        "quarantined": quarantined_bytes(volume),
        "purge_due": moment(min(due)) if due else None,
    }
