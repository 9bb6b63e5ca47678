"""`retain` and `delete` are done: a dry run here, a real one in carrying_out.py."""

from contextlib import nullcontext

from regkeeper.commands.answering import failures, note
from regkeeper.commands.deletion import Deletion, answer, end, refusal_of
from regkeeper.commands.progress import progress
from regkeeper.commands.reading import note_state
from regkeeper.commands.volume_options import present
from regkeeper.retention.moments import SECOND, moment
from regkeeper.retention.planning.asking import ask
from regkeeper.retention.planning.early import Early
from regkeeper.retention.quarantine.history import due
from regkeeper.retention.runs import session

_CLOCK_SKEW = 60 * SECOND
"""How far ahead of a dry run's clock a push may lie without a word."""


def perform(deletion: Deletion, *, dry_run: bool, early: Early | None = None) -> None:
    """Plan, and unless it is a dry run carry the plan out; then answer, and end the command with its status.

    `early`: what a dry run has read before it knew the question.
    """
    if dry_run:
        _plan_only(deletion, early)
        return
    from regkeeper.commands.carrying_out import plan_and_carry_out  # with the sweep, the purge and the undo

    plan_and_carry_out(deletion)


def _plan_only(deletion: Deletion, early: Early | None) -> None:
    """Print the plan and change nothing at all."""
    now = deletion.judged_at(present(deletion.change.now))
    with (
        failures(as_json=deletion.change.as_json),
        nullcontext(early.seen)
        if early
        else session.reading(deletion.change.root, deletion.change.journal, remembering=True) as seen,
        progress() as shown,
    ):
        note_state(seen)
        plan = ask(
            seen.volume,
            seen.reader,
            seen.journals,
            deletion.inquiry(shown.read),
            now=now,
            early=early,
        )
        first = [journal.run for journal in due(seen.journals, seen.volume, now)]
    newest = max((entry.tags.newest for entry in plan.entries), default=0)
    if newest > now + _CLOCK_SKEW:
        plan.warnings.append(
            f"the newest tag was pushed at {moment(newest)}, after now ({moment(now)}): this machine's clock may be "
            "behind the volume's, by which a real run judges"
        )
    if first:
        note(f"a run would first free {', '.join(first)}, whose undo window is over")
    refusal = refusal_of(deletion, plan)
    answer(deletion, plan, {"dryRun": True, "run": None, "due": first})
    end(plan, refusal)
