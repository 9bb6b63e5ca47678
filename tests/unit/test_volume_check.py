"""`regkeeper check-volume`, as the registry's user on real directories."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from regkeeper.commands.check_volume import app
from regkeeper.volume_check import MESSAGE_BYTES
from tests.registry_content import push
from tests.registry_process import registry_program, serve_registry

pytestmark = pytest.mark.root

USER = 65532

AS_USER = f"""\
import os, sys
from regkeeper.volume_check import VolumeError, check_volume  # before: the user may not get at the interpreter's files
os.setgroups([])
os.setresgid({USER}, {USER}, {USER})
os.setresuid({USER}, {USER}, {USER})
try:
    check_volume(sys.argv[1], volume_path=sys.argv[2])
except VolumeError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def volume() -> Iterator[Path]:
    """A directory that the user can reach, with what a registry that ran as root wrote into it."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for root alone: each session closes them again
        path = Path(folder)
        path.chmod(0o755)
        with serve_registry(registry_program("2.8"), path) as url:
            for number, name in enumerate(("web/tomcat", "db/mysql", "boke/wordpress")):
                push(url, name, "v1", seed=number)
        yield path / "volume"


def check(root: Path, *, volume_path: str = "/docker/var/lib/registry") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", AS_USER, str(root), volume_path]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def give(tree: Path, *, group: int, mode: int) -> None:
    """What kubelet does for fsGroup: the group, and `mode` for it, on everything below `tree`."""
    for directory, _, names in os.walk(tree):
        for path in (Path(directory), *(Path(directory) / name for name in names)):
            os.chown(path, -1, group)
            path.chmod(path.stat().st_mode | mode)


def listing(tree: Path) -> list[tuple[str, int, int, int]]:
    paths = sorted(tree.rglob("*"))
    return [(str(path), path.stat().st_mode, path.stat().st_gid, path.stat().st_ino) for path in paths]


def test_a_volume_that_fits_passes_and_is_as_before(volume: Path) -> None:
    give(volume, group=USER, mode=0o2070)
    before = listing(volume)
    done = check(volume)
    assert (done.returncode, done.stderr) == (0, "")
    assert listing(volume) == before


def test_a_new_volume_passes_and_stays_empty(volume: Path) -> None:
    new = volume.parent / "new"
    new.mkdir()
    os.chown(new, USER, USER)
    assert check(new).returncode == 0
    assert list(new.iterdir()) == []


def test_a_tree_of_roots_is_named_with_the_remedy(volume: Path) -> None:
    done = check(volume)
    assert done.returncode == 1
    assert f"{volume} can't be used: Permission denied. It is owned by 0:0, mode 0755" in done.stderr
    assert f"the registry runs as uid {USER}, gid {USER}" in done.stderr
    remedy = f"chgrp -R {USER} /docker/var/lib/registry && chmod -R g+rwX /docker/var/lib/registry"
    assert done.stderr.endswith(f"run: {remedy}\n")


def test_the_remedy_helps(volume: Path) -> None:
    remedy = check(volume, volume_path=str(volume)).stderr.rpartition("run: ")[2]
    subprocess.run(["sh", "-ec", remedy], check=True)
    assert check(volume).returncode == 0


@pytest.mark.parametrize(
    "subtree",
    [
        "docker/registry/v2/repositories",
        "docker/registry/v2/repositories/db/mysql/_manifests/tags",
        "docker/registry/v2/blobs/sha256",
    ],
)
def test_a_subtree_of_roots_under_a_matching_root_is_found(volume: Path, subtree: str) -> None:
    give(volume, group=USER, mode=0o2070)
    for directory, _, _ in os.walk(volume / subtree):
        os.chown(directory, 0, 0)
        Path(directory).chmod(0o755)
    done = check(volume)
    assert done.returncode == 1
    assert f"{volume / subtree} can't be used: Permission denied. It is owned by 0:0, mode 0755" in done.stderr


def test_one_of_very_many_repositories_is_not_too_far_down(volume: Path) -> None:
    give(volume, group=USER, mode=0o2070)
    repositories = volume / "docker/registry/v2/repositories"
    for number in range(1200):
        made = repositories / f"repository-{number}"
        made.mkdir()
        os.chown(made, USER, USER)
    listed = [entry.path for entry in os.scandir(repositories)]
    for path in listed[500:]:
        os.chown(path, 0, 0)
    done = check(volume)
    assert done.returncode == 1
    assert f"{repositories}/" in done.stderr


@pytest.mark.parametrize(("name", "mode"), [("data", 0o600), ("link", 0o644)])
def test_files_that_can_not_be_used_are_found(volume: Path, name: str, mode: int) -> None:
    give(volume, group=USER, mode=0o2070)
    file = next(volume.rglob(name))
    os.chown(file, 0, 0)
    file.chmod(mode)
    done = check(volume)
    assert done.returncode == 1
    assert f"{file} can't be used: Permission denied. It is owned by 0:0, mode {mode:04o}" in done.stderr


def test_a_missing_volume_is_named(volume: Path) -> None:
    done = check(volume / "absent")
    assert done.returncode == 1
    assert f"{volume / 'absent'} can't be used: No such file or directory." in done.stderr


def test_the_command_says_it_by_its_exit_status(volume: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["--root", str(volume)]).exit_code == 0
    failed = runner.invoke(app, ["--root", str(volume / "absent")])
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "No such file or directory" in failed.stderr


def test_the_message_fits_into_a_pods_status(volume: Path) -> None:
    done = check(volume, volume_path="/" + "ä" * 3000)
    assert done.returncode == 1
    assert len(done.stderr.encode()) <= MESSAGE_BYTES + 1
