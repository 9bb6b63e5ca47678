"""`regkeeper job plan` and `run` as a Job's pod starts them: a mounted snapshot in, an answer out, a real volume."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from regkeeper.answer import LARGEST, Answer, Outcome, decode
from regkeeper.cli import app
from regkeeper.naming import API_VERSION
from regkeeper.retention import digests
from regkeeper.sketch import may_have, name_of_tag
from regkeeper.snapshot import Document, Stage, Undo, encode
from tests.engine.driver import ours
from tests.engine.volumes import DAY, Entry, Volume, files
from tests.gateway import serve_gateway
from tests.registry_process import DEBIAN_PROGRAM, serve_registry
from tests.snapshot_volume import mount
from tests.waiting import wait_for

JOB = "0f5e9a3c-2d1b-4c7e-8a6f-1234567890ab"
UNLIMITED = {"maxDeletedShare": "100%", "allowEmptyRepositories": True}
KEEP_ONE = {"rules": [{"keep": {"last": 1}}], "limits": UNLIMITED}


def manifest(spec: dict[str, Any], name: str = "keep-last") -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "ImageRetention",
        "metadata": {"name": name, "namespace": "images", "uid": "1", "generation": 1},
        "spec": {"registryRef": {"name": "main"}, **spec},
        "status": {"observedGeneration": 1},
    }


@dataclass
class Pod:
    """One Job's pod."""

    root: Path
    folder: Path
    job: str = JOB
    log: str = ""
    generation: int = 0

    @property
    def options(self) -> list[str]:
        """Where this pod has what."""
        paths = {"snapshot": "snapshot", "handover": "plan", "termination-log": "termination-log"}
        return [f"--{option}={self.folder / name}" for option, name in paths.items()]

    def tell(self, stage: Stage, spec: dict[str, Any] | None = None, **document: Any) -> None:
        """Mount a snapshot."""
        self.generation += 1
        end = f"{datetime.now(UTC) + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
        fields: dict[str, Any] = {
            "action": "retain",
            "name": "keep-last",
            "policy": None if spec is None else manifest(spec),
            "end_time": end,
            "in_use": [],
        }
        content = Document(**{**fields, **document})
        (self.folder / "snapshot").mkdir(parents=True, exist_ok=True)
        mount(self.folder / "snapshot", encode(content, run=self.job, generation=self.generation, stage=stage))

    def container(self, command: str, *, status: int = 0) -> Answer:
        """Run one of the two containers to its end."""
        message = self.folder / "termination-log"
        message.write_bytes(b"x" * 5000)  # what an earlier container left must not show through
        arguments = ["job", f"--root={self.root}", *self.options, command]
        result = CliRunner().invoke(app, arguments, env={"JOB_UID": self.job})
        self.log = result.stdout
        assert (result.exit_code, message.stat().st_size <= LARGEST) == (status, True), result.output
        return decode(message.read_bytes())

    def foreseen(self, **document: Any) -> Answer:
        """The first container, the registry taking pushes."""
        self.tell(Stage.PLAN, **document)
        return self.container("plan")

    def whole_run(self, spec: dict[str, Any] | None = None, **document: Any) -> Answer:
        """Both containers, the registry being quiet from the beginning."""
        self.tell(Stage.RUN, spec, **document)
        assert self.container("plan").outcome is Outcome.SKIPPED
        return self.container("run")


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """Three tags, of which `keep last 1` deletes two. The Job judges by the real time."""
    volume = Volume(tmp_path / "registry", now=time.time_ns())
    repository = volume.repository("boke/wordpress")
    for number, name in enumerate(("4.9", "5.0", "latest")):
        repository.push_image(name, layers=[b"base", f"{name} ".encode() * 100], age=(10 - number) * DAY)
    return volume


@pytest.fixture
def pod(volume: Volume, tmp_path: Path) -> Pod:
    return Pod(volume.root, tmp_path / "pod")


def content(volume: Volume) -> dict[str, Entry]:
    """Every file of the registry itself, times included."""
    return files(volume.root, ignore=ours)


def tags(volume: Volume, repository: str = "boke/wordpress") -> set[str]:
    return {path.name for path in volume.repository(repository).tags.iterdir()}


def test_a_plan_says_that_the_registry_has_to_be_quiet_and_changes_nothing(volume: Volume, pod: Pod) -> None:
    before = files(volume.root)
    pod.tell(Stage.PLAN, KEEP_ONE)
    answer = pod.container("plan")
    assert (answer.outcome, answer.deleted.tags, answer.kept.tags) == (Outcome.SWITCH, 2, 1)
    assert answer.kept.reasons == {"among the last 1 (keep-last/1)": 1}
    assert {victim.split()[0] for victim in answer.victims} == {"boke/wordpress:4.9", "boke/wordpress:5.0"}
    assert "- 4.9  delete: covered by rule keep-last/1, which does not keep it" in pod.log
    assert f"Plan {answer.hash}" in pod.log
    assert files(volume.root) == before


def test_the_run_goes_on_when_the_snapshot_says_so(volume: Volume, pod: Pod) -> None:
    pod.tell(Stage.PLAN, KEEP_ONE)
    planned = pod.container("plan")
    told = threading.Thread(target=lambda: pod.tell(Stage.RUN, KEEP_ONE))
    told.start()
    answer = pod.container("run")
    told.join()
    assert (answer.outcome, answer.hash) == (Outcome.DONE, planned.hash)
    assert answer.run is not None
    assert answer.undo_until is not None
    assert (answer.deleted.tags, answer.freed.bytes) == (2, 0)
    assert answer.quarantined == answer.deleted.bytes > 0
    assert answer.purge_due == answer.undo_until
    assert tags(volume) == {"latest"}


def test_the_victims_have_exact_bytes_the_largest_first(volume: Volume, pod: Pod) -> None:
    volume.repository("other").push_image("old", layers=[b"x" * 100_000], age=9 * DAY)
    volume.repository("other").push_image("new", layers=[b"y"], age=8 * DAY)
    pod.tell(Stage.PLAN, KEEP_ONE)
    answer = pod.container("plan")
    names = [victim.split()[0] for victim in answer.victims]
    sizes = [int(victim.split()[1]) for victim in answer.victims]
    assert names[0] == "other:old"
    assert set(names) == {"other:old", "boke/wordpress:4.9", "boke/wordpress:5.0"}
    assert sizes == sorted(sizes, reverse=True)
    # They share no blob that goes.
    assert sum(sizes) == answer.deleted.bytes
    assert answer.omitted == 0


@pytest.mark.parametrize(
    ("spec", "document", "outcome", "message"),
    [
        ({}, {}, Outcome.NOTHING_TO_DO, "nothing to delete"),
        (KEEP_ONE, {"dry_run": True}, Outcome.DRY_RUN, "would delete 2 tags"),
        ({**KEEP_ONE, "approval": "Always"}, {}, Outcome.AWAITING_APPROVAL, "approval is Always: 2 tags"),
        (
            {"rules": [{"keep": {"last": 0}}], "approval": "Never"},
            {},
            Outcome.REFUSED,
            "boke/wordpress would lose its last tag, and approval is Never: nothing was deleted",
        ),
        ({"rules": [{"keep": {"semver": {"constraint": "x y"}}}]}, {}, Outcome.REFUSED, "invalid policy: keep-last: "),
        (KEEP_ONE, {"in_use": None}, Outcome.REFUSED, "the images in use are not told"),
        (KEEP_ONE, {"in_use": [("app@sha256:1", "Pod a/b")]}, Outcome.REFUSED, "in use by Pod a/b: "),
        (
            KEEP_ONE,
            {"others": [manifest({"rules": [{"tags": ["[a"], "keep": {"last": 1}}]}, "broken")]},
            Outcome.REFUSED,
            "invalid policy: broken: spec.rules[0].tags",
        ),
        (KEEP_ONE, {"approved": "0" * 64}, Outcome.REFUSED, "no plan 000"),
        (None, {}, Outcome.REFUSED, "the policy is deleted"),
    ],
)
def test_a_final_answer_is_repeated_and_nothing_of_the_registry_changes(
    volume: Volume, pod: Pod, spec: dict[str, Any] | None, document: dict[str, Any], outcome: Outcome, message: str
) -> None:
    before = content(volume)
    pod.tell(Stage.PLAN, spec, **document)
    planned = pod.container("plan")
    assert (planned.outcome, message in planned.message) == (outcome, True), planned.message
    repeated = pod.container("run")
    assert (repeated.outcome, repeated.message, repeated.hash) == (outcome, planned.message, planned.hash)
    assert content(volume) == before


def test_a_snapshot_of_another_job_is_a_failure(volume: Volume, pod: Pod) -> None:
    pod.tell(Stage.PLAN, KEEP_ONE)
    pod.job = "another"
    answer = pod.container("plan", status=1)
    assert (answer.outcome, "of another run" in answer.message) == (Outcome.FAILED, True)
    assert pod.container("run", status=1).outcome is Outcome.FAILED
    assert tags(volume) == {"4.9", "5.0", "latest"}


def test_a_run_that_is_never_let_go_on_ends_at_its_end_time(volume: Volume, pod: Pod) -> None:
    pod.tell(Stage.PLAN, KEEP_ONE, end_time=f"{datetime.now(UTC) + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}")
    pod.container("plan")
    answer = pod.container("run", status=1)
    assert answer.outcome is Outcome.FAILED
    assert answer.message.startswith("the operator did not let the run begin before its end time")
    assert tags(volume) == {"4.9", "5.0", "latest"}


def test_a_waiting_run_ends_at_once_when_kubelet_stops_its_pod(volume: Volume, pod: Pod) -> None:
    pod.tell(Stage.PLAN, KEEP_ONE)
    pod.container("plan")
    message = pod.folder / "termination-log"
    process = subprocess.Popen(
        [sys.executable, "-m", "regkeeper", "job", f"--root={volume.root}", *pod.options, "run"],
        env={**os.environ, "JOB_UID": JOB},
        stderr=subprocess.PIPE,
    )

    def waits() -> bool:
        with suppress(FileNotFoundError):  # a descriptor that was closed meanwhile
            return any("inotify" in os.readlink(file) for file in Path(f"/proc/{process.pid}/fd").iterdir())
        return False

    wait_for(waits, 30, "a process that waits")
    process.terminate()
    assert process.wait(timeout=10) == 1
    process.communicate()
    answer = decode(message.read_bytes())
    assert (answer.outcome, answer.message) == (Outcome.FAILED, "SIGTERM: stopped before anything was changed")
    assert tags(volume) == {"4.9", "5.0", "latest"}


def test_nothing_is_changed_after_the_end_time(volume: Volume, pod: Pod) -> None:
    before = content(volume)
    pod.tell(Stage.RUN, KEEP_ONE, end_time=f"{datetime.now(UTC) - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}")
    pod.container("plan")
    answer = pod.container("run", status=1)
    assert (answer.outcome, "end time has passed" in answer.message) == (Outcome.FAILED, True)
    assert content(volume) == before


def test_what_came_into_use_before_the_switch_stays(volume: Volume, pod: Pod) -> None:
    pod.tell(Stage.PLAN, KEEP_ONE)
    assert pod.container("plan").deleted.tags == 2
    pod.tell(Stage.RUN, KEEP_ONE, in_use=[("k8smaster:5000/boke/wordpress:4.9", "Deployment shop/web")])
    answer = pod.container("run")
    assert (answer.outcome, answer.deleted.tags, answer.in_use) == (Outcome.DONE, 1, 1)
    assert answer.kept.reasons["in use"] == 1
    assert "+ 4.9  kept: in use by Deployment shop/web" in pod.log
    assert tags(volume) == {"4.9", "latest"}


def test_other_policies_only_keep(volume: Volume, pod: Pod) -> None:
    other = manifest({"rules": [{"tags": ["4.*"], "keep": {"last": 5}}]}, "other")
    answer = pod.whole_run(KEEP_ONE, others=[other])
    assert answer.kept.reasons == {"among the last 1 (keep-last/1)": 1, "among the last 5 (other/1)": 1}
    assert tags(volume) == {"4.9", "latest"}


def test_hosts_narrow_what_counts_as_in_use(volume: Volume, pod: Pod) -> None:
    spec = {**KEEP_ONE, "protect": {"hosts": ["mirror.example"]}}
    in_use = [
        ("elsewhere.example/boke/wordpress:4.9", "Pod a/b"),
        ("boke/wordpress:4.9", "Pod a/b"),
        ("k8smaster:5000/boke/wordpress:5.0", "Pod a/b"),
    ]
    answer = pod.whole_run(spec, in_use=in_use, hosts=["k8smaster:5000"])
    assert answer.kept.reasons["in use"] == 1
    assert tags(volume) == {"5.0", "latest"}


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


# Approval.


def awaited(pod: Pod, spec: dict[str, Any]) -> str:
    pod.tell(Stage.PLAN, spec)
    pod.container("plan")
    answer = pod.container("run")
    assert answer.outcome is Outcome.AWAITING_APPROVAL
    return answer.hash or ""


ALWAYS = {**KEEP_ONE, "approval": "Always"}


def test_an_approved_plan_is_carried_out(volume: Volume, pod: Pod) -> None:
    approved = awaited(pod, ALWAYS)
    pod.tell(Stage.PLAN, ALWAYS, approved=approved)
    assert pod.container("plan").outcome is Outcome.SWITCH
    pod.tell(Stage.RUN, ALWAYS, approved=approved)
    answer = pod.container("run")
    assert (answer.outcome, answer.hash) == (Outcome.DONE, approved)
    assert tags(volume) == {"latest"}


def test_an_approval_is_for_its_victims_that_still_are_and_for_no_other(volume: Volume, pod: Pod) -> None:
    approved = awaited(pod, ALWAYS)
    repository = volume.repository("boke/wordpress")
    # Two pushes since: one renews a victim, the other makes a further one of `latest`.
    repository.push_image("4.9", layers=[b"base", b"again"], age=-1)
    repository.push_image("newest", layers=[b"base", b"newest"], age=-2)
    answer = pod.whole_run(ALWAYS, approved=approved)
    assert (answer.outcome, answer.deleted.tags) == (Outcome.DONE, 1)
    assert tags(volume) == {"4.9", "latest", "newest"}


def test_an_approval_of_which_nothing_is_left_says_so(volume: Volume, pod: Pod) -> None:
    approved = awaited(pod, ALWAYS)
    in_use = [(f"boke/wordpress:{tag}", "Pod a/b") for tag in ("4.9", "5.0")]
    answer = pod.whole_run(ALWAYS, approved=approved, in_use=in_use)
    assert (answer.outcome, answer.message) == (Outcome.NOTHING_TO_DO, "nothing is left of what was approved")
    assert tags(volume) == {"4.9", "5.0", "latest"}


def test_an_approval_ends_with_a_change_of_the_rules(volume: Volume, pod: Pod) -> None:
    approved = awaited(pod, ALWAYS)
    other = {**ALWAYS, "rules": [{"keep": {"last": 2}}]}
    answer = pod.whole_run(other, approved=approved)
    assert (answer.outcome, answer.message.partition(":")[0]) == (
        Outcome.REFUSED,
        "the rules have changed since the plan that was approved; nothing was deleted",
    )
    assert tags(volume) == {"4.9", "5.0", "latest"}


def test_a_limit_that_only_the_second_plan_exceeds_stops_the_run_for_an_approval(volume: Volume, pod: Pod) -> None:
    spec = {"rules": [{"keep": {"last": 1}}], "limits": {**UNLIMITED, "allowEmptyRepositories": False}}
    rule_for_all = {**spec, "rules": [{"keep": {"last": 0}}]}
    pod.tell(Stage.PLAN, spec)
    assert pod.container("plan").outcome is Outcome.SWITCH
    pod.tell(Stage.RUN, rule_for_all)
    answer = pod.container("run")
    assert (answer.outcome, answer.limits) == (Outcome.AWAITING_APPROVAL, ["boke/wordpress would lose its last tag"])
    assert tags(volume) == {"4.9", "5.0", "latest"}
    assert pod.whole_run(rule_for_all, approved=answer.hash).outcome is Outcome.DONE


# Purge, undo, and what else there is to ask for.


def test_a_purge_frees_what_is_due_for_a_deleted_policy_too(volume: Volume, pod: Pod) -> None:
    assert pod.foreseen(action="purge").outcome is Outcome.NOTHING_TO_DO
    deleted = pod.whole_run({**KEEP_ONE, "undoWindow": "1s"})
    wait_for(lambda: pod.foreseen(action="purge").outcome is Outcome.SWITCH, 10, "the end of the window")
    answer = pod.whole_run(action="purge")
    assert answer.outcome is Outcome.DONE
    assert (answer.freed.runs, answer.freed.bytes) == (1, deleted.deleted.bytes)
    assert (answer.quarantined, answer.purge_due) == (0, None)
    assert pod.whole_run(action="purge").outcome is Outcome.NOTHING_TO_DO


def test_no_window_frees_at_once(volume: Volume, pod: Pod) -> None:
    answer = pod.whole_run({**KEEP_ONE, "undoWindow": 0})
    assert (answer.freed.runs, answer.freed.bytes, answer.undo_until) == (1, answer.deleted.bytes, None)
    assert (answer.quarantined, answer.purge_due) == (0, None)


def test_an_undo_brings_everything_back_and_later_runs_keep_it_until_it_is_forgotten(volume: Volume, pod: Pod) -> None:
    before = content(volume)
    run = pod.whole_run(KEEP_ONE).run or ""
    assert pod.foreseen(action="restore", restore=Undo(run=run)).outcome is Outcome.SWITCH
    answer = pod.whole_run(action="restore", restore=Undo(run=run))
    assert (answer.outcome, answer.run) == (Outcome.DONE, run)
    assert answer.restored is not None
    assert answer.restored.entries > 0
    assert content(volume) == before
    assert pod.whole_run(KEEP_ONE).kept.reasons["restored by an undo"] == 2
    assert pod.whole_run(action="restore", restore=Undo(run=run, forget=True)).outcome is Outcome.DONE
    assert pod.whole_run(KEEP_ONE).deleted.tags == 2
    assert pod.foreseen(action="restore", restore=Undo(run=run, forget=True)).outcome is Outcome.SWITCH
    again = pod.whole_run(action="restore", restore=Undo(run=run, forget=True))
    assert (again.outcome, again.message) == (Outcome.REFUSED, f"nothing is kept because run {run} was undone")


def test_an_undo_after_the_purge_says_that_it_is_too_late(volume: Volume, pod: Pod) -> None:
    run = pod.whole_run({**KEEP_ONE, "undoWindow": 0}).run or ""
    for attempt in (pod.foreseen, pod.whole_run):
        answer = attempt(action="restore", restore=Undo(run=run))
        assert answer.outcome is Outcome.REFUSED
        assert f"run {run} can't be undone: it was purged at" in answer.message


def test_victims_that_came_into_use_come_back_alone_and_go_when_they_are_not_used_any_more(
    volume: Volume, pod: Pod
) -> None:
    run = pod.whole_run(KEEP_ONE).run or ""
    undo = Undo(run=run, in_use=True)
    used = [("k8smaster:5000/boke/wordpress:4.9", "Pod a/b"), ("nginx:latest", "Pod a/c")]
    answer = pod.whole_run(action="restore", restore=undo, in_use=used)
    assert answer.outcome is Outcome.DONE
    assert tags(volume) == {"4.9", "latest"}
    assert pod.whole_run(action="restore", restore=undo, in_use=used).outcome is Outcome.NOTHING_TO_DO
    assert pod.whole_run(KEEP_ONE, in_use=used).outcome is Outcome.NOTHING_TO_DO
    assert pod.whole_run(KEEP_ONE).deleted.tags == 1


def test_an_answer_tells_by_which_names_what_went_may_be_in_use(volume: Volume, pod: Pod) -> None:
    """By them the operator decides whether what came into use meanwhile has to be looked for."""
    repository = volume.repository("app")
    child = repository.push_image(layers=[b"arm"], platform="linux/arm64", age=20 * DAY)
    index = repository.push_index("many", children=[child], age=20 * DAY)
    stays = repository.push_image("last", layers=[b"last"], age=DAY)
    config = json.loads(volume.blob_data(child.digest).read_bytes())["config"]["digest"]
    touched = pod.whole_run(KEEP_ONE).touched
    assert touched is not None
    gone = [name_of_tag("app", "many"), *(digests.parse(each) or b"" for each in (index.digest, child.digest, config))]
    assert [may_have(touched, name) for name in gone] == [True] * 4
    kept = [name_of_tag("app", "last"), name_of_tag("other", "many"), digests.parse(stays.digest) or b""]
    assert [may_have(touched, name) for name in kept] == [False] * 3


def test_no_window_leaves_nothing_that_a_job_could_bring_back(volume: Volume, pod: Pod) -> None:
    answer = pod.whole_run({**KEEP_ONE, "undoWindow": "0s"})
    assert (answer.deleted.tags, answer.touched) == (2, None)


def test_the_plan_of_a_run_stays_and_can_be_shown(volume: Volume, pod: Pod) -> None:
    run = pod.whole_run(KEEP_ONE).run or ""
    printed = pod.log
    pod.tell(Stage.PLAN, KEEP_ONE, action="show", show=run)
    before = files(volume.root)
    assert pod.container("plan").outcome is Outcome.DONE
    assert pod.log == printed
    assert files(volume.root) == before
    pod.tell(Stage.PLAN, KEEP_ONE, action="show", show="../../x")
    assert pod.container("plan").outcome is Outcome.REFUSED


def test_the_plans_of_the_last_runs_stay(volume: Volume, pod: Pod) -> None:
    repository = volume.repository("boke/wordpress")
    runs = []
    for number in range(3):
        repository.push_image("moving", layers=[f"{number}".encode()], age=5 * DAY)
        runs.append(pod.whole_run({**KEEP_ONE, "rules": [{"tags": ["moving"], "keep": {"last": 0}}]}, keep_plans=2).run)
    folder = volume.v2 / ".regkeeper" / "plans"
    assert sorted(path.name for path in folder.iterdir()) == runs[1:]


def test_an_answer_that_was_lost_is_repeated_by_the_next_job(volume: Volume, pod: Pod) -> None:
    lost = pod.whole_run(KEEP_ONE)
    pod.job = "11111111-2d1b-4c7e-8a6f-1234567890ab"
    answer = pod.whole_run(KEEP_ONE, unanswered=JOB)
    assert answer.outcome is Outcome.NOTHING_TO_DO
    assert answer.previous is not None
    assert (answer.previous.job, answer.previous.run, answer.previous.deleted) == (JOB, lost.run, lost.deleted)
    assert pod.whole_run(KEEP_ONE, unanswered="never-was").previous is None


def test_a_run_rolls_back_what_an_earlier_one_left(volume: Volume, pod: Pod) -> None:
    """As a pod that was killed leaves it: the plan reads it as if it were rolled back, the run rolls back first."""
    run = pod.whole_run(KEEP_ONE).run or ""
    journal = volume.v2 / ".regkeeper" / "journals" / run
    journal.write_bytes(b"".join(line for line in journal.read_bytes().splitlines(True) if b'"done"' not in line))
    pod.tell(Stage.PLAN, KEEP_ONE)
    assert pod.container("plan").deleted.tags == 2
    pod.tell(Stage.RUN, {"rules": [{"keep": {"last": 2}}], "limits": UNLIMITED})
    answer = pod.container("run")
    assert (answer.outcome, answer.deleted.tags) == (Outcome.DONE, 1)
    assert tags(volume) == {"5.0", "latest"}


def test_bytes_on_the_volume_are_told(volume: Volume, pod: Pod) -> None:
    total = sum(path.stat().st_size for path in volume.blobs.rglob("data"))
    pod.tell(Stage.PLAN, KEEP_ONE, dry_run=True)
    answer = pod.container("plan")
    assert (answer.used, answer.quarantined) == (total, 0)
    assert answer.reclaimable == answer.deleted.bytes
    after = pod.whole_run(KEEP_ONE)
    assert after.used == total - answer.deleted.bytes
    assert after.quarantined == answer.deleted.bytes
    assert after.reclaimable == 0


def test_an_upload_under_way_stops_the_run(volume: Volume, pod: Pod) -> None:
    volume.repository("boke/wordpress").start_upload("0d6b5a0e", age=0)
    answer = pod.whole_run(KEEP_ONE)
    assert (answer.outcome, "something writes here" in answer.message) == (Outcome.REFUSED, True)
