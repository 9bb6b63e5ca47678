"""`retain` and `delete` when it is no dry run: plan, carry out, answer."""

import shlex
import time
from collections.abc import Callable

from regkeeper.commands.answering import failures, note
from regkeeper.commands.deletion import Deletion, answer, end, refusal_of
from regkeeper.commands.progress import progress
from regkeeper.commands.reports import (
    note_purged,
    note_recovered,
    purged_document,
    recovered_document,
    run_document,
)
from regkeeper.retention.errors import RefusedError
from regkeeper.retention.moments import SECOND, moment
from regkeeper.retention.planning.asking import ask_to_change
from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.processes.spread import processors
from regkeeper.retention.runs.purge import Purged
from regkeeper.retention.runs.recovery import Recovered
from regkeeper.retention.runs.run import Order, Outcome, carry_out


class _NotAcceptedError(RefusedError):
    """Carries the plan that was refused out of the run."""

    def __init__(self, plan: Plan, message: str) -> None:
        super().__init__(message)
        self.plan = plan


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
            answer(deletion, error.plan, {"dryRun": False, "run": None, **cleared})
            end(error.plan, str(error))
            raise
    further: dict[str, object] = {
        "dryRun": False,
        "run": run_document(outcome.journal),
        "recovered": recovered_document(outcome.recovered),
        "purged": purged_document(outcome.purged),
    }
    if outcome.journal is not None:
        further["outcome"] = "done"
    try:
        answer(deletion, outcome.plan, further)
    finally:  # it is done, whoever could be told
        _note_done(deletion, outcome)
    end(outcome.plan, "", stuck=any(purged.stuck for purged in outcome.purged))


def _note_done(deletion: Deletion, outcome: Outcome[Plan]) -> None:
    """Say what was freed, and how what was deleted can come back."""
    for purged in outcome.purged[1:]:
        note_purged(purged)
    if outcome.journal is not None and deletion.intent.undo_window:
        due = moment(outcome.journal.purge_due)
        run, change = outcome.journal.run, deletion.change
        where = ["--root", change.root, *(["--journal", change.journal] if change.journal else [])]
        note(f"deleted as run {run}; `{shlex.join(['regkeeper', 'restore', *where, run])}` undoes it until {due}")


def _carry_out(deletion: Deletion, tell: Callable[[Recovered, Purged], None]) -> Outcome[Plan]:
    with deletion.change.opened(own_now=not deletion.plan_now) as session, progress() as shown:

        def make_plan(now: int) -> Plan:
            plan = ask_to_change(
                session.volume,
                session.journals,
                deletion.inquiry(shown.read),
                now=deletion.judged_at(now),
                clock=time.time_ns(),
            )
            with shown.hidden():
                refusal = refusal_of(deletion, plan)
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
            processes=processors(),
            cleared=tell_behind,
        )
        return carry_out(session.volume, session.journals, order, time.time)
