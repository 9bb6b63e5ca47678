"""Fixtures of all tests: `control_plane` and `two_nodes`, the real clusters."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

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

_ON_CLUSTERS = Path(__file__).parent / "e2e"


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class) -> Generator[None, Any, Any]:
    """Refuse what no phase of tests/run.py would find, as an error of its file, which every worker says plainly."""
    made = yield
    if isinstance(made, list):
        is_there = collector.path.is_relative_to(_ON_CLUSTERS)
        for item in made:
            is_marked = any(map(item.get_closest_marker, ("control_plane", "nodes")))
            if is_marked != is_there:
                raise collector.CollectError(
                    f"{item.nodeid}: tests of clusters belong into {_ON_CLUSTERS}, and no others (tests/run.py)"
                )
    return made


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes too long for each run of CI."""
    if "REGKEEPER_CASES" not in os.environ:
        rare = [item for item in items if item.get_closest_marker("rare")]
        if rare:
            config.hook.pytest_deselected(items=rare)
            items[:] = [item for item in items if item not in rare]
