"""The lock of a registry's volume: a Lease that names the Job whose run it is, and how far the run has come.

Everything that a run needs to go on after the operator died stands in here. Whether pushes are refused is derived
from it, so that they can't stay refused once it is released.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from regkeeper.naming import GROUP, MANAGED_BY, REGISTRY_LABEL, RETENTION_LABEL, lock_name

JOB = f"{GROUP}/job"
RETENTION = f"{GROUP}/retention"
ACTION = f"{GROUP}/action"
END_TIME = f"{GROUP}/end-time"
STAGE = f"{GROUP}/stage"
QUIET = f"{GROUP}/quiet"
QUIET_SINCE = f"{GROUP}/quiet-since"
ABORTED = f"{GROUP}/aborted"
OVERDUE_SINCE = f"{GROUP}/overdue-since"
NODE = f"{GROUP}/node"
PURGE_DUE = f"{GROUP}/purge-due"
UNANSWERED = f"{GROUP}/unanswered"
RESCUE_OF = f"{GROUP}/rescue-of"
RESCUE_SINCE = f"{GROUP}/rescue-since"
RESCUE_DUE = f"{GROUP}/rescue-due"
RESCUE_TROUBLE = f"{GROUP}/rescue-trouble"


class Quiet(StrEnum):
    """What a run asks of its registry while it changes the volume."""

    READ_ONLY = "ReadOnly"
    OFFLINE = "Offline"


class Stage(StrEnum):
    """How far a run has come."""

    PREPARING = "Preparing"
    """Its Job is still suspended."""
    PLANNING = "Planning"
    """Its pod was let go, to plan while the registry takes pushes."""
    SWITCHING = "Switching"
    """There is something to delete: the registry is being made quiet."""
    TELLING = "Telling"
    """It is quiet, and the run is being told that it may begin."""
    RUNNING = "Running"
    """It may change the volume."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The run that has the lock."""

    uid: str
    """Of its Job."""
    job: str
    retention: str
    """Name of its ImageRetention; empty for a purge that no policy asked for."""
    action: str
    """What it is for, as the Job's annotations say; the Job may be gone before the run has ended."""
    since: datetime
    end: datetime
    """After which it makes no change."""
    stage: Stage = Stage.PREPARING
    quiet: Quiet | None = None
    """What is asked of the registry at present."""
    quiet_since: datetime | None = None
    aborted: str = ""
    """Why the operator ended it."""
    overdue_since: datetime | None = None
    """When it was first seen that its time has passed and that nobody says that it has stopped. Of one clock like the
    time at which the lock is then released, whatever that clock had done before."""
    node: str = ""
    """Label of the node to which the run holds the volume while its registry's pods are replaced; empty: to none."""


@dataclass(frozen=True, slots=True)
class Rescue:
    """Something that went may have come into use while it went: a Job has to look, and to bring that back."""

    retention: str
    """Name of the ImageRetention whose run it was; empty if it has none any more."""
    since: datetime
    due: datetime
    """When the next Job is made for it."""
    trouble: str = ""
    """Why the last one did not do it."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What a Lease says."""

    holder: Holder | None = None
    purge_due: datetime | None = None
    """When the undo window of an earlier run ends; it is kept here as the policy may be gone by then."""
    unanswered: tuple[str, ...] = ()
    """UIDs of Jobs whose answers were lost, the oldest first: each of the next ones repeats one from the volume."""
    rescue: Rescue | None = None


def lease(lock: Lock, *, claim: str, namespace: str, registry: str) -> dict[str, Any]:
    """Build the Lease of a claim that has none.

    It has no owner: it must outlive a Registry that is deleted in the middle of a run and made again.
    """
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": lock_name(claim),
            "namespace": namespace,
            "labels": {REGISTRY_LABEL: registry, RETENTION_LABEL: "", **MANAGED_BY},
            **_annotations(lock),
        },
        "spec": _spec(lock),
    }


def change(lock: Lock) -> dict[str, Any]:
    """The merge patch that makes a live Lease say what `lock` says."""
    return {"metadata": _annotations(lock), "spec": _spec(lock)}


def _annotations(lock: Lock) -> dict[str, Any]:
    values: dict[str, str | None] = dict.fromkeys(
        (JOB, RETENTION, ACTION, END_TIME, STAGE, QUIET, QUIET_SINCE, ABORTED, OVERDUE_SINCE, NODE)
    )
    if (holder := lock.holder) is not None:
        values |= {
            JOB: holder.job,
            RETENTION: holder.retention,
            ACTION: holder.action,
            END_TIME: _text(holder.end),
            STAGE: holder.stage,
            QUIET: holder.quiet,
            QUIET_SINCE: None if holder.quiet_since is None else _text(holder.quiet_since),
            ABORTED: holder.aborted or None,
            OVERDUE_SINCE: None if holder.overdue_since is None else _text(holder.overdue_since),
            NODE: holder.node or None,
        }
    values[PURGE_DUE] = None if lock.purge_due is None else _text(lock.purge_due)
    values[UNANSWERED] = " ".join(lock.unanswered) or None
    rescue = lock.rescue
    values[RESCUE_OF] = None if rescue is None else rescue.retention
    values[RESCUE_SINCE] = None if rescue is None else _text(rescue.since)
    values[RESCUE_DUE] = None if rescue is None else _text(rescue.due)
    values[RESCUE_TROUBLE] = None if rescue is None else rescue.trouble
    return {"annotations": values}


def _spec(lock: Lock) -> dict[str, Any]:
    if lock.holder is None:
        return {"holderIdentity": None, "acquireTime": None}
    return {"holderIdentity": lock.holder.uid, "acquireTime": _micro(lock.holder.since)}


def read_lock(body: Mapping[str, Any] | None) -> Lock:
    """What a live Lease says. None, and what somebody else wrote there, is a lock that nobody holds."""
    if body is None:
        return Lock()
    try:
        return _read(body["metadata"].get("annotations") or {}, body.get("spec") or {})
    except (KeyError, ValueError):
        return Lock()


def _read(annotations: Mapping[str, str], spec: Mapping[str, Any]) -> Lock:
    due = annotations.get(PURGE_DUE)
    unanswered = tuple((annotations.get(UNANSWERED) or "").split())
    lock = Lock(None, _moment(due) if due else None, unanswered, _read_rescue(annotations))
    uid = spec.get("holderIdentity")
    if not uid:
        return lock
    since, overdue = annotations.get(QUIET_SINCE), annotations.get(OVERDUE_SINCE)
    quiet = annotations.get(QUIET)
    holder = Holder(
        uid=uid,
        job=annotations[JOB],
        retention=annotations[RETENTION],
        action=annotations[ACTION],
        since=_moment(spec["acquireTime"]),
        end=_moment(annotations[END_TIME]),
        stage=Stage(annotations[STAGE]),
        quiet=Quiet(quiet) if quiet else None,
        quiet_since=_moment(since) if since else None,
        aborted=annotations.get(ABORTED, ""),
        overdue_since=_moment(overdue) if overdue else None,
        node=annotations.get(NODE, ""),
    )
    return replace(lock, holder=holder)


def _read_rescue(annotations: Mapping[str, str]) -> Rescue | None:
    if not annotations.get(RESCUE_DUE):
        return None
    return Rescue(
        retention=annotations.get(RESCUE_OF) or "",
        since=_moment(annotations[RESCUE_SINCE]),
        due=_moment(annotations[RESCUE_DUE]),
        trouble=annotations.get(RESCUE_TROUBLE) or "",
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
