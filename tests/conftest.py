"""Fixtures of all tests: `control_plane` and `two_nodes`, the real clusters."""

import os

from hypothesis import settings

pytest_plugins = ["tests.cluster.fixtures"]

# The same random cases on every machine: what fails in CI fails for everybody. Benchmarks try others each time.
settings.register_profile("reproducible", derandomize=True)
if "REGKEEPER_CASES" not in os.environ:
    settings.load_profile("reproducible")
