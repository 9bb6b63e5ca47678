"""A run by a policy: its plan, what may come of it, and carrying it out."""

import time
from contextlib import suppress

from msgspec.structs import replace

from regkeeper.answer import Answer, Outcome
from regkeeper.job.request import Request
from regkeeper.job.stillness import require_no_writers, require_quiet
from regkeeper.job.summary import largest_victims, planned, touched, with_purges
from regkeeper.retention.errors import RefusedError, StoppedError, StorageError
from regkeeper.retention.moments import SECOND, moment
from regkeeper.retention.planning.asking import Inquiry, ask, ask_to_change
from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.planning.plan_files import Approved, awaiting, record_awaiting, record_run, refuse_other_rules
from regkeeper.retention.planning.printing import print_plan
from regkeeper.retention.processes.spread import processors
from regkeeper.retention.runs.purge import Purged
from regkeeper.retention.runs.run import Order, carry_out
from regkeeper.retention.runs.session import Reading, Session
from regkeeper.retention.volume.layout import Volume
from regkeeper.retention.volume.repository_reader import RepositoryReader
from regkeeper.retention.wording import count, size_of


class _NotCarriedOutError(RefusedError):
    """Carries a plan that may not be carried out, or not yet, out of the run."""

    def __init__(self, plan: Plan, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.plan = plan
        self.outcome = outcome


def look(request: Request, seen: Reading, now: int, approved: Approved | None) -> Plan:
    """The plan as the volume is now; nothing is changed."""
    return ask(seen.volume, seen.reader, seen.journals, _inquiry(request, approved), now=now)


def _inquiry(request: Request, approved: Approved | None) -> Inquiry:
    return Inquiry(
        intent=request.what,
        in_use=request.in_use,
        mode=request.mode,
        approved=approved,
        processes=processors(),
    )


def approval(volume: Volume, request: Request) -> Approved | None:
    """The plan that was approved; None: no approval limits the run.

    Raises:
        RefusedError: its rules are no longer those of the policy, or it is not there any more.
    """
    if request.document.approved is None:
        return None
    approved = awaiting(volume, request.document.approved)
    refuse_other_rules(approved, request.what.fingerprint)
    return approved


def judge(request: Request, made: Plan, approved: Approved | None) -> tuple[Outcome, str]:
    """What comes of a plan, and why."""
    limits = "; ".join(exceeded.message for exceeded in made.limits)
    if made.refusal:
        return Outcome.REFUSED, made.refusal
    if not made.moves:
        return (
            Outcome.NOTHING_TO_DO,
            "nothing to delete" if approved is None else "nothing is left of what was approved",
        )
    if request.document.dry_run:
        return Outcome.DRY_RUN, f"would delete {_size(made)}"
    if approved is None:
        if limits and request.approval == "Never":
            return Outcome.REFUSED, f"{limits}, and approval is Never: nothing was deleted"
        if limits or request.approval == "Always":
            return Outcome.AWAITING_APPROVAL, f"{limits or 'approval is Always'}: {_size(made)} wait for an approval"
    return Outcome.SWITCH, f"to delete: {_size(made)}"


def _size(made: Plan) -> str:
    tags = sum(entry.tags.deleted_count for entry in made.entries)
    return f"{count(tags, 'tag')}, {size_of(made.deleted_bytes)}"


def retain(request: Request, session: Session) -> Answer:
    """Plan again, now that the registry is quiet, and carry it out if it may be."""
    volume, journals = session.volume, session.journals
    victims: list[str] = []
    purges = list[Purged]()
    approved = approval(volume, request)

    def make_plan(now: int) -> Plan:
        made = ask_to_change(
            volume,
            journals,
            _inquiry(request, approved),
            now=approved.now if approved else now,
            clock=time.time_ns(),
        )
        victims[:] = largest_victims(made, RepositoryReader(volume))
        outcome, message = judge(request, made, approved)
        if outcome not in (Outcome.SWITCH, Outcome.NOTHING_TO_DO):
            raise _NotCarriedOutError(made, outcome, message)
        return made

    given_up = require_quiet(request, session)
    order = Order(
        command="retain",
        undo_window=request.what.undo_window // SECOND,
        make_plan=make_plan,
        refuse_writers=lambda: require_no_writers(request, session),
        given_up=given_up,
        now=session.now,
        in_use=request.in_use,
        progress=lambda _: None,
        processes=processors(),
        cleared=lambda _, purged: purges.append(purged),
    )
    try:
        done = carry_out(volume, journals, order, time.time)
    except _NotCarriedOutError as error:
        print_plan(error.plan)
        if error.outcome is Outcome.AWAITING_APPROVAL:
            record_awaiting(volume, error.plan)
        return with_purges(planned(error.outcome, str(error), error.plan, victims), purges)
    print_plan(done.plan)
    if done.journal is None:
        _, message = judge(request, done.plan, approved)
        return with_purges(planned(Outcome.NOTHING_TO_DO, message, done.plan, victims), done.purged)
    # No room for it on a full volume is no failure of a run that is done; the Job's log has it too.
    with suppress(StorageError, StoppedError):
        record_run(volume, done.journal.run, done.plan, keep=request.document.keep_plans)
    answer = replace(
        planned(Outcome.DONE, f"deleted {_size(done.plan)}", done.plan, victims),
        run=done.journal.run,
        undo_until=moment(done.journal.purge_due) if request.what.undo_window else None,
        # What is purged already can't be brought back, whatever it was: that a person should know.
        touched=touched(volume, journals, done.journal.run, done.plan) if request.what.undo_window else None,
    )
    return with_purges(answer, done.purged)
