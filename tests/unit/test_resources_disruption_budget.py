"""The PodDisruptionBudget."""

from typing import Any

import pytest

from regkeeper.resources.disruption_budget import disruption_budget
from tests.registry_objects import SHARED, a_registry


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, False),
        ({"storage": SHARED, "replicas": 1}, False),
        ({"storage": SHARED, "replicas": 0}, False),
        ({"storage": SHARED, "replicas": 2}, True),
        ({"storage": SHARED}, True),  # an autoscaler may make it two
    ],
)
def test_budget_where_there_may_be_several_pods(spec: dict[str, Any], wanted: bool) -> None:
    assert (disruption_budget(a_registry(**spec)) is not None) == wanted


def test_budget_takes_one_pod_at_a_time() -> None:
    built = disruption_budget(a_registry(storage=SHARED, replicas=3))
    assert built is not None
    assert built["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": {"app.kubernetes.io/name": "registry", "regkeeper.dev/registry": "main"}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
