"""From what a run's containers said to what the status says about it; pure."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from regkeeper import kube
from regkeeper.answer import Answer, Outcome
from regkeeper.naming import RUN_FINALIZER
from regkeeper.reconcile.conditions import timestamp
from regkeeper.reconcile.retention.pods import Said, plan_said, run_said
from regkeeper.reconcile.retention.requests import Action
from regkeeper.resources.lease import Holder, Lock, Quiet, Rescue, Stage

LONGEST_MESSAGE = 4096
"""Characters that the status takes."""
REPEATED_AFTER = timedelta(hours=1)
"""Until a purge is tried again that left something that is due."""
FIRST_RESCUE_AGAIN, LAST_RESCUE_AGAIN = timedelta(minutes=1), timedelta(hours=1)
"""Until a Job that could not bring back what came into use is made again: pods wait for that, and each may make their
registry quiet."""
LONGEST_TROUBLE = 512


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How a run ended."""

    outcome: str
    """As the status names it."""
    message: str
    answer: Answer | None = None
    is_lost: bool = False
    """It may have changed the volume, and did not say what."""
    is_half_done: bool = False
    """It may have changed the volume, and did not come to its end: somebody has to put back what it moved."""


def conclude(holder: Holder, job: Mapping[str, Any] | None, pod: Mapping[str, Any] | None) -> Conclusion:
    """What became of a run whose containers have stopped."""
    said = _last_word(pod)
    may_have_changed = _may_have_changed(holder, job)
    if said is not None and said.answer is not None:
        failed = said.answer.outcome is Outcome.FAILED
        half_done = failed and may_have_changed
        return Conclusion(said.answer.outcome.value, said.answer.message, said.answer, is_half_done=half_done)
    message = holder.aborted or _what_happened(job, said)
    if may_have_changed:
        message = f"{message}. What it deleted until then, the next run puts back"
        return Conclusion("Unknown", message, is_lost=True, is_half_done=True)
    return Conclusion("Failed", f"{message}. Nothing was deleted")


def _may_have_changed(holder: Holder, job: Mapping[str, Any] | None) -> bool:
    """Whether it was told that it may change the volume."""
    if holder.stage is Stage.PREPARING:
        # One that needs no plan first is told so before it is let go; the write that says how far it is comes after.
        # It is not let fall before that is written, and so not gone.
        let_go = job is not None and RUN_FINALIZER in job["metadata"].get("finalizers", ())
        return holder.quiet is not None and let_go
    return holder.stage in (Stage.TELLING, Stage.RUNNING)


def _last_word(pod: Mapping[str, Any] | None) -> Said | None:
    """The second stage's answer, or the first one's where that was the end."""
    if pod is None:
        return None
    last = run_said(pod)
    if last is not None and last.answer is not None and last.answer.outcome.is_final:
        return last
    plan = plan_said(pod)
    if plan is not None and (plan.answer is None or plan.answer.outcome.is_final):
        return plan
    return None if last is None else replace(last, answer=None)


def _what_happened(job: Mapping[str, Any] | None, said: Said | None) -> str:
    if job is None or "deletionTimestamp" in job["metadata"]:
        return "its Job was deleted"
    for condition in (job.get("status") or {}).get("conditions") or ():
        if (
            condition["type"] == "Failed"
            and condition["status"] == "True"
            and condition.get("reason") != "BackoffLimitExceeded"
        ):
            return f"its Job failed: {condition.get('reason', '')}: {condition.get('message', '')}"
    if said is not None:
        return f"its container ended without an answer: {said.reason}, exit code {said.code}"
    return "its pod ended without an answer"


def purge_due(before: datetime | None, holder: Holder, conclusion: Conclusion, now: datetime) -> datetime | None:
    """When the next purge is to take place after a run; None: never, as far as is known.

    Args:
        before: When it was to take place so far.
        holder: The run.
        conclusion: How it ended.
        now: The time of day.
    """
    if conclusion.is_half_done and holder.action != Action.PURGE:
        # The next run puts back what it deleted, and there may be no other.
        return now
    due, answer = before, conclusion.answer
    if answer is not None and answer.quarantined is not None:
        due = datetime.fromisoformat(answer.purge_due) if answer.purge_due else None
    # Each run frees what is due when it begins. What did not help is tried again later, by a Job with another name.
    return now + REPEATED_AFTER if due is not None and due <= holder.since else due


def rescue_due(lock: Lock, holder: Holder, conclusion: Conclusion, now: datetime, *, missed: bool) -> Rescue | None:
    """What the lock says, after a run, of a Job that brings back what came into use; None: there is none to be made.

    Args:
        lock: As it was so far.
        holder: The run.
        conclusion: How it ended.
        now: The time of day.
        missed: Whether something that it deleted came into use meanwhile, or may have.
    """
    if holder.action == Action.RESCUE:
        if conclusion.outcome in ("Done", "NothingToDo"):
            return None
        before = lock.rescue or Rescue(holder.retention, holder.since, holder.since)
        return put_off(before, holder.job, f"{conclusion.outcome}: {conclusion.message}", now)
    if missed:
        return Rescue(holder.retention, now, now)
    answer = conclusion.answer
    if answer is not None and answer.quarantined is not None and not answer.purge_due:
        return None  # no run can be undone any more, and each purge has asked what is in use
    return lock.rescue


def put_off(rescue: Rescue, job: str, why: str, now: datetime) -> Rescue:
    """Try it again later, as long after this as it has been waited for, within bounds."""
    wait = min(max(now - rescue.since, FIRST_RESCUE_AGAIN), LAST_RESCUE_AGAIN)
    return replace(rescue, due=now + wait, trouble=f"Job {job}: {why}"[:LONGEST_TROUBLE])


def began(holder: Holder) -> dict[str, Any]:
    """`status.lastRun` of a run that is under way."""
    return {
        "job": holder.job,
        "uid": holder.uid,
        "outcome": "Running",
        "message": "",
        "started": timestamp(holder.since),
    }


def ended(holder: Holder, conclusion: Conclusion, now: datetime, replaced: timedelta | None = None) -> dict[str, Any]:
    """`status.lastRun` of a run that ended.

    Args:
        holder: The run.
        conclusion: How it ended.
        now: The time of day.
        replaced: How long the registry had no pod that served as it became read-only.
    """
    fields = {
        **began(holder),
        "outcome": conclusion.outcome,
        "message": conclusion.message[:LONGEST_MESSAGE],
        "finished": timestamp(now),
    }
    if holder.quiet is not None and holder.quiet_since is not None:
        waited = now - holder.quiet_since
        fields["pushesWaited"] = _seconds(waited)
        if holder.quiet is Quiet.OFFLINE:
            replaced = waited
        if replaced is not None:
            fields["pullsWaited"] = _seconds(replaced)
    answer = conclusion.answer
    if answer is None:
        return fields
    reasons = [{"reason": reason, "tags": tags} for reason, tags in answer.kept.reasons.items()]
    fields |= {
        "run": answer.run,
        "undoUntil": answer.undo_until,
        "plan": answer.hash,
        "tagsKept": answer.kept.tags,
        "keptByReason": reasons,
        "tagsDeleted": answer.deleted.tags,
        "manifestsDeleted": answer.deleted.manifests,
        "blobsDeleted": answer.deleted.blobs,
        "bytesDeleted": answer.deleted.bytes,
        "bytesFreed": answer.freed.bytes,
        "victims": answer.victims,
        "victimsOmitted": answer.omitted,
        "unreadable": answer.unreadable,
        "warnings": [*answer.texts, *_previous(answer)],
    }
    return {key: value for key, value in fields.items() if value is not None}


def forgotten(status: Mapping[str, Any], running: Container[str], now: datetime) -> dict[str, Any]:
    """What changes in a status that says of a run that it is under way, and it is none of those that are."""
    end = {"message": "nobody saw how it ended: its lock was released, or its outcome was refused"}
    end["finished"] = timestamp(now)
    return {
        field: {**run, **end, "outcome": outcome}
        for field, outcome in (("lastRun", "Unknown"), ("undone", "Failed"))
        if (run := status.get(field) or {}).get("outcome") == "Running" and run.get("uid") not in running
    }


def resumed(last: Mapping[str, Any], took: timedelta) -> dict[str, Any]:
    """`status.lastRun` once the registry serves as before the run."""
    return {**last, "resumedAfter": _seconds(took)}


def _seconds(span: timedelta) -> str:
    return f"{round(span.total_seconds())}s"


def _previous(answer: Answer) -> list[str]:
    """What an earlier run had answered to nobody."""
    before = answer.previous
    if before is None:
        return []
    what = f"{before.outcome}: {before.message}".rstrip(": ")
    which = f" {before.run}" if before.run else ""
    return [f"an earlier run{which}, whose answer was lost or came too late, had ended so: {what}"]


def usage(before: Mapping[str, Any], conclusion: Conclusion, now: datetime) -> dict[str, Any] | None:
    """`status.usage` of the Registry after a run; None: it learnt nothing. `before` is the last one.

    A purge and an undo plan nothing, so what a plan found reclaimable before them stays.
    """
    answer = conclusion.answer
    if answer is None or answer.used is None:
        return None
    reclaimable = before.get("reclaimable", 0) if answer.reclaimable is None else answer.reclaimable
    return {
        "used": answer.used,
        "quarantined": answer.quarantined or 0,
        "reclaimable": reclaimable,
        "measured": timestamp(now),
    }


def not_begun(job: kube.Object, outcome: str, message: str, now: datetime) -> dict[str, Any]:
    """`status.lastRun` of a Job whose gate never opened."""
    return {
        "job": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
        "outcome": outcome,
        "message": message[:LONGEST_MESSAGE],
        "finished": timestamp(now),
    }


def ran_since(last: Mapping[str, Any], moment: datetime) -> bool:
    """Whether `status.lastRun` is about a run that took place, and ended after a moment."""
    return "started" in last and "finished" in last and datetime.fromisoformat(last["finished"]) >= moment
