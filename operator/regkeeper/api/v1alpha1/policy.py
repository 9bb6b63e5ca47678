"""The policy of an ImageRetention: which images may go, which stay, and what a plan may not exceed.

The engine reads it from a file too, with or without a cluster. What the API server can refuse at apply, a CEL rule
says; the rest (a constraint that means nothing, a glob with an open brace) the engine refuses, and the operator shows.
"""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from regkeeper.api.v1alpha1 import schema
from regkeeper.api.v1alpha1.base import Spec
from regkeeper.api.v1alpha1.durations import Duration
from regkeeper.api.v1alpha1.fragments import ObjectName
from regkeeper.api.v1alpha1.schema import MERGED_AS_SET, MERGED_WHOLE, keeping_nulls, merged_by, refused_unless

Pattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        json_schema_extra=refused_unless(
            schema.Rule(
                # An expression that is none makes `matches` fail, and that refuses the object.
                "self.size() < 2 || !self.startsWith('/') || !self.endsWith('/') || "
                "[''.matches(self.substring(1, self.size() - 1))].size() == 1",
                "between slashes stands a regular expression in RE2's syntax: correct it, or remove the slashes",
            )
        ),
    ),
]
"""A glob (`*`, `?`, `[…]`, `{a,b}` stay within a path component, `**` crosses) or a regular expression in slashes."""

_REFERENCE = (
    r"^[a-z0-9_./*?\\[\\]{},!^-]+(:[A-Za-z0-9_.*?\\[\\]{},!^-]+)?(@(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?$"
)

Reference = Annotated[
    str,
    Field(
        min_length=1,
        max_length=600,
        json_schema_extra=refused_unless(
            schema.Rule(
                # The second pattern finds a component that is empty, `.` or `..`.
                f"self.matches('{_REFERENCE}') && !self.matches('(^|/)[.]{{0,2}}(/|:|@|$)')",
                "not a reference: write repository:tag, repository@sha256:…, repository:tag@sha256:… or a whole "
                "repository, without the address of the registry",
            )
        ),
    ),
]
"""`repo:tag`, `repo@sha256:…`, `repo:tag@sha256:…` or a whole `repo`; globs in repository and tag."""

_SAY_SOMETHING_OF_VERSIONS = "say `highest`, `constraint` or both"
_KEEPS_NOTHING = "it keeps nothing; say `keep: {last: 0}` to delete all"


class _WithValues(Spec):
    """A field whose value was forgotten, or came from an unset variable, is not left out, which would mean all."""

    @model_validator(mode="before")
    @classmethod
    def _have_values(cls, given: Any) -> Any:
        for name, value in given.items() if isinstance(given, dict) else ():
            if value is None:
                raise ValueError(f"`{name}` has no value: give it one, or leave it out")
        return given


class Semver(_WithValues):
    """Keep by semantic version: `v` is optional, `1` and `1.2` are 1.0.0 and 1.2.0, build metadata is ignored."""

    model_config = ConfigDict(
        json_schema_extra=keeping_nulls(
            schema.Rule("has(self.highest) || has(self.constraint)", f"semver: {_SAY_SOMETHING_OF_VERSIONS}")
        )
    )

    highest: int | None = Field(
        None,
        description="Keep the tags of the highest N distinct versions; omitted: of all.",
        ge=0,
        le=1_000_000,
        strict=True,
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
            raise ValueError(_SAY_SOMETHING_OF_VERSIONS)
        return self


class Keep(_WithValues):
    """What a rule keeps of the tags that it covers. What any of these keeps, stays."""

    model_config = ConfigDict(
        json_schema_extra=keeping_nulls(
            schema.Rule(
                "has(self.last) || has(self.pushedWithin) || has(self.semver) || self.?matching.orValue([]).size() > 0",
                f"keep: {_KEEPS_NOTHING}",
            )
        )
    )

    last: int | None = Field(
        None,
        description="Keep the tags of the N digests that were pushed last, in each repository. 0 keeps none.",
        ge=0,
        le=1_000_000,
        strict=True,  # `last: no` is false in YAML, and would be 0
    )
    pushed_within: Duration | None = Field(None, description="Keep tags pushed within this time.")
    semver: Semver | None = Field(None, description="Keep tags by their semantic version.")
    matching: list[Pattern] = Field(
        default_factory=list,
        description="Keep tags of these names.",
        max_length=64,
        json_schema_extra=MERGED_WHOLE,
    )

    @model_validator(mode="after")
    def _says_something(self) -> "Keep":
        if self.last is None and self.pushed_within is None and self.semver is None and not self.matching:
            raise ValueError(_KEEPS_NOTHING)
        return self


class Rule(_WithValues):
    """Which tags are covered, and which of them stay. A covered tag that no rule keeps goes."""

    model_config = ConfigDict(json_schema_extra=keeping_nulls())

    name: str = Field("", description="Name of the rule, for the reasons in the plan.", max_length=63)
    repositories: list[Pattern] | None = Field(
        None,
        description="Repositories that it covers; omitted: all.",
        min_length=1,
        max_length=64,
        json_schema_extra=MERGED_WHOLE,
    )
    tags: list[Pattern] | None = Field(
        None,
        description="Tags that it covers; omitted: all.",
        min_length=1,
        max_length=64,
        json_schema_extra=MERGED_WHOLE,
    )
    keep: Keep = Field(description="What stays of the tags that it covers; `{last: 0}` deletes all.")

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


class UsedElsewhere(Spec):
    """A ConfigMap that lists images in use that this cluster can't see."""

    name: ObjectName = Field(
        description="Name of a ConfigMap in this namespace. Each of its keys is a list: a reference a line, then the "
        "user in words; the last line is `# N`, the number of lines before it."
    )


Host = Annotated[str, Field(min_length=1, max_length=260, pattern=r"^[A-Za-z0-9.:\[\]_-]+$")]
"""`host` or `host:port`, as it stands in image names."""


class Protect(Spec):
    """What stays whatever the rules say."""

    in_use: bool = Field(True, description="Keep the images that pods, or what could start pods, name.")
    younger_than: Duration = Field("1h", description="Keep tags pushed within this time: CI pushes before it deploys.")
    hosts: list[Host] = Field(
        default_factory=list,
        description="Further names of this registry, as a mirror or proxy has them: only references to these and to "
        "its own addresses count as in use, on its NodePort under any host; omitted: all do, whatever registry they "
        "name.",
        max_length=64,
        json_schema_extra=MERGED_AS_SET,
    )
    references: list[UsedElsewhere] = Field(
        default_factory=list,
        description="Images in use elsewhere, as in other clusters.",
        max_length=16,
        json_schema_extra=merged_by("name"),
    )


class Policy(Spec):
    """Which images may go. What is omitted deletes nothing, save garbage, which goes after 24h."""

    rules: list[Rule] = Field(
        default_factory=list,
        description="A tag goes only if a rule covers it and no rule keeps it.",
        max_length=64,
        json_schema_extra=MERGED_WHOLE,
    )
    delete: list[Reference] = Field(
        default_factory=list,
        description="What goes by name, unless something keeps it.",
        max_length=1024,
        json_schema_extra=MERGED_WHOLE,
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
