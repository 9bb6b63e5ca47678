"""The kind `ImageRetention`: a policy, when and how it is carried out on a Registry, and what came of it."""

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from regkeeper.api.v1alpha1.base import Condition, Resource, Spec, Status
from regkeeper.api.v1alpha1.durations import DurationOfMinutes
from regkeeper.api.v1alpha1.fragments import Affinity, LabelValue, ObjectName, ResourceRequirements, Toleration
from regkeeper.api.v1alpha1.policy import Policy
from regkeeper.api.v1alpha1.schedule import Schedule, TimeZone
from regkeeper.api.v1alpha1.schema import MERGED_WHOLE, Column, Definition, Rule, merged_by, refused_unless

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


class ReasonCount(Status):
    """How many tags stayed for one reason."""

    reason: str = Field(description="Why, as in the plan.", max_length=256)
    tags: int = Field(description="How many.")


class Run(Status):
    """One run, from its Job's answer."""

    job: str = Field(description="Name of the Job.")
    uid: str = Field("", description="UID of the Job.")
    outcome: Literal[
        "Running", "Done", "NothingToDo", "DryRun", "AwaitingApproval", "Refused", "Failed", "Missed", "Unknown"
    ] = Field(description="What came of it.")
    message: str = Field("", description="The outcome in words, and what helps.", max_length=4096)
    started: datetime | None = Field(None, description="When its gate opened.")
    finished: datetime | None = Field(None, description="When it ended.")
    run: str | None = Field(None, description="Name of the run on the volume: what `undo` takes.")
    undo_until: datetime | None = Field(None, description="Until when it can be undone.")
    plan: str | None = Field(None, description="Hash of its plan.")
    tags_kept: int | None = Field(None, description="Tags that stayed.")
    kept_by_reason: list[ReasonCount] = Field(
        default_factory=list, description="Why they stayed.", json_schema_extra=MERGED_WHOLE
    )
    tags_deleted: int | None = Field(None, description="Tags that went, or would go in a dry run.")
    manifests_deleted: int | None = Field(None, description="Manifests that went, or would go.")
    blobs_deleted: int | None = Field(None, description="Blobs that went, or would go.")
    bytes_deleted: int | None = Field(None, description="Bytes in the quarantine, which a purge frees.")
    bytes_freed: int | None = Field(None, description="Bytes that this run purged.")
    victims: list[str] = Field(
        default_factory=list, description="The largest of what went, with bytes.", json_schema_extra=MERGED_WHOLE
    )
    victims_omitted: int | None = Field(None, description="How many more there are: the Job's log has them all.")
    unreadable: int | None = Field(None, description="What could not be read and was therefore kept.")
    warnings: list[str] = Field(
        default_factory=list, description="What a person should know.", json_schema_extra=MERGED_WHOLE
    )
    pushes_waited: str | None = Field(None, description="How long the registry took no pushes before the run's end.")
    pulls_waited: str | None = Field(
        None,
        description="How long the registry answered no pulls before the run's end: it was stopped, or has one pod, "
        "which was replaced by one that is read-only.",
    )
    resumed_after: str | None = Field(
        None,
        description="How long after the run's end the registry served as before. Pushes waited so much longer, and "
        "pulls too where it has one pod.",
    )


class Awaiting(Status):
    """A plan that waits for spec.approve."""

    hash: str = Field(description="What spec.approve takes.")
    now: datetime = Field(description="The time by which its ages were judged.")
    expires: datetime = Field(description="When it no longer can be approved.")
    limits: list[str] = Field(default_factory=list, description="What it exceeds.", json_schema_extra=MERGED_WHOLE)
    policy: str = Field("", description="Digest of the policy that made it.")
    tags: int = Field(description="Tags that would go.")
    bytes: int = Field(description="Bytes that would go.")


class Undone(Status):
    """The last undo."""

    run: str = Field(description="The run that was undone.")
    forget: bool = Field(False, description="Whether it only ended what an undo keeps.")
    uid: str = Field("", description="UID of the Job.")
    outcome: Literal["Running", "Done", "NothingToDo", "Refused", "Failed"] = Field(description="What came of it.")
    message: str = Field("", description="The outcome in words.", max_length=4096)
    finished: datetime | None = Field(None, description="When it ended.")


class ImageRetentionStatus(Status):
    """What the operator saw last."""

    observed_generation: int = Field(-1, description="Generation of the spec that this status is about.")
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Ready, AwaitingApproval, and while they hold Reconciling and Stalled.",
        json_schema_extra=merged_by("type"),
    )
    last_run: Run | None = Field(None, description="The last run that began.")
    last_successful_run: datetime | None = Field(None, description="When the last run ended that did what it should.")
    next_run: datetime | None = Field(None, description="When the schedule makes the next one.")
    awaiting: Awaiting | None = Field(None, description="A plan that waits for spec.approve.")
    policy_run: str | None = Field(
        None, description="Digest of the policy whose change was last carried out, where there is no schedule."
    )
    undone: Undone | None = Field(None, description="The last undo.")
    purge_due: datetime | None = Field(None, description="When the next of its runs is purged and its space freed.")


class ImageRetention(Resource[ImageRetentionSpec, ImageRetentionStatus]):
    """Which images of a Registry stay, and when the others go."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            Rule(
                "self.metadata.name.size() <= 52",
                "metadata.name: a CronJob has this name, and its Jobs a longer one: write at most 52 characters",
            )
        )
    )

    definition: ClassVar[Definition] = Definition(
        plural="imageretentions",
        singular="imageretention",
        short_names=("retentions", "imgret"),
        columns=(
            Column("Registry", ".spec.registryRef.name", "string", "The Registry whose images it is about."),
            Column("Schedule", ".spec.schedule", "string", "When it runs."),
            Column("Last Run", ".status.lastRun.started", "date", "When the last run began."),
            Column("Outcome", ".status.lastRun.outcome", "string", "What came of it."),
            Column("Deleted", ".status.lastRun.tagsDeleted", "integer", "Tags that went."),
            Column("Freed", ".status.lastRun.bytesFreed", "integer", "Bytes that it freed."),
            Column("Age", ".metadata.creationTimestamp", "date", "When it was made."),
            Column("Next Run", ".status.nextRun", "string", "When the schedule makes the next one.", wide=True),
            Column(
                "Reason",
                '.status.conditions[?(@.type=="Ready")].reason',
                "string",
                "Whether runs can take place.",
                wide=True,
            ),
        ),
    )


class ImageRetentionDocument(Spec):
    """An ImageRetention manifest as a file holds it."""

    api_version: Literal["regkeeper.dev/v1alpha1"]
    kind: Literal["ImageRetention"]
    metadata: dict[str, Any]
    spec: ImageRetentionSpec
    status: dict[str, Any] | None = None
