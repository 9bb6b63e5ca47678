"""The spec of an `ImageRetention`: a policy, and when and how it is carried out; a file may hold it too."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from regkeeper.api.v1alpha1.base import Spec
from regkeeper.api.v1alpha1.durations import DurationOfMinutes
from regkeeper.api.v1alpha1.fragments import Affinity, LabelValue, ObjectName, ResourceRequirements, Toleration
from regkeeper.api.v1alpha1.policy import Policy
from regkeeper.api.v1alpha1.schedule import Schedule, TimeZone
from regkeeper.api.v1alpha1.schema import MERGED_WHOLE, Rule, refused_unless

RunName = r"^[0-9]{8}T[0-9]{6}Z(-[0-9]{4})?$"
"""A run on the volume, as status.lastRun.run and `regkeeper runs` show it."""

Approval = Literal["Never", "WhenLimitExceeded", "Always"]
Mode = Literal["ReadOnly", "Offline"]


class RegistryReference(Spec):
    """A Registry in the same namespace."""

    name: str = Field(description="Name of the Registry.", min_length=1, max_length=52)


class JobSettings(Spec):
    """How the pods of the runs are placed, and what they may take."""

    resources: ResourceRequirements | None = Field(None, description="Requests and limits of the run's containers.")
    node_selector: dict[str, LabelValue] = Field(
        default_factory=dict,
        description="Labels of the nodes on which runs may take place, where the volume allows several.",
        max_length=64,
    )
    tolerations: list[Toleration] = Field(
        default_factory=list,
        description="Taints that the pods tolerate, besides the Registry's.",
        max_length=64,
        json_schema_extra=MERGED_WHOLE,
    )
    affinity: Affinity | None = Field(None, description="Affinity of the pods.")
    priority_class_name: ObjectName | None = Field(None, description="Priority class of the pods.")


class Undo(Spec):
    """A run to undo. A change of it makes a run of its own; what came back is kept until the rules change."""

    run: str = Field(description="The run, as status.lastRun.run names it.", max_length=21, pattern=RunName)
    forget: bool = Field(
        False, description="Bring nothing back, and end what the undo of this run keeps: later runs may delete it."
    )


class ImageRetentionSpec(Policy):
    """A policy, and when and how it is carried out. What is omitted deletes nothing, save garbage after 24h."""

    model_config = ConfigDict(
        json_schema_extra={
            # The command, which reads a policy from a file, is given the volume instead.
            "required": ["registryRef"],
            **refused_unless(
                Rule(
                    "self.registryRef == oldSelf.registryRef",
                    "registryRef can't change: what can be undone lies on its volume: make a new ImageRetention",
                ),
                Rule(
                    "!has(self.timeZone) || has(self.schedule)",
                    "timeZone: it is about the schedule: set schedule too, or remove it",
                ),
                Rule(
                    "!has(self.uploads) || self.mode == 'Offline'",
                    "uploads: they may go only while the registry is stopped: set mode to Offline, or remove them",
                ),
                Rule(
                    "!has(self.approve) || self.approval != 'Never'",
                    "approve: approval is Never, so that what was refused stays refused: remove one of them",
                ),
            ),
        }
    )

    registry_ref: RegistryReference | None = Field(
        None, description="The Registry whose images it is about. The command ignores it."
    )
    schedule: Schedule | None = Field(
        None, description="When it runs, in cron's syntax; omitted: once for each change of this policy."
    )
    time_zone: TimeZone | None = Field(None, description="Time zone of the schedule; default: the cluster's.")
    suspend: bool = Field(False, description="Make no more runs by the schedule. A run can be started by hand.")
    dry_run: bool = Field(False, description="Plan and report; change nothing.")
    mode: Mode = Field(
        "ReadOnly",
        description="What the registry does while a run deletes: it refuses pushes, or it is stopped.",
    )
    approval: Approval = Field(
        "WhenLimitExceeded",
        description="Which plans wait for spec.approve. Never: what exceeds a limit stays refused.",
    )
    approve: str | None = Field(
        None,
        description="Hash of the plan that may be carried out, as status.awaiting.hash shows it.",
        max_length=64,
        pattern="^[0-9a-f]{64}$",
    )
    undo: Undo | None = Field(None, description="A run to undo.")
    history: int = Field(
        3, description="How many ended Jobs, done and failed each, stay with their logs.", ge=1, le=100
    )
    starting_deadline: DurationOfMinutes | None = Field(
        None, description="How late a run may begin; later it is missed. Omitted: however late."
    )
    start_timeout: DurationOfMinutes = Field(
        "2m", description="How long the pod of a run may take to start before the run fails and pushes go on."
    )
    active_deadline: DurationOfMinutes = Field(
        "1h", description="How long a run may take. Afterwards it changes nothing more."
    )
    job: JobSettings = Field(default_factory=JobSettings, description="Placement and resources of the runs' pods.")


class ImageRetentionDocument(Spec):
    """An ImageRetention manifest as a file holds it."""

    api_version: Literal["regkeeper.dev/v1alpha1"]
    kind: Literal["ImageRetention"]
    metadata: dict[str, Any]
    spec: ImageRetentionSpec
    status: dict[str, Any] | None = None
