"""Why the pods of a Registry do not serve: pure, from the Deployment, its pods and their Events, to one sentence."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regkeeper.reconcile import conditions
from regkeeper.reconcile.pod_life import has_ended
from regkeeper.resources.pod import CHECK_CONTAINER

_WAITING_FOR_NOTHING = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons of a container that merely has not started yet."""

_SETTLED_REASONS = {
    "ErrImagePull": "ImagePullBackOff",
    "Error": "CrashLoopBackOff",
    "FailedScheduling": "Unschedulable",
}
"""Kubernetes goes back and forth between two names of one trouble; a condition that did so would never rest."""

_GOING_ON = ("Pulling", "Pulled", "Created", "Started")
"""Reasons of Events with which kubelet tells that volumes and network are there: what failed before is over."""

_TELLING_EVENTS = (
    *_GOING_ON,
    "FailedScheduling",
    "FailedAttachVolume",
    "FailedMount",
    "FailedCreatePodSandBox",
    "NetworkNotReady",
    "FailedBinding",
    "ProvisioningFailed",
    "VolumeResizeFailed",
    "ExternalExpanding",
    "FailedCreate",
)
"""Reasons of Events that say what nothing in the status of a pod, a claim or a Job says, before a pod runs."""

_TELLING_OF_RUNNING = ("Unhealthy", "NodeNotReady")
"""The same of a pod that runs and is not ready."""
_TELLING_OF_ENDING = ("NodeNotReady",)
"""The same of one that is to end: nobody is there to end it."""

_OF_STORAGE = frozenset(
    {
        "FailedAttachVolume",
        "FailedMount",
        "FailedBinding",
        "ProvisioningFailed",
        "VolumeResizeFailed",
        "ExternalExpanding",
    }
)

_FAILURES_OF_A_START = 5
"""The start-up probe asks each second from the beginning: a registry that starts well fails it once or twice."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong."""

    reason: str
    message: str
    storage: bool = False
    """Whether it is the storage that fails, and not what runs on it."""


def diagnose(
    deployment: Mapping[str, Any] | None, pods: Sequence[Mapping[str, Any]], events: Iterable[Mapping[str, Any]]
) -> Problem | None:
    """The most telling problem, of the newest pod first; None if nothing is wrong but time.

    What has ended, as by an eviction, says nothing of the pods in its place. `events` are those about the pods, newest
    last.
    """
    living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    current = [pod for pod in living if not has_ended(pod)] or living
    newest_first = sorted(current, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
    events = list(events)
    for pod in newest_first:
        problem = _of_pod(pod, events)
        if problem is not None:
            return problem
    problem = _of_deployment(deployment) if deployment is not None else None
    if problem is not None or living:
        return problem
    return next((lost for pod in pods if (lost := _from_events(pod, events, _TELLING_OF_ENDING)) is not None), None)


def worth_asking_about(pods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Pods whose Events may tell more: not ready, and not ended where others are in their place."""
    current = [pod for pod in pods if not has_ended(pod)] or pods
    return [pod for pod in current if not is_ready(pod)]


def secret_is_missing(pods: Iterable[Mapping[str, Any]], secret: str) -> bool:
    """Whether a pod can't start because the Secret of that name is not there."""
    return any(
        waiting.get("reason") == "CreateContainerConfigError" and f'"{secret}"' in waiting.get("message", "")
        for pod in pods
        for container in pod["status"].get("containerStatuses") or ()
        if (waiting := (container.get("state") or {}).get("waiting"))
    )


def event_problem(
    events: Iterable[Mapping[str, Any]], about: str, reasons: Container[str] = _TELLING_EVENTS
) -> Problem | None:
    """What the latest Event of `events` with one of the `reasons` says; `about` names the object for people.

    Of those of one second the last counts: the API server lists an object's Events in the order in which they began.
    Kubelet tries a volume again after half a second; and that a pod gets no network it may say only once, as long as
    its runtime can't take down what it could not set up.
    """
    telling = [event for event in events if event.get("reason") in reasons and not _belongs_to_a_start(event)]
    latest = max(reversed(telling), key=_event_second, default=None)
    if latest is None or latest["reason"] in _GOING_ON:
        return None
    return Problem(
        _SETTLED_REASONS.get(latest["reason"], latest["reason"]),
        f"{about}: {latest.get('message', '').strip()}",
        storage=latest["reason"] in _OF_STORAGE,
    )


def _of_pod(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Problem | None:
    status = pod["status"]
    name = f"pod {pod['metadata']['name']}"
    for container in status.get("initContainerStatuses") or ():
        problem = _of_container(name, container)
        if problem is not None:
            return problem
    for container in status.get("containerStatuses") or ():
        problem = _of_container(name, container)
        if problem is not None:
            return problem
    if status.get("phase") == "Failed":
        return Problem(status.get("reason") or "PodFailed", f"{name}: {status.get('message') or 'failed'}")
    scheduled = conditions.find(status.get("conditions") or (), "PodScheduled")
    if scheduled is not None and scheduled["status"] == "False":
        return Problem(scheduled.get("reason") or "Unschedulable", f"{name}: {scheduled.get('message', '')}")
    if is_ready(pod):
        return None
    problem = _from_events(pod, events, _TELLING_OF_RUNNING if status.get("phase") == "Running" else _TELLING_EVENTS)
    ready = conditions.find(status.get("conditions") or (), "Ready")
    if problem is None and ready is not None and ready["status"] == "Unknown":
        return Problem("NodeLost", f"{_with_node(pod)}: {ready.get('message') or 'its node does not answer'}")
    return problem


def _from_events(
    pod: Mapping[str, Any], events: Iterable[Mapping[str, Any]], reasons: Container[str]
) -> Problem | None:
    uid = pod["metadata"]["uid"]
    over = "FailedScheduling" if pod["spec"].get("nodeName") else None
    mine = [each for each in events if each["involvedObject"].get("uid") == uid and each.get("reason") != over]
    return event_problem(mine, _with_node(pod), reasons)


def _with_node(pod: Mapping[str, Any]) -> str:
    node = pod["spec"].get("nodeName")
    return f"pod {pod['metadata']['name']}" + (f" on node {node}" if node else "")


def _belongs_to_a_start(event: Mapping[str, Any]) -> bool:
    count = (event.get("series") or {}).get("count") or event.get("count") or 1
    return str(event.get("message", "")).startswith("Startup probe") and count < _FAILURES_OF_A_START


def _of_container(pod: str, container: Mapping[str, Any]) -> Problem | None:
    state = container.get("state") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    failed = bool(ended.get("exitCode"))
    if container["name"] == CHECK_CONTAINER and failed and not container.get("ready"):
        text = ended.get("message") or f"exit code {ended['exitCode']}"
        return Problem("VolumeNotWritable", text.strip(), storage=True)
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason")
    if reason and reason not in _WAITING_FOR_NOTHING:
        text = waiting.get("message") or reason
        if failed:
            text += f"; it ended with {_ending(ended)}"
        return Problem(_SETTLED_REASONS.get(reason, reason), f"{pod}, container {container['name']}: {text}")
    if state.get("terminated") and failed:
        reason = ended.get("reason") or "Error"
        return Problem(
            _SETTLED_REASONS.get(reason, reason),
            f"{pod}, container {container['name']}: it ended with {_ending(ended)}",
        )
    return None


def _ending(ended: Mapping[str, Any]) -> str:
    text = f"exit code {ended['exitCode']}"
    if ended.get("reason") not in (None, "Error"):
        text += f" ({ended['reason']})"
    if ended.get("message"):
        text += f": {ended['message'].strip()[-1000:]}"
    return text


def _of_deployment(deployment: Mapping[str, Any]) -> Problem | None:
    listed = (deployment.get("status") or {}).get("conditions") or ()
    refused = conditions.find(listed, "ReplicaFailure")
    if refused is not None and refused["status"] == "True":
        message = str(refused.get("message", ""))
        if "violates PodSecurity" in message:
            return Problem("PodSecurity", _pod_security(deployment, message))
        if "exceeded quota" in message:
            return Problem("QuotaExceeded", message)
        return Problem("PodsRefused", message)
    progress = conditions.find(listed, "Progressing")
    if progress is not None and progress["status"] == "False":
        return Problem(progress.get("reason") or "NotProgressing", str(progress.get("message", "")))
    return None


def _pod_security(deployment: Mapping[str, Any], message: str) -> str:
    namespace = deployment["metadata"]["namespace"]
    return (
        f"namespace {namespace} enforces a Pod Security Standard that refuses the pods: {message}. "
        f"Allow it with `kubectl label --overwrite namespace {namespace} "
        "pod-security.kubernetes.io/enforce=privileged`, or do without spec.access.hostPort: "
        "spec.access.nodePort works under `restricted`"
    )


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod serves, as Kubernetes sees it."""
    ready = conditions.find(pod["status"].get("conditions") or (), "Ready")
    return ready is not None and ready["status"] == "True"


def _event_second(event: Mapping[str, Any]) -> str:
    """When it was last seen. Some who post Events tell fractions of a second and some don't: none are compared."""
    series = event.get("series") or {}
    seen = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""
    return str(seen)[: len("2026-01-01T00:00:00")]
