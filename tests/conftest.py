"""Fixtures of all tests: `control_plane` and `two_nodes`, the real clusters."""

import os

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import engine

pytest_plugins = ["tests.cluster.fixtures"]

# The same random cases on every machine: what fails in CI fails for everybody. Benchmarks try others each time.
# How long one takes says how busy the machine is, and nothing else.
settings.register_profile("reproducible", derandomize=True, deadline=None, report_multiple_bugs=False)
if "REGKEEPER_CASES" not in os.environ:
    settings.load_profile("reproducible")
    # Of the five minutes that a failure may take to be made smaller; there is no setting, and they say that we may.
    engine.MAX_SHRINKING_SECONDS = 30


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes too long for each run of CI."""
    if "REGKEEPER_CASES" not in os.environ:
        rare = [item for item in items if item.get_closest_marker("rare")]
        if rare:
            config.hook.pytest_deselected(items=rare)
            items[:] = [item for item in items if item not in rare]
