"""What a Job is for, as its annotations say; pure. One that the schedule or a user made has none: it deletes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from regkeeper import naming


class Action(StrEnum):
    """What a run does."""

    RETAIN = "retain"
    PURGE = "purge"
    RESTORE = "restore"
    RESCUE = "rescue"
    """Bring back what came into use while the run was under way."""

    @property
    def told(self) -> Literal["retain", "purge", "restore"]:
        """What the run is told to do."""
        match self:
            case Action.RETAIN:
                return "retain"
            case Action.PURGE:
                return "purge"
            case _:
                return "restore"


@dataclass(frozen=True, slots=True)
class Request:
    """What a Job is for."""

    action: Action = Action.RETAIN
    approved: str = ""
    """Hash of the approved plan."""
    undo: str = ""
    """The run to bring back."""
    forget: bool = False
    policy: str = ""
    """Digest of the policy whose change it answers."""

    @property
    def annotations(self) -> dict[str, str]:
        """How a Job says so."""
        values = {
            naming.ACTION_ANNOTATION: "" if self.action is Action.RETAIN else self.action.value,
            naming.APPROVED_ANNOTATION: self.approved,
            naming.UNDO_ANNOTATION: self.undo,
            naming.FORGET_ANNOTATION: "true" if self.forget else "",
            naming.POLICY_ANNOTATION: self.policy,
        }
        return {key: value for key, value in values.items() if value}


def read_request(job: Mapping[str, Any]) -> Request:
    """What a Job is for.

    Raises:
        ValueError: somebody else wrote its annotations.
    """
    annotations = job["metadata"].get("annotations") or {}
    return Request(
        action=Action(annotations.get(naming.ACTION_ANNOTATION) or Action.RETAIN),
        approved=annotations.get(naming.APPROVED_ANNOTATION, ""),
        undo=annotations.get(naming.UNDO_ANNOTATION, ""),
        forget=annotations.get(naming.FORGET_ANNOTATION) == "true",
        policy=annotations.get(naming.POLICY_ANNOTATION, ""),
    )


def retention_of(job: Mapping[str, Any]) -> str:
    """Name of the ImageRetention that a Job carries out; empty for a purge that no policy asked for."""
    name: str = (job["metadata"].get("labels") or {}).get(naming.RETENTION_LABEL, "")
    return name


def created(body: Mapping[str, Any]) -> datetime:
    """When an object was made."""
    return datetime.fromisoformat(body["metadata"]["creationTimestamp"])
