"""Fixtures of all tests: `control_plane` and `two_nodes`, the real clusters."""

pytest_plugins = ["tests.cluster.fixtures"]
