"""Names that other programs see: API group, labels, annotations, finalizer, field manager, object names."""

import hashlib

GROUP = "regkeeper.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

FIELD_MANAGER = "regkeeper"
MANAGED_BY = {"app.kubernetes.io/managed-by": "regkeeper"}

REGISTRY_LABEL = f"{GROUP}/registry"
"""On every object that a Registry made; its value is the Registry's name."""

REGISTRY_NAMESPACE_LABEL = f"{GROUP}/registry-namespace"
"""On cluster-scoped objects that a Registry made: its namespace."""

PAUSED_ANNOTATION = f"{GROUP}/paused"
"""On a Registry: `"true"` makes the operator leave it and its objects alone."""

CONFIG_HASH_ANNOTATION = f"{GROUP}/config-hash"
"""On the pod template: a change of config.yml rolls the Deployment."""

REPLICAS_ANNOTATION = f"{GROUP}/replicas"
"""On a Deployment that a run stopped: how many pods it had, where the spec does not say."""

QUIET_ANNOTATION = f"{GROUP}/quiet"
"""On the Deployment of a Registry that a run made read-only, or stopped: `ReadOnly` or `Offline`."""

FINALIZER = f"{GROUP}/cleanup"
"""On a Registry whose objects owner references can't clean up (a PersistentVolume)."""

RETENTION_LABEL = f"{GROUP}/retention"
"""On what carries runs out (CronJobs, Jobs, their pods), beside REGISTRY_LABEL: the ImageRetention's name. Empty on a
purge that no policy asked for."""

RUN_FINALIZER = f"{GROUP}/run"
"""On a Job whose gate is open: it stays until its outcome is in status."""

ACTION_ANNOTATION = f"{GROUP}/action"
"""On a Job that the operator made: what it is for. Without it a Job carries out its policy."""

POLICY_ANNOTATION = f"{GROUP}/policy"
"""On a Job that the operator made because a policy without a schedule changed: the policy's digest."""

APPROVED_ANNOTATION = f"{GROUP}/approved"
"""On a Job that carries out an approved plan: the plan's hash."""

PLAN_TIME_ANNOTATION = f"{GROUP}/plan-time"
"""Beside it: the time by which that plan judged ages."""

RUN_ANNOTATION = f"{GROUP}/run"
"""On a Job that undoes a run, or prints its plan: the run's name on the volume."""

FORGET_ANNOTATION = f"{GROUP}/forget"
"""Beside it: `"true"` ends what an undo keeps instead."""

SNAPSHOT_LABEL = f"{GROUP}/snapshot"
"""On the ConfigMaps that tell a run what it must know: the Registry's name."""

NUDGE_ANNOTATION = f"{GROUP}/nudge"
"""On a run's pod: its change makes kubelet bring the mounted ConfigMaps up to date at once."""

NODE_TRUST_FINALIZER = f"{GROUP}/node-trust"
"""On a Registry that nodes trust, or have not been seen to have forgotten."""

NODE_AGENT = "regkeeper-node-agent"
"""The one DaemonSet of the cluster, and the value of its pods' name label."""

NODE_AGENT_KEY = "regkeeper-node-agent-key"
"""The Secret with the key that the operator and its agents share."""

REVERT_ANNOTATION = f"{GROUP}/revert"
"""On the node agents' DaemonSet: `"true"` makes the operator take back what nodes trust, as before an uninstall."""

TRUST_ANNOTATION = f"{GROUP}/trust"
"""On an agent's pod: what its node is to trust (`regkeeper.nodes.desired`). The pod reads it as a mounted file."""

REGISTRY_HEADER = "X-Regkeeper-Registry"
"""Response header that our config.yml makes the registry send; its value is the Registry's uid."""


def selector_labels(registry: str) -> dict[str, str]:
    """Labels by which a Registry's Deployment and Service find its pods. Immutable once applied."""
    return {"app.kubernetes.io/name": "registry", REGISTRY_LABEL: registry}


def object_labels(registry: str) -> dict[str, str]:
    """Labels of every object that a Registry made."""
    return {**selector_labels(registry), **MANAGED_BY}


def node_agent_labels() -> dict[str, str]:
    """Labels by which the DaemonSet and the operator find the agents' pods. Immutable once applied."""
    return {"app.kubernetes.io/name": NODE_AGENT}


def config_map_name(registry: str, *, read_only: bool) -> str:
    """Name of the ConfigMap with a registry's config.yml, which takes pushes or refuses them as long as it is there.

    kubelet reads it when a container starts, which may be long after its pod was made: with one name for both, a pod
    that was made to refuse pushes could take them.
    """
    return f"{registry}-config-read-only" if read_only else f"{registry}-config"


def http_secret_name(registry: str, uid: str) -> str:
    """Name of the Secret with distribution's `http.secret`.

    The uid in it makes the name ours alone, so that the operator can create the Secret blindly (409: it is there)
    and needs no right to read any Secret.
    """
    return f"{registry}-http-{uid[:8]}"


def claim_name(registry: str) -> str:
    return f"{registry}-storage"


def persistent_volume_name(namespace: str, registry: str) -> str:
    """Name of the cluster-scoped PersistentVolume of a `local` Registry.

    The digest keeps `a-b/c` and `a/b-c` apart, which joined by dashes would be one name.
    """
    digest = hashlib.sha256(f"{namespace}/{registry}".encode()).hexdigest()[:10]
    return f"regkeeper-{namespace}-{registry}"[:240] + f"-{digest}"


def lock_name(claim: str) -> str:
    """Name of the Lease that a run on a claim holds."""
    return f"{claim}-retention"


def snapshot_name(registry: str, part: int) -> str:
    """Name of the ConfigMap with one part of what a run must know."""
    return f"{registry}-retention-{part}"
