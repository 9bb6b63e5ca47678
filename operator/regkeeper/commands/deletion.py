"""What `retain` and `delete` share: what was asked for, the plan alone, and the answer."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext

import typer
from msgspec import Struct

from regkeeper.commands.change_options import Change
from regkeeper.commands.progress import progress
from regkeeper.commands.volume_options import KEPT_AGAINST_WILL, failures, note, note_state, present, print_document
from regkeeper.retention import session
from regkeeper.retention.asking import ask
from regkeeper.retention.early import Early
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.history import due
from regkeeper.retention.in_use import InUse
from regkeeper.retention.intent import Intent
from regkeeper.retention.moments import SECOND, moment
from regkeeper.retention.plan import Plan
from regkeeper.retention.plan_files import Approved
from regkeeper.retention.printing import print_plan
from regkeeper.retention.spread import processors

_CLOCK_SKEW = 60 * SECOND
"""How far ahead of a dry run's clock a push may lie without a word."""


class Deletion(Struct, frozen=True, kw_only=True):
    """One `retain` or `delete` as it was asked for.

    Attributes:
        plan_now: `now` judges the plan alone, and is not the run's own, from which its undo window counts.
        approved: A plan whose victims alone may go, judged by its own time; None: no approval limits them.
        accept: Raises `RefusedError` for a plan that may not be carried out, or asks the person.
    """

    command: str
    change: Change
    intent: Intent
    in_use: InUse | None
    accept: Callable[[Plan], None]
    plan_now: bool = False
    approved: Approved | None = None

    def judged_at(self, now: int) -> int:
        """Nanoseconds since 1970 by which the plan's ages are judged, in a run that has its own `now`."""
        if self.approved is not None:
            return self.approved.now
        return present(self.change.now) if self.plan_now and self.change.now else now


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
            deletion.intent,
            now=now,
            in_use=deletion.in_use,
            mode=deletion.change.mode,
            approved=deletion.approved,
            processes=processors(),
            early=early,
            progress=shown.read,
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


def refusal_of(deletion: Deletion, plan: Plan) -> str:
    """Why a plan may not be carried out; empty: it may."""
    if plan.refusal:
        return plan.refusal
    try:
        deletion.accept(plan)
    except RefusedError as error:
        return str(error)
    return ""


def answer(deletion: Deletion, plan: Plan, further: Mapping[str, object]) -> None:
    """Print a plan for whoever asked: `further` stands beside it in the document."""
    if deletion.change.as_json:
        print_document({**plan.document(), **further})
    else:
        print_plan(plan)


def end(plan: Plan, refusal: str, *, stuck: bool = False) -> None:
    """End the command with the status that a plan, or its refusal, comes to; `stuck`: a purge left something."""
    if refusal:
        note(f"refused: {refusal}")
        raise typer.Exit(1)
    if plan.problems or stuck:
        raise typer.Exit(KEPT_AGAINST_WILL)
