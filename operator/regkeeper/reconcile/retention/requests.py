"""What a Job is for, as its annotations say; pure. One that the schedule or a user made has none: it deletes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from regkeeper import naming
from regkeeper.reconcile.retention.scene import RunRefusedError
from regkeeper.resources.retention import STORAGE_VOLUME


class Action(StrEnum):
    """What a run does."""

    RETAIN = "retain"
    PURGE = "purge"
    RESTORE = "restore"
    RESCUE = "rescue"
    """Bring back what came into use while runs were under way."""
    SHOW = "show"
    """Print the plan of an earlier run; `regkeeper plan` makes such Jobs."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a Job is for."""

    action: Action = Action.RETAIN
    approved: str = ""
    """Hash of the approved plan."""
    run: str = ""
    """The run on the volume that is to be brought back, or whose plan is to be printed."""
    forget: bool = False
    policy: str = ""
    """Digest of the policy whose change it answers."""

    @property
    def annotations(self) -> dict[str, str]:
        """How a Job says so."""
        values = {
            naming.ACTION_ANNOTATION: "" if self.action is Action.RETAIN else self.action.value,
            naming.APPROVED_ANNOTATION: self.approved,
            naming.RUN_ANNOTATION: self.run,
            naming.FORGET_ANNOTATION: "true" if self.forget else "",
            naming.POLICY_ANNOTATION: self.policy,
        }
        return {key: value for key, value in values.items() if value}


def read_request(job: Mapping[str, Any]) -> Request:
    """What a Job is for.

    Raises:
        RunRefusedError: somebody else wrote its annotations.
    """
    annotations = job["metadata"].get("annotations") or {}
    action = annotations.get(naming.ACTION_ANNOTATION) or Action.RETAIN
    if action not in list(Action):
        raise RunRefusedError(f"its annotation {naming.ACTION_ANNOTATION} says {action}, which no run does")
    return Request(
        action=Action(action),
        approved=annotations.get(naming.APPROVED_ANNOTATION, ""),
        run=annotations.get(naming.RUN_ANNOTATION, ""),
        forget=annotations.get(naming.FORGET_ANNOTATION) == "true",
        policy=annotations.get(naming.POLICY_ANNOTATION, ""),
    )


def request_of(job: Mapping[str, Any]) -> Request:
    """The same as far as the Job says so in our words."""
    try:
        return read_request(job)
    except RunRefusedError:
        return Request()


def require_shape(job: Mapping[str, Any]) -> None:
    """Check that a Job is one pod, never a second one, that ends: two would be two runs under one lock.

    Raises:
        RunRefusedError: somebody made it otherwise.
    """
    read_request(job)
    spec = job["spec"]
    pods = (spec.get("parallelism", 1), spec.get("completions", 1), spec.get("backoffLimit"))
    if pods != (1, 1, 0) or spec.get("podReplacementPolicy") != "Failed" or "activeDeadlineSeconds" not in spec:
        raise RunRefusedError(
            "it is not as its CronJob makes them (one pod, no second one, a deadline): make it with kubectl create job "
            "--from=cronjob/NAME"
        )


def retention_of(job: Mapping[str, Any]) -> str:
    """Name of the ImageRetention that a Job carries out; empty for a purge that no policy asked for."""
    name: str = (job["metadata"].get("labels") or {}).get(naming.RETENTION_LABEL, "")
    return name


def claim_of(job: Mapping[str, Any]) -> str:
    """Name of the claim that a Job's pod mounts as the registry's volume; empty if it mounts none."""
    for volume in job["spec"]["template"]["spec"].get("volumes") or ():
        if volume["name"] == STORAGE_VOLUME:
            name: str = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
            return name
    return ""


def created(body: Mapping[str, Any]) -> datetime:
    """When an object was made."""
    return datetime.fromisoformat(body["metadata"]["creationTimestamp"])
