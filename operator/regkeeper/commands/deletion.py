"""What `retain` and `delete` share: plan only, or plan and carry out, then answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import typer

from regkeeper.commands.change_options import Change
from regkeeper.commands.progress import progress
from regkeeper.commands.reports import (
    note_purged,
    note_recovered,
    purged_document,
    recovered_document,
    run_document,
)
from regkeeper.commands.volume_options import (
    KEPT_AGAINST_WILL,
    failures,
    note,
    present,
    print_document,
    reading,
)
from regkeeper.retention.asking import ask, ask_to_change
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.in_use import InUse
from regkeeper.retention.moments import SECOND, moment
from regkeeper.retention.plan import Plan
from regkeeper.retention.plan_files import Approved
from regkeeper.retention.policy import Intent
from regkeeper.retention.printing import print_plan
from regkeeper.retention.purge import Purged, due
from regkeeper.retention.recovery import Recovered
from regkeeper.retention.run import Order, Outcome, carry_out
from regkeeper.retention.spread import processors

_CLOCK_SKEW = 60 * SECOND
"""How far ahead of a dry run's clock a push may lie without a word."""


@dataclass(frozen=True, kw_only=True)
class Deletion:
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


class _NotAcceptedError(RefusedError):
    """Carries the plan that was refused out of the run."""

    def __init__(self, plan: Plan, message: str) -> None:
        super().__init__(message)
        self.plan = plan


def plan_only(deletion: Deletion) -> None:
    """Print the plan and change nothing at all."""
    now = deletion.judged_at(present(deletion.change.now))
    with (
        failures(as_json=deletion.change.as_json),
        reading(deletion.change.root, deletion.change.journal, remembering=True) as seen,
        progress() as shown,
    ):
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
    refusal = _refusal(deletion, plan)
    _print(deletion, plan, {"dryRun": True, "run": None, "due": first})
    _end(plan, refusal)


def plan_and_carry_out(deletion: Deletion) -> None:
    """Do what the plan says, and print it."""
    cleared: dict[str, object] = {}

    def tell(recovered: Recovered, purged: Purged) -> None:
        note_recovered(recovered)
        note_purged(purged)
        cleared.update(recovered=recovered_document(recovered), purged=purged_document([purged]))

    with failures(as_json=deletion.change.as_json):
        try:
            outcome = _carry_out(deletion, tell)
        except _NotAcceptedError as error:
            _print(deletion, error.plan, {"dryRun": False, "run": None, **cleared})
            _end(error.plan, str(error))
            raise
    answer: dict[str, object] = {
        "dryRun": False,
        "run": run_document(outcome.journal),
        "recovered": recovered_document(outcome.recovered),
        "purged": purged_document(outcome.purged),
    }
    if outcome.journal is not None:
        answer["outcome"] = "done"
    _print(deletion, outcome.plan, answer)
    for purged in outcome.purged[1:]:
        note_purged(purged)
    if outcome.journal is not None and deletion.intent.undo_window:
        due = moment(outcome.journal.purge_due)
        note(f"deleted as run {outcome.journal.run}; `regkeeper restore {outcome.journal.run}` undoes it until {due}")
    _end(outcome.plan, "", stuck=any(purged.stuck for purged in outcome.purged))


def _carry_out(deletion: Deletion, tell: Callable[[Recovered, Purged], None]) -> Outcome[Plan]:
    with deletion.change.opened(own_now=not deletion.plan_now) as session, progress() as shown:

        def make_plan(now: int) -> Plan:
            plan = ask_to_change(
                session.volume,
                session.journals,
                deletion.intent,
                now=deletion.judged_at(now),
                in_use=deletion.in_use,
                mode=deletion.change.mode,
                approved=deletion.approved,
                clock=time.time_ns(),
                progress=shown.read,
            )
            with shown.hidden():
                refusal = _refusal(deletion, plan)
            if refusal:
                raise _NotAcceptedError(plan, refusal)
            return plan

        def refuse() -> None:
            deletion.change.refuse_writers(session)

        def tell_behind(recovered: Recovered, purged: Purged) -> None:
            with shown.hidden():
                tell(recovered, purged)

        refuse()
        order = Order(
            command=deletion.command,
            undo_window=deletion.intent.undo_window // SECOND,
            make_plan=make_plan,
            refuse_writers=refuse,
            now=session.now,
            in_use=deletion.in_use,
            progress=shown.moved,
            cleared=tell_behind,
        )
        return carry_out(session.volume, session.journals, order, time.time)


def _refusal(deletion: Deletion, plan: Plan) -> str:
    if plan.refusal:
        return plan.refusal
    try:
        deletion.accept(plan)
    except RefusedError as error:
        return str(error)
    return ""


def _print(deletion: Deletion, plan: Plan, answer: dict[str, object]) -> None:
    if deletion.change.as_json:
        print_document({**plan.document(), **answer})
    else:
        print_plan(plan)


def _end(plan: Plan, refusal: str, *, stuck: bool = False) -> None:
    if refusal:
        note(f"refused: {refusal}")
        raise typer.Exit(1)
    if plan.problems or stuck:
        raise typer.Exit(KEPT_AGAINST_WILL)
