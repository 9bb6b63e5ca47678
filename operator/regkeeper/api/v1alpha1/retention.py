"""The kind `ImageRetention`: what its spec asks for (retention_spec.py), and what came of it."""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from regkeeper.api.v1alpha1.base import Condition, Resource, Status
from regkeeper.api.v1alpha1.retention_spec import ImageRetentionSpec
from regkeeper.api.v1alpha1.schema import MERGED_WHOLE, Column, Definition, Rule, merged_by, refused_unless


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
    approved: str | None = Field(
        None,
        description="What spec.approve has approved already: a later plan of this hash waits until it is set anew.",
    )
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
