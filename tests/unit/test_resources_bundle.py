"""The objects that serve a Registry's images, together."""

from typing import Any

import pytest

from regkeeper.resources.bundle import desired_objects
from regkeeper.settings import Settings
from tests.registry_objects import LOCAL, SHARED, a_registry, mounted_config_maps

CONFIGS = ["ConfigMap", "ConfigMap"]


def kinds(**spec: Any) -> list[str]:
    return [built["kind"] for built in desired_objects(a_registry(**spec), Settings(), read_only=False)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, [*CONFIGS, "Service", "Deployment"]),
        ({"storage": SHARED, "replicas": 2}, [*CONFIGS, "Service", "PodDisruptionBudget", "Deployment"]),
    ],
)
def test_what_an_object_needs_comes_before_it(spec: dict[str, Any], expected: list[str]) -> None:
    assert kinds(**spec) == expected


def test_no_pod_that_is_to_refuse_pushes_finds_what_takes_them_however_late_it_starts() -> None:
    """Runs delete beside it. kubelet reads a ConfigMap when a container starts, and once more when it starts again."""
    objects = [desired_objects(a_registry(), Settings(), read_only=read_only) for read_only in (False, True)]
    taking, refusing = (mounted_config_maps(built[-1]) for built in objects)
    assert set(taking).isdisjoint(refusing)


def test_the_same_arguments_give_the_same_objects() -> None:
    first, again = (desired_objects(a_registry(storage=LOCAL), Settings(), read_only=False) for _ in range(2))
    assert first == again
