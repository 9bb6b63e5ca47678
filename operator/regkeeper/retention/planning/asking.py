"""Puts together what a plan is made from: the intent, images in use, and what earlier runs tell."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from regkeeper.retention.judging.question import Question
from regkeeper.retention.planning.early import Early
from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.planning.plan_files import Approved
from regkeeper.retention.planning.planner import Planner
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.policies.intent import Intent
from regkeeper.retention.quarantine import history
from regkeeper.retention.quarantine.immovable import immovable
from regkeeper.retention.quarantine.journals import Journals
from regkeeper.retention.quarantine.marks import kept
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.records.record_files import WritableRecordFiles
from regkeeper.retention.records.remembering import RememberingReader
from regkeeper.retention.runs.quiet import Mode
from regkeeper.retention.volume.layout import Volume
from regkeeper.retention.volume.repository_reader import RepositoryReader


class Inquiry(Struct, frozen=True, kw_only=True):
    """What a plan is asked for, whatever the volume.

    Attributes:
        intent: What is to go.
        in_use: None: nobody was asked.
        mode: Uploads go only while the registry is stopped.
        approved: A plan whose victims alone may go; None: no approval limits them.
        processes: How many may read at once.
        progress: Told of each repository that was read.
    """

    intent: Intent
    in_use: InUse | None
    mode: Mode
    approved: Approved | None = None
    processes: int = 1
    progress: Callable[[str], None] = lambda _: None


def ask(
    volume: Volume,
    reader: RepositoryReader,
    journals: Journals,
    inquiry: Inquiry,
    *,
    now: int,
    early: Early | None = None,
) -> Plan:
    """Make the plan of a run.

    Args:
        volume: The registry.
        reader: Reads its repositories.
        journals: Of earlier runs.
        inquiry: What is asked for.
        now: Nanoseconds since 1970.
        early: What was read already.
    """
    intent, approved = inquiry.intent, inquiry.approved
    departures = {}
    if intent.untagged_after is not None:
        departures = history.untagged_since(volume, journals, now - intent.untagged_after)
    question = Question(
        intent,
        now,
        inquiry.in_use or InUse(),
        restored=_restored(volume, intent.known),
        approved=None if approved is None else approved.victims,
        immovable=immovable(volume),
        departures=departures,
    )
    return Planner(
        volume,
        question,
        reader=reader,
        offline=inquiry.mode == Mode.OFFLINE,
        repositories_before=history.repositories_left(volume),
        processes=inquiry.processes,
        early=early,
        progress=inquiry.progress,
    ).make()


def ask_to_change(volume: WritableVolume, journals: Journals, inquiry: Inquiry, *, now: int, clock: int) -> Plan:
    """Make the plan of a run that will be carried out; one by policies remembers what was read for it.

    That there is nothing to delete may be told from what earlier runs remembered. A plan that deletes comes out of
    the volume alone. The arguments are those of `ask`, and `clock`: nanoseconds since 1970, where `now` may be given.
    """
    if not inquiry.intent.sweeps_garbage:  # the command `delete`, which always finds something, and is waited for
        return ask(volume, RepositoryReader(volume), journals, inquiry, now=now)
    files = WritableRecordFiles(volume)
    for trusting in (True, False):
        reader = RememberingReader(volume, files, now=clock, trusting=trusting)
        plan = ask(volume, reader, journals, inquiry, now=now)
        if not plan.moves or not reader.trusted:
            break
    files.drop_others()
    return plan


def _restored(volume: Volume, known: Mapping[str, str]) -> dict[tuple[str, str, str], str]:
    """Runs whose undo brought something back, by repository, tag and digest (a blob's has no repository)."""
    return {
        (mark.move.repository, mark.move.name, mark.move.digest)
        if mark.move.kind == Kind.TAG
        else (mark.move.repository, "", mark.move.name): mark.run
        for mark in kept(volume, known)
    }
