"""Puts together what a plan is made from: the intent, images in use, and what earlier runs tell."""

from collections.abc import Callable

from regkeeper.retention import history
from regkeeper.retention.in_use import InUse
from regkeeper.retention.journal import Journals
from regkeeper.retention.layout import Volume
from regkeeper.retention.marks import kept
from regkeeper.retention.moves import Kind
from regkeeper.retention.plan import Plan
from regkeeper.retention.planner import Planner
from regkeeper.retention.policy import Intent
from regkeeper.retention.quiet import Mode
from regkeeper.retention.repository import RepositoryReader
from regkeeper.retention.tag_verdicts import Question


def ask(
    volume: Volume,
    reader: RepositoryReader,
    journals: Journals,
    intent: Intent,
    *,
    now: int,
    in_use: InUse | None,
    mode: Mode,
    progress: Callable[[str], None],
) -> Plan:
    """Make the plan of a run.

    Args:
        volume: The registry.
        reader: Reads its repositories.
        journals: Of earlier runs.
        intent: What is asked for.
        now: Nanoseconds since 1970.
        in_use: None: nobody was asked.
        mode: Uploads go only while the registry is stopped.
        progress: Told of each repository that was read.
    """
    question = Question(
        intent,
        now,
        in_use or InUse(),
        restored=_restored(volume, intent.fingerprint),
        departures=history.untagged_since(journals),
    )
    return Planner(
        volume,
        question,
        reader=reader,
        offline=mode == Mode.OFFLINE,
        repositories_before=history.repositories_left(journals),
        progress=progress,
    ).make()


def _restored(volume: Volume, rules: str) -> dict[tuple[str, str, str], str]:
    """Runs whose undo brought something back, by repository, tag and digest (a blob's has no repository)."""
    return {
        (mark.move.repository, mark.move.name, mark.move.digest)
        if mark.move.kind == Kind.TAG
        else (mark.move.repository, "", mark.move.name): mark.run
        for mark in kept(volume, rules)
    }
