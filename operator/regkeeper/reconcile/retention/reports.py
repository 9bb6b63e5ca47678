"""What the status of an ImageRetention says; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from regkeeper.answer import Answer
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import AWAITING_APPROVAL, READY, RECONCILING, STALLED, State, timestamp
from regkeeper.reconcile.retention.outcome import LONGEST_MESSAGE, Conclusion
from regkeeper.reconcile.retention.requests import Action, Request
from regkeeper.reconcile.retention.schedule import next_run
from regkeeper.reconcile.retention.wanted import approved_name, is_open, made_by
from regkeeper.resources.lease import Lock, Stage

States = dict[str, State]

APPROVAL_DAYS = 7
"""How long a plan may be approved."""

SUCCESSES = ("Done", "NothingToDo")
"""Outcomes of runs that carried a policy out."""

GOOD = (*SUCCESSES, "DryRun", "AwaitingApproval")
"""Outcomes of runs that did what they should."""

_OF_AN_UNDO = ("Running", "Done", "NothingToDo", "Refused", "Failed")
"""Outcomes that `status.undone` takes."""

_RESCUED = "to bring back what came into use meanwhile: "

_DOING = {
    Stage.PREPARING: "it is being told what is in use",
    Stage.PLANNING: "it plans, while the registry takes pushes",
    Stage.SWITCHING: "the registry is being made quiet",
    Stage.TELLING: "it is being told what is in use",
    Stage.RUNNING: "it deletes what its plan says",
}


def failing(reason: str, message: str, *, stalled: bool) -> States:
    """The conditions of a policy that no run can carry out at present."""
    states = {READY: conditions.false(reason, message)}
    states[STALLED if stalled else RECONCILING] = conditions.true(reason, message)
    return states


def invalid(trouble: str) -> States:
    """The policy means nothing."""
    return failing(
        "InvalidSpec", f"{trouble}. No run of this Registry takes place until this is corrected", stalled=True
    )


def no_registry(name: str) -> States:
    """There is no such Registry."""
    return failing("RegistryNotFound", f"spec.registryRef: there is no Registry {name} in this namespace", stalled=True)


def unreadable_registry(name: str, trouble: str) -> States:
    """The Registry means nothing."""
    return failing("RegistryInvalid", f"Registry {name}: {trouble}", stalled=True)


def ephemeral(name: str) -> States:
    """The Registry has no volume."""
    message = (
        f"Registry {name} keeps its images in its pod (storage.ephemeral), which no run can reach: make a Registry "
        "with storage.size, storage.existingClaim or storage.local, and push the images there"
    )
    return failing("StorageEphemeral", message, stalled=True)


@dataclass(frozen=True, slots=True)
class Subject:
    """Which Job a status tells of."""

    policy: str
    """Name of the ImageRetention whose status it is."""
    job: str
    """The Job's name."""
    request: Request
    """What it is for."""

    def carries_out(self, awaiting: Mapping[str, Any] | None) -> bool:
        """Whether it is the one that the approval of a plan asked for."""
        return awaiting is not None and self.job == approved_name(self.policy, awaiting)


def after(
    before: Mapping[str, Any], subject: Subject, run: dict[str, Any], conclusion: Conclusion | None, now: datetime
) -> dict[str, Any]:
    """Fields of the status that a run changes when it begins, and when it has ended."""
    request = subject.request
    match request.action:
        case Action.PURGE | Action.SHOW:
            return {}
        case Action.RESTORE:
            undone = {
                "run": request.run,
                "forget": request.forget or None,
                "uid": run["uid"],
                # An answer that no undo gives is forged; the status would refuse it, and say for ever that it runs.
                "outcome": run["outcome"] if run["outcome"] in _OF_AN_UNDO else "Failed",
                "message": run["message"],
                "finished": run.get("finished"),
            }
            return {"undone": {key: value for key, value in undone.items() if value is not None}}
        case Action.RESCUE:
            return _rescued(before, run)
        case Action.RETAIN:
            return _ran(before, subject, run, conclusion, now)


def finished_undo(before: Mapping[str, Any], answer: Answer, now: datetime) -> dict[str, Any]:
    """Fields of the status that a run changes which finished an undo that was stopped; none if it did not."""
    undone = before.get("undone") or {}
    if undone.get("outcome") != "Failed" or undone.get("forget") or undone["run"] not in answer.undone:
        return {}
    message = f"a later run finished it, after: {undone.get('message', '')}".removesuffix(", after: ")
    return {"undone": {**undone, "outcome": "Done", "message": message[:LONGEST_MESSAGE], "finished": timestamp(now)}}


def repeated(before: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """Fields of the status that a Job changes which repeats the lost answer of the last run; none if it does not."""
    last, lost = before.get("lastRun") or {}, answer.previous
    if lost is None or (last.get("uid"), last.get("outcome")) != (lost.job, "Unknown"):
        return {}
    run = {
        **last,
        "outcome": lost.outcome.value,
        "message": f"{lost.message} (its answer was lost, and repeated later)".lstrip()[:LONGEST_MESSAGE],
        "run": lost.run,
        "undoUntil": lost.undo_until,
        "tagsDeleted": lost.deleted.tags,
        "manifestsDeleted": lost.deleted.manifests,
        "blobsDeleted": lost.deleted.blobs,
        "bytesDeleted": lost.deleted.bytes,
        "bytesFreed": lost.freed.bytes,
    }
    fields: dict[str, Any] = {"lastRun": {key: value for key, value in run.items() if value is not None}}
    if run["outcome"] in SUCCESSES:
        fields["lastSuccessfulRun"] = last["finished"]
    return fields


def _ran(
    before: Mapping[str, Any], subject: Subject, run: dict[str, Any], conclusion: Conclusion | None, now: datetime
) -> dict[str, Any]:
    request = subject.request
    fields: dict[str, Any] = {"lastRun": run}
    if request.policy:
        # From the beginning: whoever deletes the Job in the middle does not want another one.
        fields["policyRun"] = request.policy
    if run["outcome"] == "Running":
        return fields
    if run["outcome"] in SUCCESSES:
        fields["lastSuccessfulRun"] = run["finished"]
    answer = None if conclusion is None else conclusion.answer
    if request.approved:
        fields["approved"] = request.approved
    if subject.carries_out(before.get("awaiting")):
        fields["approved"] = before["awaiting"]["hash"]
        # Else the same approval would make the same Job, which would meet the same end.
        fields["awaiting"] = None
    if answer is None:
        return fields
    if not request.approved:
        # An approved one knows nothing of a plan that was made since, and that may be approved too.
        fields["awaiting"] = None
    if run["outcome"] == "AwaitingApproval":
        fields["awaiting"] = {
            "hash": answer.hash,
            "now": answer.now,
            "expires": timestamp(now + timedelta(days=APPROVAL_DAYS)),
            "limits": answer.limits,
            "tags": answer.deleted.tags,
            "bytes": answer.deleted.bytes,
            "policy": request.policy or None,
        }
        fields["awaiting"] = {key: value for key, value in fields["awaiting"].items() if value is not None}
    if answer.quarantined is not None:
        # An answer that an error made knows nothing of the volume.
        fields["purgeDue"] = answer.purge_due
    return fields


def _rescued(before: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    last = before.get("lastRun")
    if last is None or run["outcome"] == "Running":
        return {}
    warnings = last.get("warnings", [])
    # It may have been tried before.
    others = [warning for warning in warnings if not warning.startswith(_RESCUED)]
    told = [*others, f"{_RESCUED}{run['outcome']} {run['message']}".strip()]
    return {} if told == warnings else {"lastRun": {**last, "warnings": told}}


def brought_up_to_date(fields: Mapping[str, Any], policy: ImageRetention, now: datetime) -> dict[str, Any]:
    """The fields with what the time alone changes: the next run, and an approval that can no longer be given."""
    due = next_run(policy, now)
    fields = {**fields, "nextRun": None if due is None else timestamp(due)}
    if fields.get("approved") != policy.spec.approve:
        fields["approved"] = None
    awaiting = fields.get("awaiting")
    if awaiting is not None:
        is_kept = is_open(awaiting, policy, now)
        fields["awaiting"] = {**awaiting, "policy": made_by(awaiting, policy)} if is_kept else None
    return {key: value for key, value in fields.items() if value is not None}


def seconds_until_change(policy: ImageRetention, fields: Mapping[str, Any], now: datetime) -> float | None:
    """After which the status speaks of another next run, or no more of an approval."""
    awaiting, ends = fields.get("awaiting"), None
    if awaiting is not None and is_open(awaiting, policy, now):
        ends = datetime.fromisoformat(awaiting["expires"])
    due = [moment for moment in (next_run(policy, now), ends) if moment is not None]
    return (min(due) - now).total_seconds() + 1 if due else None


def states(policy: ImageRetention, fields: Mapping[str, Any], lock: Lock, waits: str = "") -> States:
    """The conditions of a policy that can be carried out. `waits`: why a Job of it waits."""
    found: States = {}
    holder, rescue = lock.holder, lock.rescue
    last = fields.get("lastRun") or {}
    if holder is not None and holder.retention == policy.metadata.name:
        doing = "it is being ended" if holder.aborted else _DOING[holder.stage]
        found[RECONCILING] = conditions.true(holder.stage.value, f"Job {holder.job}: {doing}.")
    elif rescue is not None:
        tried = f"; {rescue.trouble}; the next one is made at {timestamp(rescue.due)}" if rescue.trouble else ""
        found[RECONCILING] = conditions.true(
            "BringingBack", f"A Job is to bring back what came into use while it was deleted{tried}."
        )
    elif waits:
        found[RECONCILING] = conditions.true("Queued", f"{waits}.")
    awaiting = fields.get("awaiting")
    if awaiting is not None:
        found[AWAITING_APPROVAL] = conditions.true(
            "LimitExceeded" if awaiting.get("limits") else "ApprovalAlways",
            f"{'; '.join(awaiting.get('limits') or ['every plan waits'])}. It would delete {awaiting['tags']} tags. If "
            f"that is meant: regkeeper approve {policy.metadata.name}, or {_how_to_approve(fields, awaiting)}",
        )
    failed = last.get("outcome") in ("Failed", "Refused", "Unknown", "Missed")
    if failed:
        found[READY] = conditions.false(f"Run{last['outcome']}", f"Job {last['job']}: {last['message']}")
    elif last.get("outcome") in GOOD:
        found[READY] = conditions.true(last["outcome"], last.get("message") or f"Job {last['job']} is done.")
    elif policy.spec.schedule is not None:
        found[READY] = conditions.true("Scheduled", f"It runs at {policy.spec.schedule}.")
    else:
        found[READY] = conditions.true("Waiting", "It runs once for each change of its rules.")
    return found


def _how_to_approve(fields: Mapping[str, Any], awaiting: Mapping[str, Any]) -> str:
    if fields.get("approved") == awaiting["hash"]:
        return "remove spec.approve, which approved an earlier plan of this hash, and then set it anew"
    return f"set spec.approve to {awaiting['hash']}"
