"""The operator's settings: environment variables `REGKEEPER_*`, set from the chart's values. No I/O here."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, SettingsConfigDict


class LocalStorageRule(BaseModel):
    """One entry of the chart's value `localStorage`: who may use which directory of which nodes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespaces: tuple[str, ...] = Field(min_length=1)
    nodes: tuple[str, ...] = Field(min_length=1)
    path: str = Field(pattern=r"^/[^\x00]+$", description="One exact directory that root alone can replace.")


class FurtherKind(BaseModel):
    """One entry of the chart's value `inUse.furtherKinds`: a kind of others whose objects use images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: str = Field(min_length=1)
    version: str = Field(min_length=1)
    resource: str = Field(min_length=1, description="Plural name, as in rollouts.")
    path: str = Field(
        pattern=r"^[A-Za-z0-9_-]+(\[\])?(\.[A-Za-z0-9_-]+(\[\])?)*$",
        description="Where in an object the spec of a pod is, or a reference, as in spec.steps[].image.",
    )


class InUseSettings(BaseModel):
    """The chart's value `inUse`: what uses images, besides what Kubernetes has."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True)

    further_kinds: tuple[FurtherKind, ...] = ()


class TrustSettings(BaseModel):
    """The chart's value `trust`: who may change what nodes trust."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True)

    namespaces: tuple[str, ...] = ("default",)
    """Whose Registries may change nodes. Empty: none."""
    hosts: tuple[str, ...] = ()
    """Hosts that `spec.nodeTrust.hosts` may name, besides the addresses at which a Registry itself answers."""
    apply_pending_edits: bool = False
    """Whether a reload of dockerd may also apply edits of daemon.json that the administrator has not loaded yet."""
    agents_namespace: str = "regkeeper-nodes"
    """Where the agents run; its Pod Security level must be `privileged`."""
    image_pull_secrets: tuple[dict[str, str], ...] = ()
    """Secrets there with which their image is pulled, each as `{"name": …}`."""
    local_registry_hosting: str = Field("", pattern=r"^([^/]+/[^/]+)?$")
    """`namespace/name` of the Registry that `kube-public/local-registry-hosting` names (KEP-1755). Empty: none."""


class Settings(BaseSettings):
    """Everything that an installation may choose."""

    model_config = SettingsConfigDict(env_prefix="REGKEEPER_", frozen=True)

    watch_namespaces: tuple[str, ...] = ()
    """Namespaces whose Registries are kept; empty: all. JSON in the environment."""
    registry_image: str = "docker.io/library/registry:3.1.1"
    """Image of a Registry that names none."""
    image: str = "regkeeper:dev"
    """The operator's own image: the pods of runs, the node agents and the containers that test a volume have it too."""
    local_storage: tuple[LocalStorageRule, ...] = ()
    """Directories of nodes that `storage.local` may use. JSON in the environment. Empty: none."""
    in_use: InUseSettings = InUseSettings()
    """JSON in the environment."""
    trust: TrustSettings = TrustSettings()
    """JSON in the environment."""
    resync_seconds: float = Field(300, ge=1)
    """Seconds between two listings that check the watches; also the longest pause between two looks at the counts and
    addresses of a Registry that is ready."""
    concurrency: int = Field(8, ge=1, le=64)
    """How many Registries are worked on at once."""
    probe_port: int = Field(8080, ge=1, le=65535)
    """Port of the liveness and readiness probes."""
    metrics_port: int = Field(8081, ge=1, le=65535)
    """Port of the prometheus metrics."""
    log_format: Literal["json", "text"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
