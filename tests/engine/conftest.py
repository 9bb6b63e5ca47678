"""Fixtures of the engine's tests."""

from pathlib import Path

import pytest

from tests.engine.volumes import Volume


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """An empty registry volume."""
    return Volume(tmp_path / "registry")
