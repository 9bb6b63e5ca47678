"""`regkeeper job plan` and `run` as a Job's pod starts them: a mounted snapshot in, an answer out, a real volume."""

import os
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from regkeeper.answer import Outcome, decode
from regkeeper.snapshot import Stage
from tests.engine.job_pod import JOB, KEEP_ONE, UNLIMITED, Pod, content, manifest, tags, three_tags
from tests.engine.volumes import DAY, Volume, files
from tests.waiting import wait_for


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return three_tags(tmp_path / "registry")


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
            return any(os.readlink(file) == "anon_inode:inotify" for file in Path(f"/proc/{process.pid}/fd").iterdir())
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
    assert answer.told == pod.generation
    assert answer.kept.reasons["in use"] == 1
    assert "+ 4.9  kept: in use by Deployment shop/web" in pod.log
    assert tags(volume) == {"4.9", "latest"}


def test_other_policies_only_keep(volume: Volume, pod: Pod) -> None:
    other = manifest({"rules": [{"tags": ["4.*"], "keep": {"last": 5}}]}, "other")
    answer = pod.whole_run(KEEP_ONE, others=[other])
    assert answer.kept.reasons == {"among the last 1 (keep-last/1)": 1, "among the last 5 (other/1)": 1}
    assert tags(volume) == {"4.9", "latest"}


def test_an_answer_tells_what_was_asked_for_in_vain(volume: Volume, pod: Pod) -> None:
    """Issue 6: "contradicting policies", "a glob that matches nothing"."""
    other = manifest({"rules": [{"tags": ["4.*"], "keep": {"last": 5}}]}, "other")
    spec = {"delete": ["absent/**", "boke/wordpress:4.9", "boke/wordpress:5.0"], "limits": UNLIMITED}
    answer = pod.whole_run(spec, others=[other])
    assert answer.texts == [
        "delete: absent/** names nothing",
        "delete: boke/wordpress:4.9 asks for 4.9, but: among the last 5 (other/1)",
    ]
    assert (answer.outcome, answer.warnings) == (Outcome.DONE, 2)
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
