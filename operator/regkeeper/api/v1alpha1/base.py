"""What the kinds have in common: camel-case models, metadata, conditions."""

from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from regkeeper.api.v1alpha1.schema import Definition


class _Model(BaseModel):
    """camelCase outside, snake_case inside. Unknown keys are passed over: a newer version may have written them."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="ignore",
        frozen=True,
        defer_build=True,
    )


class Spec(_Model):
    """Base of everything below `spec`: here unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Status(_Model):
    """Base of everything below `status`."""


class Condition(Status):
    """A Kubernetes condition (metav1.Condition)."""

    type: str = Field(description="Name of the condition.", max_length=316)
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(description="One word for programs.", min_length=1, max_length=1024)
    message: str = Field(description="What a person should know, and what to do.", max_length=32768)
    observed_generation: int | None = Field(None, description="Generation of the spec that it is about.", ge=0)
    last_transition_time: datetime = Field(description="When its status last changed.")


class Metadata(_Model):
    """The parts of ObjectMeta that regkeeper reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    annotations: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    owner_references: list[dict[str, Any]] = Field(default_factory=list)
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


S = TypeVar("S", bound=Spec)
T = TypeVar("T", bound=Status)


class Resource(_Model, Generic[S, T]):
    """A custom resource as the API server holds it."""

    definition: ClassVar[Definition]
    """Its names and columns, for the CRD."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: S
    status: T | None = None
