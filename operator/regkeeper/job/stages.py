"""The two stages of a run. Each ends with an answer; what it plans or does, it prints for the Job's log.

`plan` reads only. If its answer is final (nothing to delete, a dry run, refused, an approval is awaited), `run` repeats
it and changes nothing but its own records. Otherwise `run` plans again, on the volume as it is now that the registry
is quiet and with the images in use as they are now, and carries that out.
"""

import sys
import time
from contextlib import suppress

from msgspec.structs import replace

from regkeeper.answer import Answer, Outcome
from regkeeper.job.answers import remember, remembered
from regkeeper.job.quarantine_runs import NOTHING_IN_USE, purge, require_in_use, rescue, restore
from regkeeper.job.request import Request
from regkeeper.job.retaining import approval, judge, look, retain
from regkeeper.job.summary import largest_victims, planned, space, undone_last
from regkeeper.retention.errors import RefusedError, StoppedError, StorageError
from regkeeper.retention.moments import parse_moment
from regkeeper.retention.planning.plan_files import record_awaiting, recorded_run
from regkeeper.retention.planning.printing import print_plan
from regkeeper.retention.quarantine.history import due
from regkeeper.retention.quarantine.journals import Journals
from regkeeper.retention.runs.quiet import refuse_pull_through_cache
from regkeeper.retention.runs.restore import undoable
from regkeeper.retention.runs.restore_images import all_used_generations
from regkeeper.retention.runs.session import Reading, changing, reading
from regkeeper.retention.volume.layout import Volume


def plan(request: Request, root: str) -> Answer:
    """Look at the volume and say what would go; nothing is changed.

    Raises:
        RetentionError: it can't be said.
    """
    with reading(root, remembering=True) as seen:
        match request.document.action:
            case "show":
                return _show(seen.volume, request.document.show or "")
            case "purge" | "restore" | "rescue":
                return _foresee(request, seen)
        approved = approval(seen.volume, request)
        made = look(request, seen, time.time_ns() if approved is None else approved.now, approved)
        print_plan(made)
        outcome, message = judge(request, made, approved)
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
                answer = purge(request, session)
            case "restore":
                answer = restore(request, session)
            case "rescue":
                answer = rescue(request, session)
            case _:
                answer = retain(request, session)
        answer = _completed(answer, request, session.volume, session.journals)
        # What it did is done, though there be no room to repeat it, or no time.
        with suppress(StorageError, StoppedError):
            remember(session.volume, request.job, answer)
        return answer


def _record(request: Request, root: str, before: Answer) -> Answer:
    """Keep the plan that waits for an approval, which is bound to it."""
    with changing(root, end=request.end) as session, reading(root) as seen:
        made = look(request, seen, parse_moment(before.now or ""), None)
        outcome, message = judge(request, made, None)
        if outcome is not Outcome.AWAITING_APPROVAL:
            raise RefusedError("the volume changed while the plan was made: the next run plans afresh")
        record_awaiting(session.volume, made)
        answer = planned(outcome, message, made, largest_victims(made, seen.reader))
        return _completed(answer, request, seen.volume, seen.journals)


def _foresee(request: Request, seen: Reading) -> Answer:
    """Whether a purge, an undo or a rescue has something to do, for which the registry has to be made quiet."""
    wanted, nothing = request.document.restore, ""
    match request.document.action:
        case "purge":
            if not seen.unfinished and not due(seen.journals, seen.volume, time.time_ns()):
                nothing = "nothing is due"
        case "rescue":
            in_use = require_in_use(request)
            if not seen.unfinished and not any(all_used_generations(seen.volume, seen.journals, in_use)):
                nothing = NOTHING_IN_USE
        case _:
            if wanted is not None and not wanted.forget and wanted.run not in seen.unfinished:
                undoable(seen.journals, wanted.run)
    if nothing:
        answer = Answer(outcome=Outcome.NOTHING_TO_DO, message=nothing)
        return _completed(answer, request, seen.volume, seen.journals)
    refuse_pull_through_cache(seen.volume, request.mode)
    return Answer(outcome=Outcome.SWITCH, message=f"to {request.document.action}")


def _show(volume: Volume, run_name: str) -> Answer:
    text = recorded_run(volume, run_name)
    if text is None:
        raise RefusedError(f"the plan of run {run_name} is not kept any more")
    sys.stdout.write(text)
    return Answer(outcome=Outcome.DONE, message=f"the plan of run {run_name} stands in the log", run=run_name)


def _completed(answer: Answer, request: Request, volume: Volume, journals: Journals) -> Answer:
    """With what is asked of every run: the space, and what came of earlier runs that nobody heard of."""
    lost = request.document.unanswered
    return replace(
        answer,
        **space(volume, journals),
        undone=undone_last(journals),
        in_use=len(request.document.in_use or ()),
        previous=None if lost is None else remembered(volume, lost),
    )
