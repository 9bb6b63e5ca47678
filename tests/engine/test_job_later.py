"""What comes after a Job's run: purge, undo, and what else there is to ask for."""

import json
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from regkeeper.answer import Outcome
from regkeeper.job import summary
from regkeeper.retention.quarantine.contents import Contents
from regkeeper.retention.quarantine.renames import put_back
from regkeeper.retention.runs import restore as restoring
from regkeeper.retention.volume import digests
from regkeeper.sketch import may_have, name_of_tag
from regkeeper.snapshot import Stage, Undo
from tests.engine import documents
from tests.engine.job_pod import JOB, KEEP_ONE, UNLIMITED, Pod, content, tags, three_tags
from tests.engine.volumes import DAY, Volume, files
from tests.waiting import wait_for


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return three_tags(tmp_path / "registry")


def test_a_purge_frees_what_is_due_for_a_deleted_policy_too(volume: Volume, pod: Pod) -> None:
    assert pod.foreseen(action="purge").outcome is Outcome.NOTHING_TO_DO
    deleted = pod.whole_run({**KEEP_ONE, "undoWindow": "1s"})
    wait_for(lambda: pod.foreseen(action="purge").outcome is Outcome.SWITCH, 10, "the end of the window")
    answer = pod.whole_run(action="purge")
    assert answer.outcome is Outcome.DONE
    assert (answer.freed.runs, answer.freed.bytes) == (1, deleted.deleted.bytes)
    assert (answer.quarantined, answer.purge_due) == (0, None)
    assert pod.whole_run(action="purge").outcome is Outcome.NOTHING_TO_DO


@pytest.mark.root
def test_what_can_not_be_removed_is_a_warning_and_is_tried_again(volume: Volume, pod: Pod) -> None:
    data = max(volume.blobs.rglob("data"), key=lambda path: path.stat().st_size)
    subprocess.run(["chattr", "+i", str(data)], check=True)
    try:
        answer = pod.whole_run({"delete": ["boke/wordpress"], "undoWindow": 0, "limits": UNLIMITED})
        assert answer.outcome is Outcome.DONE
        assert answer.freed.bytes < answer.deleted.bytes
        assert answer.warnings == 1
        assert "Operation not permitted" in answer.texts[0]
        assert answer.purge_due is not None
    finally:
        subprocess.run(["chattr", "-R", "-i", str(volume.v2)], check=True)
    again = pod.whole_run(action="purge")
    assert (again.outcome, again.warnings, again.purge_due) == (Outcome.DONE, 0, None)
    assert again.freed.bytes == answer.deleted.bytes - answer.freed.bytes


@pytest.mark.root
def test_a_purge_that_can_remove_nothing_is_tried_again_after_a_day(volume: Volume, pod: Pod) -> None:
    """Each made the registry read-only, freed 0 bytes of 1 run, and was due again an hour later."""
    data = max(volume.blobs.rglob("data"), key=lambda path: path.stat().st_size)
    subprocess.run(["chattr", "+i", str(data)], check=True)
    try:
        pod.whole_run({"delete": ["boke/wordpress"], "undoWindow": 0, "limits": UNLIMITED})
        before = datetime.now(UTC)
        answer = pod.whole_run(action="purge")
        assert (answer.freed.runs, answer.freed.bytes, answer.warnings) == (0, 0, 1)
        told = pod.whole_run(KEEP_ONE)
    finally:
        subprocess.run(["chattr", "-R", "-i", str(volume.v2)], check=True)
    assert answer.purge_due is not None
    assert datetime.fromisoformat(answer.purge_due) - before > timedelta(hours=23)
    assert told.purge_due is not None
    assert told.purge_due >= answer.purge_due
    again = pod.whole_run(action="purge")
    assert (again.outcome, again.freed.runs, again.purge_due) == (Outcome.DONE, 1, None)


def test_orphans_are_counted_together_however_many_subjects_are_nowhere(volume: Volume, pod: Pod) -> None:
    repository = volume.repository("boke/wordpress")
    for pair in ("aa", "bb", "cc"):
        repository.push_signature(documents.Descriptor(documents.OCI_MANIFEST, f"sha256:{pair * 32}", 3))
    assert pod.whole_run(KEEP_ONE).kept.reasons["their subject is nowhere"] == 3


def test_a_run_says_why_nothing_was_freed_on_the_way(volume: Volume, pod: Pod) -> None:
    pod.whole_run({**KEEP_ONE, "undoWindow": "1s"})
    wait_for(lambda: pod.foreseen(action="purge").outcome is Outcome.SWITCH, 10, "the end of the window")
    (volume.repositories / "moved-away").symlink_to("/nonexistent")
    answer = pod.whole_run(KEEP_ONE)
    assert answer.freed.runs == 0
    assert answer.texts[0].startswith("repositories/moved-away: a symbolic link")


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


def test_an_undo_that_was_stopped_is_finished_by_a_purge_and_every_later_job_tells_so(
    volume: Volume, pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(volume)
    run = pod.whole_run(KEEP_ONE).run or ""
    stop_undo(pod, run, monkeypatch)
    assert content(volume) != before
    assert pod.foreseen(action="purge").outcome is Outcome.SWITCH
    answer = pod.whole_run(action="purge")
    assert content(volume) == before
    assert (answer.outcome, answer.message) == (Outcome.DONE, f"finished the undo of run {run}")
    assert answer.undone == [run]
    # That answer may get lost, or the run be refused behind the undo that it finished.
    assert pod.foreseen(action="purge").undone == [run]


def stop_undo(pod: Pod, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGTERM comes when the first entry is back."""
    calls = count()

    def stopped(*arguments: Any) -> bool:
        if next(calls) == 1:
            signal.raise_signal(signal.SIGTERM)
        return put_back(*arguments)

    monkeypatch.setattr(restoring, "put_back", stopped)
    pod.tell(Stage.RUN, action="restore", restore=Undo(run=run))
    pod.container("plan")
    assert pod.container("run", status=1).message.endswith("the rest comes back when this is repeated")


def test_an_undo_is_told_though_what_newer_pushes_left_of_it_is_purged(
    volume: Volume, pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that finished it purged that too, and its journal said no more that it was undone: it stayed Failed."""
    run = pod.whole_run({**KEEP_ONE, "undoWindow": "1s"}).run or ""
    wait_for(lambda: pod.foreseen(action="purge").outcome is Outcome.SWITCH, 10, "the end of the window")
    volume.repository("boke/wordpress").push_image("4.9", layers=[b"pushed since"], age=5 * DAY)
    stop_undo(pod, run, monkeypatch)
    answer = pod.whole_run({"rules": []})
    assert (answer.outcome, answer.undone) == (Outcome.NOTHING_TO_DO, [run])
    assert (answer.freed.runs, answer.quarantined) == (1, 0)
    assert pod.foreseen(action="purge").undone == [run]


def test_an_undo_after_the_purge_says_that_it_is_too_late(volume: Volume, pod: Pod) -> None:
    run = pod.whole_run({**KEEP_ONE, "undoWindow": 0}).run or ""
    for attempt in (pod.foreseen, pod.whole_run):
        answer = attempt(action="restore", restore=Undo(run=run))
        assert answer.outcome is Outcome.REFUSED
        assert f"run {run} can't be undone: it was purged at" in answer.message


def test_victims_that_came_into_use_come_back_alone_and_go_when_they_are_not_used_any_more(
    volume: Volume, pod: Pod
) -> None:
    """Of whatever run, and without a switch of the registry where nothing of them is in use."""
    pod.whole_run(KEEP_ONE)
    volume.repository("boke/wordpress").push_image("later", layers=[b"later"], age=9 * DAY)
    pod.whole_run(KEEP_ONE)
    used = [(f"k8smaster:5000/boke/wordpress:{tag}", "Pod a/b") for tag in ("4.9", "later")]
    others = [("nginx:latest", "Pod a/c")]
    assert pod.foreseen(action="rescue", in_use=others).outcome is Outcome.NOTHING_TO_DO
    assert pod.foreseen(action="rescue", in_use=used).outcome is Outcome.SWITCH
    assert tags(volume) == {"latest"}
    assert pod.whole_run(action="rescue", in_use=[*used, *others]).outcome is Outcome.DONE
    assert tags(volume) == {"4.9", "later", "latest"}
    assert pod.foreseen(action="rescue", in_use=used).outcome is Outcome.NOTHING_TO_DO
    assert pod.whole_run(KEEP_ONE, in_use=used).outcome is Outcome.NOTHING_TO_DO
    assert pod.whole_run(KEEP_ONE).deleted.tags == 2


def test_nothing_is_brought_back_for_its_use_where_nobody_was_asked(volume: Volume, pod: Pod) -> None:
    pod.whole_run(KEEP_ONE)
    for attempt in (pod.foreseen, pod.whole_run):
        answer = attempt(action="rescue", in_use=None)
        assert (answer.outcome, answer.message) == (Outcome.REFUSED, "the images in use are not told")
    assert tags(volume) == {"latest"}


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


@pytest.mark.parametrize(("most", "indexed"), [(3, []), (4, [(2, 2, 0, 2)])])
def test_for_the_names_only_what_has_names_is_indexed_and_nothing_where_they_are_too_many(
    volume: Volume, pod: Pod, monkeypatch: pytest.MonkeyPatch, most: int, indexed: list[tuple[int, ...]]
) -> None:
    """A million links and blobs took 0.8 GB while the registry was read-only, most often for nothing."""
    seen = []

    class Spied(Contents):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            seen.append((len(self.tags), len(self.revisions), len(self.layers), len(self.blobs)))

    monkeypatch.setattr(summary, "Contents", Spied)
    monkeypatch.setattr(summary, "MOST_NAMES", most)
    answer = pod.whole_run(KEEP_ONE)
    assert (seen, answer.touched is None) == (indexed, not indexed)


@pytest.mark.parametrize("damage", ["directory", "link"])
def test_a_run_that_deleted_says_so_though_nobody_can_say_by_which_names(volume: Volume, pod: Pod, damage: str) -> None:
    digest = volume.repository("boke/wordpress").tag_link("4.9").read_text()
    data = volume.blob_data(digest)
    data.unlink()
    data.mkdir() if damage == "directory" else data.symlink_to(data)
    answer = pod.whole_run({"delete": ["boke/wordpress:4.9"], "limits": UNLIMITED})
    assert tags(volume) == {"5.0", "latest"}
    assert (answer.outcome, answer.deleted.tags, answer.touched) == (Outcome.DONE, 1, None), answer
    assert answer.run is not None


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
    assert answer.previous.undo_until == lost.undo_until is not None
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
