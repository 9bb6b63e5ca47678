"""What decisions about runs are made of, as tests write it: policies, Jobs, pods and their answers."""

from datetime import UTC, datetime, timedelta
from typing import Any

from regkeeper import kube, naming
from regkeeper.answer import Answer, Deleted, Kept, Outcome, encode
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.reconcile.retention.requests import Request
from regkeeper.resources.lease import Holder, Stage
from tests.retention_objects import retention_object

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HASH = "c" * 64
RULES = [{"name": "all", "keep": {"last": 2}}]


def a_policy(name: str = "keep-last", **spec: Any) -> ImageRetention:
    return ImageRetention.model_validate(retention_object(name, rules=RULES, **spec))


def a_job(
    name: str, *, minutes: int = 0, of: str = "keep-last", request: Request | None = None, **spec: Any
) -> kube.Object:
    created = NOON - timedelta(minutes=minutes)
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": created.isoformat(),
            "labels": {naming.RETENTION_LABEL: of},
            "annotations": {} if request is None else request.annotations,
        },
        "spec": {
            "suspend": True,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": 9,
            **spec,
        },
    }


HOLDER = Holder("uid", "job", "keep-last", "retain", NOON, NOON + timedelta(hours=1), Stage.RUNNING)


def a_pod(phase: str = "Running", *, node: str | None = "k8sworker1", **states: Any) -> kube.Object:
    """`plan` and `run` are states of containers, or answers that they ended with."""
    statuses: dict[str, list[Any]] = {"initContainerStatuses": [], "containerStatuses": []}
    for name, state in states.items():
        answered = isinstance(state, Answer) and {"exitCode": 0, "message": encode(state).decode()}
        statuses["initContainerStatuses" if name == "plan" else "containerStatuses"].append(
            {"name": name, "state": {"terminated": answered} if answered else state}
        )
    return {
        "metadata": {"name": "pod", "ownerReferences": [{"kind": "Job", "uid": "uid"}]},
        "spec": {"nodeName": node},
        "status": {"phase": phase, **statuses},
    }


SWITCH = Answer(outcome=Outcome.SWITCH)
DONE = Answer(
    outcome=Outcome.DONE,
    message="well",
    run="20260101T120000Z",
    kept=Kept(tags=5, reasons={"among the last 5": 5}),
    deleted=Deleted(tags=3, bytes=9),
)
KNOWS_NOTHING = Answer(outcome=Outcome.FAILED, message="no space left")
KILLED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
