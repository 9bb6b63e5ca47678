"""How long pulls and pushes waited for pods, as pods and their Deployment tell."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.retention.outages import LONGEST, is_alone, replaced_within

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_deployment(*, config: str = "read-only", ready: int = 1, replicas: int = 1) -> kube.Object:
    return {
        "metadata": {"name": "main", "generation": 2},
        "spec": {
            "replicas": replicas,
            "template": {"metadata": {"annotations": {naming.CONFIG_HASH_ANNOTATION: config}}},
        },
        "status": {
            "observedGeneration": 2,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "availableReplicas": ready,
        },
    }


def a_pod(served: float | None, **metadata: Any) -> kube.Object:
    """A registry's pod that serves since `served` seconds after noon; None: it does not."""
    moment = (NOON + timedelta(seconds=served or 0)).isoformat()
    ready = {"type": "Ready", "status": "False" if served is None else "True", "lastTransitionTime": moment}
    labels = {**naming.selector_labels("main"), "pod-template-hash": "5d9"}
    owner = {"kind": "ReplicaSet", "name": "main-5d9", "controller": True, "uid": "x"}
    metadata = {"name": "main-5d9-x", "labels": labels, "ownerReferences": [owner], **metadata}
    return {"metadata": metadata, "status": {"phase": "Running", "conditions": [ready]}}


EVICTED = {**a_pod(None), "status": {"phase": "Failed", "reason": "Evicted"}}
GOES = a_pod(-90, deletionTimestamp=NOON.isoformat())
RUN = a_pod(99, ownerReferences=[{"kind": "Job", "name": "job", "controller": True, "uid": "y"}])


@pytest.mark.parametrize(
    ("deployment", "pods", "seconds"),
    [
        (a_deployment(), [a_pod(6), GOES, EVICTED, RUN], 6),
        (a_deployment(ready=2, replicas=2), [a_pod(6), a_pod(9)], 9),
        (a_deployment(), [a_pod(-3)], None),  # nothing was replaced
        (a_deployment(), [a_pod(LONGEST.total_seconds() + 1)], None),
        (a_deployment(), [a_pod(None)], None),
        (a_deployment(), [GOES, RUN], None),
        (a_deployment(config="other"), [a_pod(6)], None),
        (a_deployment(ready=0), [a_pod(6)], None),
    ],
)
def test_the_last_pod_to_serve_tells_how_long_it_took(
    deployment: kube.Object, pods: list[kube.Object], seconds: float | None
) -> None:
    took = replaced_within(deployment, pods, config="read-only", since=NOON + timedelta(milliseconds=300))
    assert took == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("replicas", "strategy", "alone"),
    [
        (1, {"type": "Recreate"}, True),
        (1, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}, True),
        (1, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, False),
        (2, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}, False),
    ],
)
def test_pulls_wait_where_a_pod_goes_before_the_only_other_one_comes(
    replicas: int, strategy: dict[str, Any], alone: bool
) -> None:
    assert is_alone({"spec": {"replicas": replicas, "strategy": strategy}}) is alone
