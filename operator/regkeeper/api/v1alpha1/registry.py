"""The kind `Registry`: one container registry, its storage, and how it is reached."""

from typing import Annotated, Any, Literal

from pydantic import Field

from regkeeper.api.v1alpha1.base import Condition, Resource, Spec

KubernetesObject = dict[str, Any]
"""A fragment that Kubernetes itself validates (a toleration, an affinity); its schema is the API server's."""

AccessMode = Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]


class LocalStorage(Spec):
    """A directory on one node."""

    node: str = Field(description="Name of the node that has the directory.", min_length=1, max_length=253)
    path: str = Field(
        description="Absolute path of the directory that is mounted as /var/lib/registry. "
        "The chart's value `localStorage` must allow it.",
        min_length=2,
        max_length=1024,
    )


class EphemeralStorage(Spec):
    """Storage that ends with the pod, for trials."""

    size_limit: str | None = Field(None, description="Upper bound, as in 10Gi; the pod is evicted beyond it.")


class Storage(Spec):
    """Where the images are kept. Exactly one of size, existingClaim, local and ephemeral."""

    size: str | None = Field(None, description="Size of the claim to make, as in 50Gi. May grow, never shrink.")
    storage_class_name: str | None = Field(None, description="Class of the claim; default: the cluster's.")
    access_modes: list[AccessMode] | None = Field(
        None, description="Access modes of the claim; default: ReadWriteOnce.", min_length=1, max_length=3
    )
    existing_claim: str | None = Field(
        None, description="Name of a PersistentVolumeClaim in this namespace. It is used and never changed."
    )
    local: LocalStorage | None = Field(
        None,
        description="A directory on one node: takes over a registry that was made by hand with "
        "`-v <path>:/var/lib/registry`. Its directory is never deleted.",
    )
    ephemeral: EphemeralStorage | None = Field(None, description="An emptyDir: images end with the pod.")
    deletion_policy: Literal["Retain", "Delete"] = Field(
        "Retain",
        description="What becomes of the claim when the Registry is deleted. Retain keeps it, and a Registry of "
        "the same name adopts it again.",
    )


class HostPort(Spec):
    """The registry answers on a port of the nodes on which its pods run."""

    port: int = Field(5000, description="Port on the node.", ge=1, le=65535)


class NodePort(Spec):
    """The registry answers on a port of every node."""

    port: int | None = Field(
        None, description="Port on every node; default: one that the cluster chooses.", ge=1, le=65535
    )
    nodes: Annotated[list[str], Field(max_length=8)] = Field(
        default_factory=list, description="Nodes that status.addresses names; default: none by name."
    )


class Access(Spec):
    """How the registry is reached, besides its ClusterIP Service. Several at once are fine."""

    host_port: HostPort | None = Field(None, description="A port of the nodes that spec.nodeSelector selects.")
    node_port: NodePort | None = Field(None, description="A port of every node, through a NodePort Service.")


class RegistrySpec(Spec):
    """What the registry should be."""

    storage: Storage = Field(description="Where the images are kept.")
    access: Access = Field(default_factory=Access, description="How the registry is reached from outside its Service.")
    image: str | None = Field(
        None, description="Image of the registry (distribution 2.8 or 3.x); default: the operator's setting."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        None, description="When the image is pulled; default: Kubernetes' own rule."
    )
    image_pull_secrets: list[KubernetesObject] = Field(
        default_factory=list, description="Secrets with which the image is pulled.", max_length=16
    )
    replicas: int | None = Field(
        None,
        description="Number of pods; default 1. More than one needs storage that several nodes can write to. "
        "Omit it to leave the number to an autoscaler.",
        ge=0,
        le=100,
    )
    read_only: bool = Field(False, description="Refuse pushes; pulls go on.")
    resources: KubernetesObject | None = Field(None, description="Requests and limits of the registry's container.")
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels of the nodes on which the registry may run."
    )
    tolerations: list[KubernetesObject] = Field(
        default_factory=list, description="Taints that the pods tolerate.", max_length=64
    )
    affinity: KubernetesObject | None = Field(None, description="Affinity of the pods.")
    priority_class_name: str | None = Field(None, description="Priority class of the pods.")
    topology_spread_constraints: list[KubernetesObject] = Field(
        default_factory=list, description="How the pods spread over the cluster.", max_length=16
    )
    pod_labels: dict[str, str] = Field(default_factory=dict, description="Further labels of the pods.")
    pod_annotations: dict[str, str] = Field(default_factory=dict, description="Further annotations of the pods.")
    extra_env: list[KubernetesObject] = Field(
        default_factory=list,
        description="Further environment of the registry's container. REGISTRY_* overrides config.yml.",
        max_length=128,
    )
    config: KubernetesObject = Field(
        default_factory=dict,
        description="Merged over the generated config.yml: every option of distribution. Secrets belong in "
        "extraEnv with valueFrom.",
    )


class Address(Spec):
    """One way to reach the registry."""

    kind: Literal["ClusterIP", "HostPort", "NodePort"] = Field(description="By which access.", alias="type")
    host: str = Field(description="host:port, the prefix of image names.")


class RegistryStatus(Spec):
    """What the operator saw last."""

    observed_generation: int = Field(-1, description="Generation of the spec that this status is about.")
    conditions: list[Condition] = Field(default_factory=list, description="Ready, StorageReady, Reconciling, Stalled.")
    addresses: list[Address] = Field(default_factory=list, description="Every address at which the registry answers.")
    image_prefix: str | None = Field(None, description="What to write before the repository in image names.")
    repositories: int | None = Field(None, description="Number of repositories at the last count.")
    tags: int | None = Field(None, description="Number of tags at the last count.")
    counts_incomplete: bool | None = Field(
        None, description="The registry was larger than the time budget of a count: the numbers are lower bounds."
    )


class Registry(Resource[RegistrySpec, RegistryStatus]):
    """A container registry in the cluster."""
