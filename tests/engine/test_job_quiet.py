"""Whether a Job's run takes its volume for quiet: what the registry says, and what lies on the volume."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from regkeeper.answer import Outcome
from regkeeper.job import stillness
from regkeeper.snapshot import Stage
from tests.engine.job_pod import KEEP_ONE, Pod, content, tags, three_tags
from tests.engine.volumes import Volume
from tests.gateway import serve_gateway
from tests.registry_process import DEBIAN_PROGRAM, serve_registry
from tests.waiting import wait_for


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return three_tags(tmp_path / "registry")


def test_a_pull_through_cache_is_refused_before_it_is_made_quiet_in_vain(volume: Volume, pod: Pod) -> None:
    (volume.root / "scheduler-state.json").write_text("{}")
    pod.tell(Stage.PLAN, KEEP_ONE)
    answer = pod.container("plan")
    assert answer.outcome is Outcome.REFUSED
    assert "pull-through cache" in answer.message
    pod.tell(Stage.PLAN, KEEP_ONE, dry_run=True)
    assert pod.container("plan").outcome is Outcome.DRY_RUN
    pod.tell(Stage.PLAN, KEEP_ONE, mode="Offline")
    assert pod.container("plan").outcome is Outcome.SWITCH


def test_a_registry_that_takes_pushes_refuses_the_run_and_one_that_is_read_only_does_not(
    volume: Volume, pod: Pod, tmp_path: Path
) -> None:
    before = content(volume)
    settings = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(volume.root)}
    with serve_registry(DEBIAN_PROGRAM, tmp_path, settings) as url:
        answer = pod.whole_run(KEEP_ONE, registry=url)
    assert (answer.outcome, "takes pushes" in answer.message) == (Outcome.REFUSED, True)
    assert content(volume) == before
    settings["REGISTRY_STORAGE_MAINTENANCE_READONLY"] = "{enabled: true}"
    with serve_registry(DEBIAN_PROGRAM, tmp_path, settings) as url:
        assert pod.whole_run(KEEP_ONE, registry=url).outcome is Outcome.DONE


@pytest.mark.parametrize("meanwhile", [None, 404, 405])
def test_a_registry_that_is_only_just_starting_is_waited_for(
    meanwhile: int | None, volume: Volume, pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kube-proxy hears of its pod a moment after the operator does; meanwhile nobody answers, or a gateway."""
    settings = {
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(volume.root),
        "REGISTRY_STORAGE_MAINTENANCE_READONLY": "{enabled: true}",
    }
    with serve_registry(DEBIAN_PROGRAM, tmp_path, settings) as url:
        settings["REGISTRY_HTTP_ADDR"] = urlsplit(url).netloc
    with ExitStack() as stack, ExitStack() as before:
        if meanwhile is not None:
            parts = urlsplit(url)
            before.enter_context(serve_gateway(meanwhile, (parts.hostname or "", parts.port or 0)))

        def start(_: float) -> None:
            monkeypatch.undo()
            before.close()
            stack.enter_context(serve_registry(DEBIAN_PROGRAM, tmp_path, settings))

        monkeypatch.setattr(time, "sleep", start)
        assert pod.whole_run(KEEP_ONE, registry=url).outcome is Outcome.DONE


def test_a_registry_that_is_only_just_gone_is_waited_for(
    volume: Volume, pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, until kube-proxy hears of it, its Service's address may lead out of the cluster."""
    with ExitStack() as stack:
        gateway = stack.enter_context(serve_gateway(404))

        def stop(_: float) -> None:
            monkeypatch.undo()
            stack.close()

        monkeypatch.setattr(time, "sleep", stop)
        assert pod.whole_run(KEEP_ONE, registry=gateway.url, mode="Offline").outcome is Outcome.DONE
    assert tags(volume) == {"latest"}


def test_a_signal_ends_the_wait_for_an_answer(volume: Volume, pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that is to end has some seconds for it, fewer than the wait has."""
    waits: list[float] = []

    def signalled(seconds: float) -> None:
        assert not waits, "it goes on waiting"
        waits.append(seconds)
        signal.raise_signal(signal.SIGTERM)

    with serve_gateway(404) as gateway:
        monkeypatch.setattr(time, "sleep", signalled)
        pod.tell(Stage.RUN, KEEP_ONE, registry=gateway.url)
        assert pod.container("plan").outcome is Outcome.SKIPPED
        answer = pod.container("run", status=1)
    assert (answer.outcome, answer.message) == (Outcome.FAILED, "SIGTERM: stopped before anything was changed")
    assert tags(volume) == {"4.9", "5.0", "latest"}


@pytest.fixture
def registry(volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of the volume's registry, which is read-only; nobody waits long for uploads."""
    monkeypatch.setattr(stillness, "STILL_SECONDS", 0.3)
    settings = {
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(volume.root),
        "REGISTRY_STORAGE_MAINTENANCE_READONLY": "{enabled: true}",
    }
    with serve_registry(DEBIAN_PROGRAM, tmp_path, settings) as url:
        yield url


def test_an_upload_that_the_switch_cut_off_holds_nobody_up(volume: Volume, pod: Pod, registry: str) -> None:
    upload = volume.repository("boke/wordpress").start_upload("0d6b5a0e", age=1)
    assert pod.whole_run(KEEP_ONE, registry=registry).outcome is Outcome.DONE
    assert "an upload to boke/wordpress (0d6b5a0e) was cut off by the switch" in pod.log
    assert tags(volume) == {"latest"}
    assert upload.exists(), "it is the registry's"
    volume.repository("boke/wordpress").start_upload("1e7c6b1f", age=1)
    assert pod.whole_run(action="purge", registry=registry).outcome is Outcome.NOTHING_TO_DO


def test_a_purge_goes_on_beside_one_too(volume: Volume, pod: Pod, registry: str) -> None:
    pod.whole_run({**KEEP_ONE, "undoWindow": "1s"}, registry=registry)
    wait_for(lambda: pod.foreseen(action="purge").outcome is Outcome.SWITCH, 10, "the end of the window")
    volume.repository("boke/wordpress").start_upload("0d6b5a0e", age=1)
    answer = pod.whole_run(action="purge", registry=registry)
    assert (answer.outcome, answer.freed.runs) == (Outcome.DONE, 1)


def go_on(volume: Volume) -> None:
    with (volume.repository("boke/wordpress").uploads / "0d6b5a0e/data").open("ab") as data:
        data.write(b"more")


def begin_another(volume: Volume) -> None:
    volume.repository("db/mysql").start_upload("1e7c6b1f", age=0)


@pytest.mark.parametrize("write", [go_on, begin_another])
def test_whoever_goes_on_to_upload_writes_to_the_volume(
    write: Callable[[Volume], None], volume: Volume, pod: Pod, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another registry on the same directory, which nobody made read-only."""
    volume.repository("boke/wordpress").start_upload("0d6b5a0e", age=1)

    def meanwhile(_: float) -> None:
        monkeypatch.setattr(time, "sleep", sleep)
        write(volume)

    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", meanwhile)
    answer = pod.whole_run(KEEP_ONE, registry=registry)
    assert (answer.outcome, "something writes here" in answer.message) == (Outcome.REFUSED, True)
    assert tags(volume) == {"4.9", "5.0", "latest"}


def test_a_signal_ends_the_wait_for_uploads(
    volume: Volume, pod: Pod, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume.repository("boke/wordpress").start_upload("0d6b5a0e", age=1)
    pod.tell(Stage.RUN, KEEP_ONE, registry=registry)
    assert pod.container("plan").outcome is Outcome.SKIPPED
    with monkeypatch.context() as during:
        during.setattr(time, "sleep", lambda _: signal.raise_signal(signal.SIGTERM))
        assert pod.container("run", status=1).message == "SIGTERM: stopped before anything was changed"


def test_an_upload_under_way_stops_a_run_that_can_not_ask_its_registry(volume: Volume, pod: Pod) -> None:
    volume.repository("boke/wordpress").start_upload("0d6b5a0e", age=0)
    answer = pod.whole_run(KEEP_ONE)
    assert (answer.outcome, "something writes here" in answer.message) == (Outcome.REFUSED, True)
