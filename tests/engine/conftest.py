"""Fixtures of the engine's tests."""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from regkeeper.retention.quarantine import reserve
from regkeeper.retention.records import record_files
from regkeeper.retention.volume import patient_links
from tests.engine.job_pod import Pod
from tests.engine.memory import folder_in_memory
from tests.engine.running import Runner
from tests.engine.volumes import DAY, Volume


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Nobody writes a link beside these tests, for which an unreadable one would be waited for; and a small reserve."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patient_links, "PAUSE", 0)
        patch.setattr(reserve, "SPACE_BYTES", 4096)
        yield


@pytest.fixture(scope="module", autouse=True)
def room() -> Iterator[None]:
    """However full the disk of this machine is, short of the last block, records are written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_files, "_FREE", 1 << 40)
        yield


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """An empty registry volume."""
    return Volume(tmp_path / "registry")


@pytest.fixture
def runner(volume: Volume) -> Runner:
    """The engine on that volume."""
    return Runner(volume.root, volume.now)


@pytest.fixture
def untold_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network filesystem, which doesn't tell files' flags: of none is known that it is immutable."""

    def unsupported(*_: object) -> bytes:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    monkeypatch.setattr(fcntl, "ioctl", unsupported)


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory, where fsync costs nothing: a killed process loses nothing that it has written."""
    with folder_in_memory() as folder:
        yield Path(folder)


@pytest.fixture
def pod(volume: Volume, tmp_path: Path) -> Pod:
    """A Job's pod that mounts the volume."""
    return Pod(volume.root, tmp_path / "pod")


@pytest.fixture
def filled(volume: Volume) -> Volume:
    """app:v1 to v3, 30 to 28 days old, and an untagged manifest of the same age."""
    repository = volume.repository("app")
    for number in (1, 2, 3):
        repository.push_image(f"v{number}", layers=[b"base", b"%d" % number], age=(31 - number) * DAY)
    repository.push_image(layers=[b"untagged"], age=30 * DAY)
    return volume


@pytest.fixture
def two_images(volume: Volume) -> None:
    """app:v1 and v2, 30 and 20 days old: `keep last 1` deletes the first."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"], age=30 * DAY)
    app.push_image("v2", layers=[b"two"], age=20 * DAY)


@pytest.fixture
def two_repositories(volume: Volume) -> None:
    """app:v1 and v2, 9 and 8 days old, and other:v1, of now; each has a layer of its own."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"], age=9 * DAY)
    app.push_image("v2", layers=[b"2"], age=8 * DAY)
    volume.repository("other").push_image("v1", layers=[b"o"])
