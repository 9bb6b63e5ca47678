"""The kind `ImageRetention`: which images of a Registry may go, and when.

The engine reads the same model from a file, with or without a cluster.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from regkeeper.api.v1alpha1.base import Spec

_DURATION = re.compile(r"([0-9]{1,6}d)?([0-9]{1,8}h)?([0-9]{1,9}m)?([0-9]{1,10}s)?")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_duration(text: str) -> int:
    """Seconds in a duration such as 30d, 24h, 1h30m or 0s.

    Raises:
        ValueError: it is none.
    """
    if not text or not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write it as in 30d, 24h or 1h30m")
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", text))


def _zero_needs_no_unit(value: Any) -> Any:
    return "0s" if value == 0 and type(value) in (int, str) else value


def _checked_duration(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[
    str,
    BeforeValidator(_zero_needs_no_unit),
    AfterValidator(_checked_duration),
    Field(
        max_length=40,
        json_schema_extra={"pattern": r"^([0-9]{1,6}d)?([0-9]{1,8}h)?([0-9]{1,9}m)?([0-9]{1,10}s)?$"},
    ),
]
"""Days, hours, minutes, seconds, in this order: 30d, 24h, 1h30m."""

Pattern = Annotated[str, Field(min_length=1, max_length=512)]
"""A glob (`*`, `?`, `[…]`, `{a,b}` stay within a path component, `**` crosses) or a regular expression in slashes."""

Reference = Annotated[str, Field(min_length=1, max_length=600)]
"""`repo:tag`, `repo@sha256:…`, `repo:tag@sha256:…` or a whole `repo`; globs in repository and tag."""


class Semver(Spec):
    """Keep by semantic version: `v` is optional, `1` and `1.2` are 1.0.0 and 1.2.0, build metadata is ignored."""

    highest: int | None = Field(
        None, description="Keep the tags of the highest N distinct versions; omitted: of all.", ge=0, le=1_000_000
    )
    constraint: str | None = Field(
        None,
        description='Which versions count, as in ">=1.0 <3" or "~1.4 || ^2". Pre-releases count only where it names '
        "one of the same version.",
        min_length=1,
        max_length=256,
    )

    @model_validator(mode="after")
    def _says_something(self) -> "Semver":
        if self.highest is None and self.constraint is None:
            raise ValueError("say `highest`, `constraint` or both")
        return self


class Keep(Spec):
    """What a rule keeps of the tags that it covers. What any of these keeps, stays."""

    last: int | None = Field(
        None,
        description="Keep the tags of the N digests that were pushed last, in each repository. 0 keeps none.",
        ge=0,
        le=1_000_000,
    )
    pushed_within: Duration | None = Field(None, description="Keep tags pushed within this time.")
    semver: Semver | None = Field(None, description="Keep tags by their semantic version.")
    matching: list[Pattern] = Field(default_factory=list, description="Keep tags of these names.", max_length=64)

    @model_validator(mode="after")
    def _says_something(self) -> "Keep":
        if self.last is None and self.pushed_within is None and self.semver is None and not self.matching:
            raise ValueError("it keeps nothing; say `keep: {last: 0}` to delete all")
        return self


class Rule(Spec):
    """Which tags are covered, and which of them stay. A covered tag that no rule keeps goes."""

    name: str = Field("", description="Name of the rule, for the reasons in the plan.", max_length=63)
    repositories: list[Pattern] | None = Field(
        None, description="Repositories that it covers; omitted: all.", min_length=1, max_length=256
    )
    tags: list[Pattern] | None = Field(
        None, description="Tags that it covers; omitted: all.", min_length=1, max_length=256
    )
    keep: Keep = Field(description="What stays of the tags that it covers.")

    @model_validator(mode="before")
    @classmethod
    def _has_keep(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("keep") is None:
            raise ValueError("a rule needs `keep`; say `keep: {last: 0}` to delete all")
        return value


class DeleteAfter(Spec):
    """An age from which something goes."""

    delete_after: Duration = Field(description="The age from which it goes.")


class Garbage(Spec):
    """Blobs and layer links that nothing needs."""

    delete_after: Duration = Field("24h", description="The age of the blob and of every link to it.")


class Dependants(Spec):
    """Signatures, attestations and other referrers, which live as long as their subject."""

    orphaned_for: Duration = Field(
        description="How long ago a dependant was pushed whose subject is nowhere on the volume, before it goes."
    )


class RetentionLimits(Spec):
    """What a plan may not exceed without an approval."""

    max_deleted_share: str = Field(
        "50%",
        description="Largest share of the covered repositories' tags, manifests or bytes that a run may delete.",
        pattern=r"^([0-9]{1,2}(\.[0-9]{1,3})?|100)%$",
        max_length=7,
    )
    allow_empty_repositories: bool = Field(False, description="Whether rules may delete a repository's last tag.")


class Protect(Spec):
    """What stays whatever the rules say."""

    in_use: bool = Field(True, description="Keep the images that pods, or what could start pods, name.")
    younger_than: Duration = Field("1h", description="Keep tags pushed within this time: CI pushes before it deploys.")


class RegistryReference(Spec):
    """A Registry in the same namespace."""

    name: str = Field(description="Name of the Registry.", min_length=1, max_length=52)


class ImageRetentionSpec(Spec):
    """Which images may go. What is omitted deletes nothing, save garbage, which goes after 24h."""

    registry_ref: RegistryReference | None = Field(
        None, description="The Registry whose images it is about. The command ignores it."
    )
    rules: list[Rule] = Field(
        default_factory=list,
        description="A tag goes only if a rule covers it and no rule keeps it.",
        max_length=256,
    )
    delete: list[Reference] = Field(
        default_factory=list, description="What goes by name, unless something keeps it.", max_length=1024
    )
    untagged: DeleteAfter | None = Field(None, description="Manifests that no tag points to; omitted: they stay.")
    garbage: Garbage = Field(default_factory=Garbage, description="Blobs and layer links that nothing needs.")
    dependants: Dependants | None = Field(
        None, description="Dependants of a subject that is nowhere on the volume; omitted: they stay."
    )
    uploads: DeleteAfter | None = Field(None, description="Uploads that nobody ended; only in mode Offline.")
    limits: RetentionLimits = Field(
        default_factory=RetentionLimits, description="What a plan may not exceed without an approval."
    )
    protect: Protect = Field(default_factory=Protect, description="What stays whatever the rules say.")
    undo_window: Duration = Field("24h", description="How long a run can be undone before its space is freed.")


class ImageRetentionDocument(Spec):
    """An ImageRetention manifest as a file holds it."""

    api_version: Literal["regkeeper.dev/v1alpha1"]
    kind: Literal["ImageRetention"]
    metadata: dict[str, Any]
    spec: ImageRetentionSpec
    status: dict[str, Any] | None = None
