"""The two stages of a run. Each ends with an answer; what it plans or does, it prints for the Job's log.

`plan` reads only. If its answer is final (nothing to delete, a dry run, refused, an approval is awaited), `run` repeats
it and changes nothing but its own records. Otherwise `run` plans again, on the volume as it is now that the registry
is quiet and with the images in use as they are now, and carries that out.
"""

import sys
import time
from contextlib import suppress

from msgspec.structs import replace

from regkeeper.answer import Answer, Outcome, Restored
from regkeeper.job.answers import remember, remembered
from regkeeper.job.request import Request
from regkeeper.job.stillness import require_no_writers, require_quiet
from regkeeper.job.summary import largest_victims, planned, space, touched, with_purges
from regkeeper.retention import marks, reserve
from regkeeper.retention.asking import ask, ask_to_change
from regkeeper.retention.errors import RefusedError, StoppedError, StorageError
from regkeeper.retention.journals import Journals
from regkeeper.retention.layout import Volume
from regkeeper.retention.moments import SECOND, moment, parse_moment
from regkeeper.retention.plan import Plan
from regkeeper.retention.plan_files import (
    Approved,
    awaiting,
    record_awaiting,
    record_run,
    recorded_run,
    refuse_other_rules,
)
from regkeeper.retention.printing import count, print_plan, size_of
from regkeeper.retention.purge import Purged, due, purge
from regkeeper.retention.quiet import refuse_pull_through_cache
from regkeeper.retention.recovery import recover
from regkeeper.retention.repository import RepositoryReader
from regkeeper.retention.restore import Restored as Back
from regkeeper.retention.restore import undo, undoable
from regkeeper.retention.restore_images import restore_used
from regkeeper.retention.run import Order, carry_out
from regkeeper.retention.session import Reading, Session, changing, reading


class _NotCarriedOutError(RefusedError):
    """Carries a plan that may not be carried out, or not yet, out of the run."""

    def __init__(self, plan: Plan, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.plan = plan
        self.outcome = outcome


def plan(request: Request, root: str) -> Answer:
    """Look at the volume and say what would go; nothing is changed.

    Raises:
        RetentionError: it can't be said.
    """
    with reading(root, remembering=True) as seen:
        match request.document.action:
            case "show":
                return _show(seen.volume, request.document.show or "")
            case "purge" | "restore":
                return _foresee(request, seen)
        approved = _approval(seen.volume, request)
        made = _look(request, seen, time.time_ns() if approved is None else approved.now, approved)
        print_plan(made)
        outcome, message = _judge(request, made, approved)
        if outcome is Outcome.SWITCH:
            # Before the registry is made quiet in vain.
            refuse_pull_through_cache(seen.volume, request.mode)
        answer = planned(outcome, message, made, largest_victims(made, seen.reader))
        return answer if outcome is Outcome.SWITCH else _completed(answer, request, seen.volume, seen.journals)


def run(request: Request, root: str, before: Answer) -> Answer:
    """Do what is asked for.

    Args:
        request: What is asked for.
        root: What is mounted as /var/lib/registry.
        before: The answer of `plan`.

    Raises:
        RetentionError: it failed or was refused; the volume is consistent.
    """
    if before.outcome is Outcome.AWAITING_APPROVAL:
        return _record(request, root, before)
    if before.outcome not in (Outcome.SWITCH, Outcome.SKIPPED):
        return before
    if request.document.dry_run or request.document.action == "show":
        return plan(request, root)
    with changing(root, end=request.end) as session:
        match request.document.action:
            case "purge":
                answer = _purge(request, session)
            case "restore":
                answer = _restore(request, session)
            case _:
                answer = _retain(request, session)
        answer = _completed(answer, request, session.volume, session.journals)
        # What it did is done, though there be no room to repeat it, or no time.
        with suppress(StorageError, StoppedError):
            remember(session.volume, request.job, answer)
        return answer


def _foresee(request: Request, seen: Reading) -> Answer:
    """Whether a purge or an undo has something to do, for which the registry has to be made quiet."""
    wanted = request.document.restore
    if request.document.action == "purge":
        if not seen.unfinished and not due(seen.journals, seen.volume, time.time_ns()):
            answer = Answer(outcome=Outcome.NOTHING_TO_DO, message="nothing is due")
            return _completed(answer, request, seen.volume, seen.journals)
    elif wanted is not None and not wanted.forget and not wanted.in_use and wanted.run not in seen.unfinished:
        undoable(seen.journals, wanted.run)
    refuse_pull_through_cache(seen.volume, request.mode)
    return Answer(outcome=Outcome.SWITCH, message=f"to {request.document.action}")


def _look(request: Request, seen: Reading, now: int, approved: Approved | None) -> Plan:
    return ask(
        seen.volume,
        seen.reader,
        seen.journals,
        request.what,
        now=now,
        in_use=request.in_use,
        mode=request.mode,
        approved=approved,
        progress=lambda _: None,
    )


def _approval(volume: Volume, request: Request) -> Approved | None:
    if request.document.approved is None:
        return None
    approved = awaiting(volume, request.document.approved)
    refuse_other_rules(approved, request.what.fingerprint)
    return approved


def _judge(request: Request, made: Plan, approved: Approved | None) -> tuple[Outcome, str]:
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


def _record(request: Request, root: str, before: Answer) -> Answer:
    """Keep the plan that waits for an approval, which is bound to it."""
    with changing(root, end=request.end) as session, reading(root) as seen:
        made = _look(request, seen, parse_moment(before.now or ""), None)
        outcome, message = _judge(request, made, None)
        if outcome is not Outcome.AWAITING_APPROVAL:
            raise RefusedError("the volume changed while the plan was made: the next run plans afresh")
        record_awaiting(session.volume, made)
        answer = planned(outcome, message, made, largest_victims(made, seen.reader))
        return _completed(answer, request, seen.volume, seen.journals)


def _retain(request: Request, session: Session) -> Answer:
    volume, journals = session.volume, session.journals
    victims: list[str] = []
    purges: list[Purged] = []
    approved = _approval(volume, request)

    def make_plan(now: int) -> Plan:
        made = ask_to_change(
            volume,
            journals,
            request.what,
            now=approved.now if approved else now,
            in_use=request.in_use,
            mode=request.mode,
            approved=approved,
            clock=time.time_ns(),
            progress=lambda _: None,
        )
        victims[:] = largest_victims(made, RepositoryReader(volume))
        outcome, message = _judge(request, made, approved)
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
        _, message = _judge(request, done.plan, approved)
        return with_purges(planned(Outcome.NOTHING_TO_DO, message, done.plan, victims), done.purged)
    # No room for it on a full volume is no failure of a run that is done; the Job's log has it too.
    with suppress(StorageError, StoppedError):
        record_run(volume, done.journal.run, done.plan, keep=request.document.keep_plans)
    answer = replace(
        planned(Outcome.DONE, f"deleted {_size(done.plan)}", done.plan, victims),
        run=done.journal.run,
        undo_until=moment(done.journal.purge_due) if request.what.undo_window else None,
        # What is purged already can't be brought back, whatever it was: that a person should know.
        touched=touched(volume, journals, done.journal.run) if request.what.undo_window else None,
    )
    return with_purges(answer, done.purged)


def _purge(request: Request, session: Session) -> Answer:
    volume, journals, now = session.volume, session.journals, session.present
    given_up = require_quiet(request, session)
    recover(volume, journals, now=now)
    purged = purge(
        volume, journals, due(journals, volume, now), now=now, in_use=request.in_use, given_up=given_up
    )
    reserve.replenish(volume)
    if not purged.runs:
        return Answer(outcome=Outcome.NOTHING_TO_DO, message="nothing is due")
    answer = Answer(
        outcome=Outcome.DONE,
        message=f"freed {size_of(purged.bytes)}",
        restored=_restored(purged.returned) if purged.returned.moves else None,
    )
    return with_purges(answer, [purged])


def _restore(request: Request, session: Session) -> Answer:
    wanted, volume, journals = request.document.restore, session.volume, session.journals
    if wanted is None:
        raise RefusedError("no run to restore is named")
    if wanted.forget:
        marks.forget(volume, wanted.run)
        message = f"what the undo of run {wanted.run} brought back is no longer kept for that"
        return Answer(outcome=Outcome.DONE, message=message, run=wanted.run)
    require_no_writers(request, session)
    recovered = recover(volume, journals, now=session.present)
    if wanted.in_use:
        if request.in_use is None:
            raise RefusedError("the images in use are not told")
        back = restore_used(volume, journals, wanted.run, request.in_use)
    else:
        ended = {**recovered.rolled_back, **recovered.undone}
        back = ended.get(wanted.run) or undo(volume, journals, undoable(journals, wanted.run), session.present)
    reserve.replenish(volume)
    return Answer(
        outcome=Outcome.DONE if back.moves else Outcome.NOTHING_TO_DO,
        message=f"{count(len(back.moves), 'entry')} back from run {wanted.run}",
        run=wanted.run,
        restored=_restored(back),
        warnings=len(back.missing),
        texts=[f"{digest} is nowhere any more: what needs it can't be pulled" for digest in back.missing],
    )


def _show(volume: Volume, run_name: str) -> Answer:
    text = recorded_run(volume, run_name)
    if text is None:
        raise RefusedError(f"the plan of run {run_name} is not kept any more")
    sys.stdout.write(text)
    return Answer(outcome=Outcome.DONE, message=f"the plan of run {run_name} stands in the log", run=run_name)


def _restored(back: Back) -> Restored:
    newer = [f"{move.repository}:{move.name}" for move in back.newer]
    return Restored(entries=len(back.moves), newer=newer)


def _completed(answer: Answer, request: Request, volume: Volume, journals: Journals) -> Answer:
    """With what is asked of every run: the space, and the answer of an earlier run that got lost."""
    lost = request.document.unanswered
    return replace(
        answer,
        **space(volume, journals),
        in_use=len(request.document.in_use or ()),
        previous=None if lost is None else remembered(volume, lost),
    )
