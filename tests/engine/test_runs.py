"""One run among others: the lock, signals, the end time, writers that disturb it, a dry run beside it."""

import base64
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from regkeeper.cli import app
from regkeeper.retention import lock
from regkeeper.retention.errors import (
    BusyError,
    NotQuietError,
    RefusedError,
    RetentionError,
    StoppedError,
    StorageError,
    UnansweredError,
)
from regkeeper.retention.layout import open_volume
from regkeeper.retention.moves import Move
from regkeeper.retention.probe import probe
from regkeeper.retention.quiet import Mode, refuse_changes, refuse_pull_through_cache
from regkeeper.retention.stop import StopOnSignal
from regkeeper.retention.storage import EndTime, components
from tests.engine import driver
from tests.engine.running import STATE, Counting, Runner, content
from tests.engine.volumes import DAY, SECOND, Volume, snapshot
from tests.gateway import serve_gateway
from tests.registry_process import registry_program, serve_registry

KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}


@pytest.fixture
def runner(volume: Volume) -> Runner:
    """With two images of which one goes."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"], age=30 * DAY)
    app.push_image("v2", layers=[b"two"], age=20 * DAY)
    return Runner(volume.root, volume.now)


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


@pytest.mark.parametrize("age", [1, 599])
def test_an_upload_under_way_stops_the_run(volume: Volume, runner: Runner, age: int) -> None:
    volume.repository("other").start_upload("u-1", age=age)
    before = content(volume.root)
    with pytest.raises(NotQuietError, match=rf"other \(u-1\) was touched {age} s ago.* in {600 - age} s"):
        runner.retain(KEEP_ONE)
    assert content(volume.root) == before


def test_an_old_upload_stops_nothing(volume: Volume, runner: Runner) -> None:
    volume.repository("other").start_upload("u-1", age=601)
    assert runner.retain(KEEP_ONE).journal is not None


def test_a_push_after_the_mark_stops_the_run_before_its_first_rename(volume: Volume, runner: Runner) -> None:
    runner.quiet = lambda: volume.repository("app").tag("v3", volume.put_blob(b"pushed"), age=0)
    with pytest.raises(NotQuietError, match=r"something writes here: .*app.* changed"):
        runner.retain(KEEP_ONE)
    assert volume.repository("app").tag_link("v1").exists()


def test_a_push_during_the_sweep_brings_everything_back_at_once(volume: Volume, runner: Runner) -> None:
    """Old layers may be needed again by it."""
    before = content(volume.root)
    mounted = volume.repository("app")

    def push(move: Move) -> None:
        if move.kind == "blob":
            mounted.mount("sha256:" + "0" * 64, age=0)

    runner.progress = push
    with pytest.raises(NotQuietError, match="something writes here"):
        runner.retain(KEEP_ONE)
    after = content(volume.root)
    assert {path: entry for path, entry in after.items() if "0" * 64 not in path} == before
    assert [journal.state for journal in runner.journals()] == ["rolled-back"]


def test_a_candidate_that_changed_since_the_plan_stays(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")

    def push_again(move: Move) -> None:
        if move.kind == "tag":
            app.push_image("v1", layers=[b"one"], age=0)

    runner.progress = push_again
    with pytest.raises(NotQuietError):
        runner.retain(KEEP_ONE)
    assert app.tag_link("v1").exists()
    assert volume.blob_data(volume.put_blob(b"one")).exists()


def test_a_pull_through_cache_is_for_offline_only(volume: Volume) -> None:
    (volume.root / "scheduler-state.json").write_text("{}")
    with open_volume(str(volume.root)) as opened:
        with pytest.raises(NotQuietError, match="pull-through cache"):
            refuse_pull_through_cache(opened, Mode.READ_ONLY)
        refuse_pull_through_cache(opened, Mode.OFFLINE)


READ_ONLY = {"REGISTRY_STORAGE_MAINTENANCE_READONLY": "{enabled: true}"}


@pytest.mark.parametrize("version", ["2.8", "3.1"])
def test_a_real_registry_is_asked_whether_it_takes_pushes(version: Literal["2.8", "3.1"], tmp_path: Path) -> None:
    program = registry_program(version)
    with serve_registry(program, tmp_path, READ_ONLY) as url:
        probe(url, Mode.READ_ONLY)
        with pytest.raises(NotQuietError, match="a registry answers"):
            probe(url, Mode.OFFLINE)
    probe(url, Mode.OFFLINE)
    with pytest.raises(NotQuietError, match="does not answer"):
        probe(url, Mode.READ_ONLY)
    with serve_registry(program, tmp_path) as url, pytest.raises(NotQuietError, match="takes pushes"):
        probe(url, Mode.READ_ONLY)
    assert not (tmp_path / "volume").exists(), "the probe left something"


@pytest.mark.parametrize("version", ["2.8", "3.1"])
def test_a_registry_that_wants_credentials_gets_those_of_docker_login(
    version: Literal["2.8", "3.1"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `keeper:secret`, by bcrypt.
    (tmp_path / "htpasswd").write_text("keeper:$2y$05$mD2/iYY0pXCRP5DX1OvLs.QgOVsRKiBfZntUAX5Wa3SrQ.QWR6S5K\n")
    auth = {"REGISTRY_AUTH_HTPASSWD_REALM": "test", "REGISTRY_AUTH_HTPASSWD_PATH": str(tmp_path / "htpasswd")}
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with serve_registry(registry_program(version), tmp_path, {**READ_ONLY, **auth}) as url:
        with pytest.raises(NotQuietError, match=r"asks for credentials, and .* has none for it"):
            probe(url, Mode.READ_ONLY)
        log_in(tmp_path, url, b"keeper:wrong")
        with pytest.raises(NotQuietError, match="answered a probing push with 401"):
            probe(url, Mode.READ_ONLY)
        log_in(tmp_path, url, b"keeper:secret")
        probe(url, Mode.READ_ONLY)


def log_in(folder: Path, url: str, credentials: bytes) -> None:
    auths = {urlsplit(url).netloc: {"auth": base64.b64encode(credentials).decode()}}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))


def test_nobody_knows_is_not_quiet() -> None:
    with pytest.raises(UnansweredError, match="can't be reached"):
        probe("http://registry.invalid:5000", Mode.OFFLINE)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("status", [404, 405, 401])
def test_the_word_of_a_gateway_is_not_the_registrys(
    mode: Mode, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that answers each connection that leaves the cluster, whoever it was meant for."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with serve_gateway(status) as gateway:
        log_in(tmp_path, gateway.url, b"keeper:secret")
        with pytest.raises(UnansweredError, match=f"is no registry .*: {status} "):
            probe(gateway.url, mode)
        assert gateway.credentials == [], "a stranger got the registry's password"


@pytest.mark.parametrize("mode", Mode)
def test_a_connection_that_is_taken_and_not_answered_says_nothing(mode: Mode) -> None:
    with serve_gateway(None) as gateway, pytest.raises(UnansweredError, match="so nobody knows whether it writes"):
        probe(gateway.url, mode)


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


def preserving_times(source: Path, target: Path) -> None:
    """As rsync -a, cp -a and tar write."""
    shutil.copytree(source, target, copy_function=shutil.copy2)
    for directory in (target.parent, target.parent.parent):
        os.utime(directory, (1, 1))


@pytest.mark.parametrize("kind", ["layers", "revisions"])
def test_a_writer_that_keeps_old_times_stops_the_run(volume: Volume, runner: Runner, kind: str) -> None:
    app, other = volume.repository("app"), volume.repository("other")
    other.push_image("v1", layers=[b"other"])
    source = next((getattr(app, kind) / "sha256").iterdir())
    runner.quiet = lambda: preserving_times(source, getattr(other, kind) / "sha256" / ("0" * 64))
    with pytest.raises(NotQuietError, match=r"something writes here: .*other.* changed"):
        runner.retain(KEEP_ONE)


def test_times_of_a_clock_that_was_ahead_stop_nothing(volume: Volume, runner: Runner) -> None:
    other = volume.repository("other")
    other.push_image("v1", layers=[b"other"])
    other.start_upload("u-1", age=-300 * DAY)
    for directory in (other.layers / "sha256", other.revisions / "sha256"):
        os.utime(directory, (2 << 30, 2 << 30))
    assert runner.retain(KEEP_ONE).journal is not None


def test_a_change_that_lies_ahead_of_the_clock_is_none(volume: Volume, runner: Runner) -> None:
    """A machine that once booted with a wrong clock left ctimes that no writer could set."""
    with open_volume(str(volume.root)) as opened:
        refuse_changes(opened, 1, lambda: time.time_ns() - DAY * SECOND)
        with pytest.raises(NotQuietError, match="something writes here"):
            refuse_changes(opened, 1, time.time_ns)


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


@pytest.mark.parametrize("tag", ["v1", "unlinked"])
def test_a_push_between_the_last_look_and_the_rename_is_put_back(volume: Volume, runner: Runner, tag: str) -> None:
    """Into the tag that goes: in place, as distribution up to 3.0 writes, or into a directory that had no link."""
    app = volume.repository("app")
    (app.tags / "unlinked").mkdir()
    pushed = app.push_image(layers=[b"pushed"])

    def push(call: str) -> None:
        if call == "rename" and (app.tags / tag).exists():
            app.tag_link(tag).parent.mkdir(exist_ok=True)
            app.tag_link(tag).write_text(pushed.digest)

    runner.guard = push
    with pytest.raises(NotQuietError, match=f"something writes here: .*/{tag} has changed"):
        runner.delete(f"app:{tag}")
    assert app.tag_link(tag).read_text() == pushed.digest
    assert app.revision_link(pushed.digest).exists()


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
