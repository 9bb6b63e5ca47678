"""The objects that serve a Registry's images, together."""

from typing import Any

import pytest

from regkeeper.resources.bundle import desired_objects
from regkeeper.settings import Settings
from tests.registry_objects import LOCAL, SHARED, a_registry


def kinds(**spec: Any) -> list[str]:
    return [built["kind"] for built in desired_objects(a_registry(**spec), Settings(), read_only=False)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ["ConfigMap", "Service", "Deployment"]),
        ({"storage": SHARED, "replicas": 2}, ["ConfigMap", "Service", "PodDisruptionBudget", "Deployment"]),
    ],
)
def test_what_an_object_needs_comes_before_it(spec: dict[str, Any], expected: list[str]) -> None:
    assert kinds(**spec) == expected


def test_the_same_arguments_give_the_same_objects() -> None:
    first, again = (desired_objects(a_registry(storage=LOCAL), Settings(), read_only=False) for _ in range(2))
    assert first == again
