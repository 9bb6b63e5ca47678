"""One run among others: the lock, signals, the end time, writers that disturb it, a dry run beside it."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from regkeeper.cli import app
from regkeeper.retention.errors import (
    BusyError,
    RefusedError,
    RetentionError,
    StoppedError,
    StorageError,
)
from regkeeper.retention.processes.stop import StopOnSignal
from regkeeper.retention.quarantine import lock
from regkeeper.retention.quarantine.moves import Move
from regkeeper.retention.quarantine.storage import EndTime, components
from regkeeper.retention.volume.layout import open_volume
from tests.engine import driver
from tests.engine.running import STATE, Counting, Runner, content
from tests.engine.volumes import SECOND, Volume, snapshot

pytestmark = pytest.mark.usefixtures("two_images")

KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}


def test_two_runs_exclude_each_other(runner: Runner) -> None:
    with runner.changing(), pytest.raises(BusyError), runner.changing():
        pytest.fail("the second run got the lock")


def test_a_dead_holder_keeps_no_lock(volume: Volume, runner: Runner) -> None:
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with runner.changing():
            os.write(told, b"x")
            signal.pause()
    os.read(ready, 1)
    with open_volume(str(volume.root)) as opened:
        assert lock.is_held(opened)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert not lock.is_held(opened)
    assert runner.retain(KEEP_ONE).journal is not None


def test_a_fork_does_not_hold_the_lock_of_the_run_that_it_reads_for(volume: Volume) -> None:
    """It may live for a moment longer than a run that was killed, and the next would find the volume locked."""
    ready, told = os.pipe()
    with open_volume(str(volume.root)) as opened:
        with lock.exclusive(opened):
            child = os.fork()
            if child == 0:
                os.write(told, b"x")
                signal.pause()
            os.read(ready, 1)
        held = lock.is_held(opened)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not held


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_between_two_entries_and_the_next_run_ends_the_same(
    volume: Volume, runner: Runner, number: signal.Signals
) -> None:
    before = content(volume.root)
    moved: list[Move] = []

    def interrupt(move: Move) -> None:
        moved.append(move)
        if len(moved) == 2:
            os.kill(os.getpid(), number)

    with StopOnSignal() as stop, pytest.raises(StoppedError, match=number.name):
        Runner(volume.root, volume.now, stop=stop, progress=interrupt).retain(KEEP_ONE)
    assert len(moved) == 2
    outcome = runner.retain(KEEP_ONE)
    assert [len(restored.moves) for restored in outcome.recovered.rolled_back.values()] == [2]
    runner.restore()
    assert content(volume.root) == before


def test_after_the_end_time_no_mutating_call_is_made(volume: Volume, runner: Runner) -> None:
    counting = Counting()
    times = iter(range(1, 1000))
    end = EndTime(20, lambda: next(times))

    def guard(call: str) -> None:
        end(call)
        counting(call)

    with pytest.raises(StoppedError, match="end time"):
        Runner(volume.root, volume.now, guard=guard).retain(KEEP_ONE)
    assert len(counting.calls) == 19
    assert runner.retain(KEEP_ONE).journal is not None


def test_a_dry_run_changes_nothing_at_all_even_beside_an_open_run(volume: Volume, runner: Runner) -> None:
    times = iter(range(1, 1000))
    with pytest.raises(StoppedError):
        Runner(volume.root, volume.now, guard=EndTime(35, lambda: next(times))).retain(KEEP_ONE)
    before = snapshot(volume.root)
    outcome = driver.retain(volume, KEEP_ONE, arguments=["--dry-run"])
    assert "has not ended" in outcome.errors
    assert snapshot(volume.root) == before


def test_a_dry_run_tells_of_a_run_that_is_under_way_and_changes_nothing(volume: Volume, runner: Runner) -> None:
    before = snapshot(volume.root)
    with runner.changing():
        outcome = driver.retain(volume, KEEP_ONE, arguments=["--dry-run"])
    assert outcome.code == 0
    assert "a run is under way" in outcome.errors
    assert snapshot(volume.root) == before


def test_without_a_time_that_is_given_the_volumes_clock_tells_the_present(volume: Volume, runner: Runner) -> None:
    """By the file of the journal: the clock of this machine may be another one."""
    began = time.time_ns()
    result = CliRunner().invoke(app, ["delete", "app:v1", "--root", str(volume.root)], catch_exceptions=False)
    assert result.exit_code == 0
    (journal,) = runner.journals()
    assert journal.header.now == journal.header.began
    assert began - SECOND < journal.header.now <= time.time_ns()


@pytest.mark.parametrize("command", [["delete", "app:v1"], ["delete", "app:v1", "--dry-run"], ["purge"], ["restore"]])
def test_without_a_registry_to_ask_the_command_says_so(volume: Volume, runner: Runner, command: list[str]) -> None:
    runner.retain(KEEP_ONE)
    volume.repository("app").push_image("v1")
    assert "no registry was asked whether it takes pushes" in driver.run(volume, *command).errors


def test_a_dry_run_of_a_new_volume_leaves_no_trace(volume: Volume, runner: Runner) -> None:
    before = snapshot(volume.root)
    driver.retain(volume, KEEP_ONE, arguments=["--dry-run"])
    driver.delete(volume, "app:v1", "--dry-run")
    driver.run(volume, "runs")
    assert snapshot(volume.root) == before


def test_a_run_with_nothing_to_do_leaves_no_journal(volume: Volume, runner: Runner) -> None:
    assert runner.retain({"rules": [{"keep": {"last": 2}}]}).journal is None
    assert runner.journals() == []


def test_the_state_lies_beside_the_blobs(volume: Volume, runner: Runner) -> None:
    runner.retain(KEEP_ONE)
    assert {path.name for path in volume.v2.iterdir()} == {"blobs", "repositories", ".regkeeper"}
    assert (volume.root / STATE).is_dir()


def test_a_planted_link_leads_nowhere(volume: Volume, runner: Runner, tmp_path: Path) -> None:
    """Whoever may write the volume could plant a link in the place of our own directory."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (volume.root / STATE).symlink_to(outside)
    with pytest.raises(StorageError, match="symbolic link"):
        runner.retain(KEEP_ONE)
    assert list(outside.iterdir()) == []


def test_a_link_that_takes_the_place_of_a_directory_during_the_run_is_not_followed(
    volume: Volume, runner: Runner, tmp_path: Path
) -> None:
    tags = volume.repository("app").tags
    outside = tmp_path / "outside"

    def plant() -> None:
        shutil.copytree(tags, outside)
        tags.rename(tmp_path / "before")
        tags.symlink_to(outside)

    runner.quiet = plant
    before = snapshot(tags)
    with pytest.raises(RetentionError):
        runner.retain(KEEP_ONE)
    assert snapshot(outside).keys() == before.keys()


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/./b", "a/../b", "", "a\0b"])
def test_no_path_of_a_journal_leads_out_of_the_volume(path: str) -> None:
    with pytest.raises(RefusedError):
        components(path)


@pytest.mark.parametrize("name", ["tags/loop", "tags", "uploads", "layers/sha256", "revisions/sha256", "revisions"])
def test_a_looping_link_stops_nothing_elsewhere(volume: Volume, runner: Runner, name: str) -> None:
    other = volume.repository("other")
    other.push_image("v1", layers=[b"other"])
    attribute, _, below = name.partition("/")
    path: Path = getattr(other, attribute) / below
    if path.exists():
        shutil.rmtree(path)
    path.symlink_to(path.name)
    assert runner.retain({"rules": [{"repositories": ["app"], "keep": {"last": 1}}]}).journal is not None


def test_a_tag_that_is_a_symbolic_link_goes_by_name(volume: Volume, runner: Runner) -> None:
    """It is moved as it is, wherever it leads."""
    app = volume.repository("app")
    (app.tags / "alias").symlink_to("v1")
    runner.delete("app:alias")
    assert {path.name for path in app.tags.iterdir()} == {"v1", "v2"}


@pytest.mark.parametrize("command", ["restore", "restore --all", "retain", "delete", "limited"])
def test_what_is_refused_leaves_nothing_of_ours(volume: Volume, runner: Runner, command: str) -> None:
    """The root may be the wrong directory: a mount point over which nothing is mounted, say."""
    if command == "retain":  # blobs without repositories
        volume.remove(runner.root / "docker/registry/v2/repositories/app")
    before = content(volume.root), set(volume.v2.iterdir())
    match command:
        case "limited":
            outcome = driver.retain(volume, {"rules": [{"keep": {"last": 0}}]})
        case "retain":
            outcome = driver.retain(volume, KEEP_ONE)
        case "delete":
            outcome = driver.delete(volume, "app:v*")
        case _:
            outcome = driver.run(volume, *command.split())
    assert outcome.code == 1, outcome.errors
    assert (content(volume.root), set(volume.v2.iterdir())) == before
