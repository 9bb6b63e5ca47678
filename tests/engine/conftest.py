"""Fixtures of the engine's tests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.job_pod import Pod
from tests.engine.volumes import Volume


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """An empty registry volume."""
    return Volume(tmp_path / "registry")


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory, where fsync costs nothing: a killed process loses nothing that it has written."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def pod(volume: Volume, tmp_path: Path) -> Pod:
    """A Job's pod that mounts the volume."""
    return Pod(volume.root, tmp_path / "pod")
