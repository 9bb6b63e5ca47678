"""The kind `Registry`: one container registry, its storage, and how it is reached.

What a field can't say by its type, a CEL rule beside it says, so that the API server refuses at apply what can't work.
"""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from regkeeper.api.v1alpha1.base import Condition, Resource, Spec, Status
from regkeeper.api.v1alpha1.config_schema import RegistryConfig
from regkeeper.api.v1alpha1.fragments import (
    Affinity,
    EnvironmentVariable,
    LabelValue,
    LocalObjectReference,
    ObjectName,
    ResourceRequirements,
    Toleration,
    TopologySpreadConstraint,
)
from regkeeper.api.v1alpha1.node_trust import LaggingNode, NodeTrust
from regkeeper.api.v1alpha1.schema import (
    MERGED_AS_SET,
    MERGED_WHOLE,
    Column,
    Definition,
    Rule,
    merged_by,
    refused_unless,
)
from regkeeper.api.v1alpha1.storage import Storage


class HostPort(Spec):
    """The registry answers on a port of the nodes on which its pods run."""

    port: int = Field(5000, description="Port on the node.", ge=1, le=65535)


class NodePort(Spec):
    """The registry answers on a port of every node."""

    port: int | None = Field(
        None, description="Port on every node; default: one that the cluster chooses.", ge=1, le=65535
    )
    nodes: list[ObjectName] = Field(
        default_factory=list,
        description="Nodes that status.addresses names; default: those on which its pods run.",
        max_length=8,
        json_schema_extra=MERGED_AS_SET,
    )


class Access(Spec):
    """How the registry is reached, besides its ClusterIP Service. Several at once are fine."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            Rule(
                "!has(self.hostPort) || !has(self.nodePort) || !has(self.nodePort.port) || "
                "self.hostPort.port != self.nodePort.port",
                "hostPort and nodePort can't share a port of the node: choose another one for one of them",
            )
        )
    )

    host_port: HostPort | None = Field(None, description="A port of the nodes that spec.nodeSelector selects.")
    node_port: NodePort | None = Field(None, description="A port of every node, through a NodePort Service.")


def _never_changes(field: str) -> Rule:
    """The rule that `storage.<field>` stays as it is, absent or present."""
    now, before = f"self.storage.{field}", f"oldSelf.storage.{field}"
    return Rule(
        # Not `self.storage.?x == oldSelf.storage.?x`: the API server can't bound the cost of comparing optionals.
        f"has({now}) == has({before}) && (!has({now}) || {now} == {before})",
        f"storage.{field} can't change, nor come or go: make a new Registry and copy the images",
    )


class RegistrySpec(Spec):
    """What the registry should be."""

    # Rules about changes stand here and not at `storage`: there, removal of a field would escape them.
    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            Rule(
                "has(self.storage.size) == has(oldSelf.storage.size) && "
                "has(self.storage.ephemeral) == has(oldSelf.storage.ephemeral)",
                "storage: its kind can't change: make a new Registry and copy the images",
            ),
            *map(_never_changes, ("existingClaim", "local", "storageClassName", "accessModes")),
            Rule(
                "!has(self.storage.size) || !has(oldSelf.storage.size) || "
                "!isQuantity(self.storage.size) || !isQuantity(oldSelf.storage.size) || "
                "quantity(self.storage.size).compareTo(quantity(oldSelf.storage.size)) >= 0",
                "storage.size can't shrink: set at least the size that it had",
            ),
            Rule(
                "!has(self.replicas) || self.replicas <= 1 || has(self.storage.existingClaim) || "
                "(has(self.storage.accessModes) && 'ReadWriteMany' in self.storage.accessModes)",
                "replicas: only one pod can write to this storage: set 1, or use storage with the access mode "
                "ReadWriteMany",
            ),
        )
    )

    storage: Storage = Field(description="Where the images are kept.")
    access: Access = Field(default_factory=Access, description="How the registry is reached from outside its Service.")
    node_trust: NodeTrust = Field(
        default_factory=NodeTrust,
        description="Which nodes' container runtimes are made to trust it, as it speaks plain HTTP.",
    )
    image: str | None = Field(
        None,
        description="Image of the registry (distribution 2.8 or 3.x); default: the operator's setting.",
        max_length=1024,
        pattern=r"^\S+$",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        None, description="When the image is pulled; default: Kubernetes' own rule."
    )
    image_pull_secrets: list[LocalObjectReference] = Field(
        default_factory=list,
        description="Secrets with which the images are pulled.",
        max_length=16,
        json_schema_extra=merged_by("name"),
    )
    replicas: int | None = Field(
        None,
        description="Number of pods; default 1. More than one needs storage that several nodes can write to. "
        "Omit it to leave the number to an autoscaler.",
        ge=0,
        le=100,
    )
    read_only: bool = Field(False, description="Refuse pushes; pulls go on.")
    resources: ResourceRequirements | None = Field(None, description="Requests and limits of the registry's container.")
    node_selector: dict[str, LabelValue] = Field(
        default_factory=dict, description="Labels of the nodes on which the registry may run.", max_length=64
    )
    tolerations: list[Toleration] = Field(
        default_factory=list,
        description="Taints that the pods tolerate.",
        max_length=64,
        json_schema_extra=MERGED_WHOLE,
    )
    affinity: Affinity | None = Field(None, description="Affinity of the pods.")
    priority_class_name: ObjectName | None = Field(None, description="Priority class of the pods.")
    topology_spread_constraints: list[TopologySpreadConstraint] = Field(
        default_factory=list,
        description="How the pods spread over the cluster.",
        max_length=16,
        json_schema_extra=merged_by("topologyKey", "whenUnsatisfiable"),
    )
    pod_labels: dict[str, LabelValue] = Field(
        default_factory=dict,
        description="Further labels of the pods.",
        max_length=64,
        json_schema_extra=refused_unless(
            Rule(
                "self.all(key, !key.startsWith('regkeeper.dev/') && "
                "!(key in ['app.kubernetes.io/name', 'app.kubernetes.io/managed-by']))",
                "regkeeper.dev/*, app.kubernetes.io/name and app.kubernetes.io/managed-by are set by the operator: "
                "choose other keys",
            )
        ),
    )
    pod_annotations: dict[str, str] = Field(
        default_factory=dict,
        description="Further annotations of the pods.",
        max_length=64,
        json_schema_extra=refused_unless(
            Rule(
                "self.all(key, !key.startsWith('regkeeper.dev/'))",
                "regkeeper.dev/* is set by the operator: choose other keys",
            )
        ),
    )
    extra_env: list[EnvironmentVariable] = Field(
        default_factory=list,
        description="Further environment of the registry's container. REGISTRY_* overrides config.yml.",
        max_length=128,
        json_schema_extra=merged_by("name"),
    )
    config: RegistryConfig = Field(
        default_factory=dict,
        description="Merged over the generated config.yml: every option of distribution. Secrets belong in "
        "extraEnv with valueFrom.",
    )


class Address(Status):
    """One way to reach the registry."""

    kind: Literal["ClusterIP", "HostPort", "NodePort"] = Field(description="By which access.", alias="type")
    host: str = Field(description="host:port, the prefix of image names.")


class Usage(Status):
    """What the last run of an ImageRetention found on the volume."""

    used: int = Field(description="Bytes of all blobs, without those in the quarantine.")
    quarantined: int = Field(0, description="Bytes in the quarantine, which purges will free.")
    reclaimable: int = Field(
        0, description="Bytes that the last plan would have deleted and did not: a dry run, or awaiting approval."
    )
    measured: datetime = Field(description="When.")


class RegistryStatus(Status):
    """What the operator saw last."""

    observed_generation: int = Field(-1, description="Generation of the spec that this status is about.")
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Ready, StorageReady, NodesTrusted, and while they hold Reconciling and Stalled.",
        json_schema_extra=merged_by("type"),
    )
    addresses: list[Address] = Field(
        default_factory=list,
        description="Every address at which the registry answers.",
        json_schema_extra=MERGED_WHOLE,
    )
    image_prefix: str | None = Field(None, description="What to write before the repository in image names.")
    repositories: int | None = Field(None, description="Number of repositories at the last count.")
    tags: int | None = Field(None, description="Number of tags at the last count.")
    counts_incomplete: bool | None = Field(
        None, description="The registry was larger than the time budget of a count: the numbers are lower bounds."
    )
    usage: Usage | None = Field(None, description="What the last run of an ImageRetention found on the volume.")
    trusted_nodes: str | None = Field(None, description="How many of the selected nodes trust it, as in 2/2.")
    trusted_hosts: list[str] | None = Field(
        None, description="Hosts that the selected nodes are to trust.", json_schema_extra=MERGED_AS_SET
    )
    nodes: list[LaggingNode] | None = Field(
        None,
        description="The first few of the selected nodes that do not trust it yet, and why.",
        json_schema_extra=merged_by("name"),
    )


class Registry(Resource[RegistrySpec, RegistryStatus]):
    """A container registry in the cluster."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            Rule(
                "self.metadata.name.size() <= 52",
                "metadata.name: the names of the objects are made from it: write at most 52 characters",
            ),
            Rule(
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "metadata.name: the Service has this name: write lower-case letters, digits and dashes, "
                "beginning with a letter, ending without a dash",
            ),
        )
    )

    definition: ClassVar[Definition] = Definition(
        plural="registries",
        singular="registry",
        short_names=("regs",),
        columns=(
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status', "string", "Whether it serves."),
            Column("Address", ".status.imagePrefix", "string", "The prefix of image names."),
            Column("Nodes", ".status.trustedNodes", "string", "How many of the selected nodes trust it."),
            Column("Repositories", ".status.repositories", "integer", "Repositories at the last count."),
            Column("Tags", ".status.tags", "integer", "Tags at the last count."),
            Column("Age", ".metadata.creationTimestamp", "date", "When it was made."),
            Column("Used", ".status.usage.used", "integer", "Bytes of all blobs, as the last run saw it.", wide=True),
            Column(
                "Reason", '.status.conditions[?(@.type=="Ready")].reason', "string", "Why it serves or not.", wide=True
            ),
        ),
    )
