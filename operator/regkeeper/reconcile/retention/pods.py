"""What the pods around a run tell: its own, the registry's, and strangers on the volume; pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from regkeeper import kube, naming
from regkeeper.answer import Answer, AnswerError, decode
from regkeeper.reconcile.pod_life import has_ended
from regkeeper.resources.retention import PLAN_CONTAINER, RUN_CONTAINER


@dataclass(frozen=True, slots=True)
class Said:
    """How a container of a run's pod ended."""

    code: int
    reason: str
    """The runtime's or kubelet's word: Completed, Error, OOMKilled."""
    answer: Answer | None
    """None: it gave none that can be read."""


def belongs_to(pod: Mapping[str, Any], uid: str) -> bool:
    """Whether the Job with that uid made it."""
    return any(owner["kind"] == "Job" and owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences") or ())


def newest(pods: Iterable[kube.Object], uid: str) -> kube.Object | None:
    """The pod of a Job. Only an eviction before its start gives a Job of ours a second one."""
    mine = [pod for pod in pods if belongs_to(pod, uid)]
    return max(mine, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]), default=None)


def plan_said(pod: Mapping[str, Any]) -> Said | None:
    """How the planning stage ended; None while it has not."""
    return _said(pod, "initContainerStatuses", PLAN_CONTAINER)


def run_said(pod: Mapping[str, Any]) -> Said | None:
    """How the second stage ended; None while it has not."""
    return _said(pod, "containerStatuses", RUN_CONTAINER)


def _said(pod: Mapping[str, Any], statuses: str, name: str) -> Said | None:
    for status in (pod.get("status") or {}).get(statuses) or ():
        ended = (status.get("state") or {}).get("terminated")
        if status["name"] == name and ended is not None:
            try:
                answer = decode(ended.get("message") or "")
            except AnswerError:
                answer = None
            return Said(ended.get("exitCode", 1), ended.get("reason") or "", answer)
    return None


def has_begun(pod: Mapping[str, Any]) -> bool:
    """Whether a container of it was started."""
    return any(
        "running" in state or "terminated" in state for state in (each.get("state") or {} for each in _statuses(pod))
    )


def has_stopped(pod: Mapping[str, Any]) -> bool:
    """Whether it is known that no container of it runs, nor will: a phase alone may be a guess about a lost node."""
    if any("running" in (each.get("state") or {}) for each in _statuses(pod)):
        return False
    return has_ended(pod) or not (pod.get("spec") or {}).get("nodeName")


def _statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def last_to_hold(pods: Iterable[kube.Object]) -> kube.Object | None:
    """The pod by which a volume is attached to its node: one that ends holds it until another one is there."""
    holding = [pod for pod in pods if pod["spec"].get("nodeName") and not has_ended(pod)]
    return min(holding, key=lambda pod: "deletionTimestamp" in pod["metadata"], default=None)


def waiting_reason(pod: Mapping[str, Any]) -> str:
    """Why a pod does not start, in the scheduler's or kubelet's words; empty if its status does not say."""
    for each in _statuses(pod):
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
    return ""


def writers(pods: Iterable[Mapping[str, Any]], claim: str, *, may: Callable[[Mapping[str, Any]], bool]) -> list[str]:
    """Names of the pods that mount a claim for writing and may not."""
    return sorted(
        pod["metadata"]["name"]
        for pod in pods
        if not has_ended(pod) and _writes(pod.get("spec") or {}, claim) and not may(pod)
    )


def _writes(spec: Mapping[str, Any], claim: str) -> bool:
    volumes = {
        volume["name"]
        for volume in spec.get("volumes") or ()
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim
        and not volume["persistentVolumeClaim"].get("readOnly")
    }
    containers = [
        *(spec.get("containers") or ()),
        *(spec.get("initContainers") or ()),
        *(spec.get("ephemeralContainers") or ()),
    ]
    return any(
        mount["name"] in volumes and not mount.get("readOnly")
        for container in containers
        for mount in container.get("volumeMounts") or ()
    ) or any(device["name"] in volumes for container in containers for device in container.get("volumeDevices") or ())


def is_of_registry(pod: Mapping[str, Any], registry: str) -> bool:
    """Whether the Registry's Deployment made it: labels alone, anybody can write."""
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    expected = naming.selector_labels(registry)
    return expected.items() <= labels.items() and any(
        owner["kind"] == "ReplicaSet"
        and owner.get("controller")
        and owner["name"] == f"{registry}-{labels.get('pod-template-hash', '')}"
        for owner in metadata.get("ownerReferences") or ()
    )


def config_digest(pod: Mapping[str, Any]) -> str:
    """Which config.yml a registry's pod was started with."""
    digest: str = (pod["metadata"].get("annotations") or {}).get(naming.CONFIG_HASH_ANNOTATION, "")
    return digest
