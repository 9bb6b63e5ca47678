"""The commands that change a volume, as a person or a script has them: exit status, documents, undo, purge."""

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine import driver
from tests.engine.driver import invoke, policy, tags
from tests.engine.volumes import DAY, HOUR, SECOND, Volume, snapshot

KEEP_ONE = {"rules": [{"keep": {"last": 1}}], "limits": driver.REFUSES_NOTHING}


@pytest.mark.parametrize("command", ["retain --policy p", "delete app:v1", "runs", "restore", "purge"])
def test_without_a_root_the_usage_is_wrong(command: str) -> None:
    outcome = invoke(*command.split(), environment={"REGISTRY_DATA_DIR": ""})
    assert outcome.code == 2
    assert "--root" in outcome.errors


@pytest.mark.parametrize("command", ["delete app:v1", "runs", "restore", "purge", "du", "check"])
def test_an_empty_root_is_not_the_directory_at_hand(
    filled: Volume, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """As of an unset variable: `--root "$DIRECTORY"`."""
    monkeypatch.chdir(filled.root)
    outcome = invoke(*command.split(), "--root", "")
    assert outcome.code == 2
    assert "it is empty" in outcome.errors
    assert tags(filled) == {"v1", "v2", "v3"}


@pytest.mark.parametrize(
    "command", ["retain --dry-run --policy", "delete app:v1 --dry-run", "runs", "restore", "purge", "du", "check"]
)
def test_all_commands_take_the_same_options(filled: Volume, tmp_path: Path, command: str) -> None:
    """So that a script can give them to any."""
    file = tmp_path / "policy.yaml"
    file.write_text(policy(KEEP_ONE))
    driver.delete(filled, "app:v2")
    words = [*command.split(), str(file)] if command.endswith("--policy") else command.split()
    shared = ["--root", str(filled.root), "--json", "--now", "2026-06-28T10:31:45.5Z", "--mode", "Offline"]
    outcome = invoke(*words, *shared, "--registry", "http://127.0.0.1:9")
    assert outcome.code == 0, outcome.errors
    for wrong, why in (("yesterday", "is no time"), ("2026-06-28T10:31:45", "has no time zone")):
        outcome = invoke(*words, *shared, "--now", wrong)
        assert (outcome.code, "--now" in outcome.errors, why in outcome.errors) == (2, True, True)


@pytest.mark.parametrize("below", ["", "docker/registry/v2"])
def test_the_root_may_be_the_mount_or_v2_or_come_from_the_environment(filled: Volume, below: str) -> None:
    root = {"REGISTRY_DATA_DIR": str(filled.root / below)}
    assert invoke("delete", "app:v1", "--json", environment=root).document["outcome"] == "done"
    assert tags(filled) == {"v2", "v3"}


@pytest.mark.parametrize("command", ["delete app:v1", "runs", "restore", "purge"])
def test_what_is_no_registry_is_refused(tmp_path: Path, command: str) -> None:
    before = snapshot(tmp_path)
    outcome = invoke(*command.split(), "--root", str(tmp_path), "--json")
    assert outcome.code == 1
    assert outcome.document["outcome"] == "failed"
    assert snapshot(tmp_path) == before


def test_a_real_run_does_what_its_dry_run_said(filled: Volume) -> None:
    before = snapshot(filled.root)
    planned = driver.retain(filled, KEEP_ONE, arguments=["--dry-run"]).document
    assert snapshot(filled.root) == before
    done = driver.retain(filled, KEEP_ONE).document
    assert (planned["outcome"], planned["run"], planned["dryRun"]) == ("ready", None, True)
    assert (done["outcome"], done["dryRun"]) == ("done", False)
    assert {key: planned[key] for key in ("hash", "totals", "repositories")} == {
        key: done[key] for key in ("hash", "totals", "repositories")
    }
    assert tags(filled) == {"v3"}


def test_a_policy_that_is_a_dry_run_changes_nothing(filled: Volume, tmp_path: Path) -> None:
    """As it came from the cluster: it deleted all the same. One that only keeps says nothing about that."""
    before = snapshot(filled.root)
    dry = {**KEEP_ONE, "dryRun": True}
    (tmp_path / "keeps").write_text(policy(dry))
    outcome = driver.retain(filled, KEEP_ONE, dry)
    assert (outcome.code, outcome.document["dryRun"], outcome.document["outcome"]) == (0, True, "ready")
    assert "a policy says `dryRun: true`" in outcome.errors
    assert snapshot(filled.root) == before
    done = driver.retain(filled, KEEP_ONE, arguments=["--also-keep", str(tmp_path / "keeps")])
    assert done.document["dryRun"] is False


@pytest.mark.parametrize("keeps", [False, True])
def test_lists_of_images_in_use_that_only_the_cluster_has_are_missed(
    filled: Volume, tmp_path: Path, keeps: bool
) -> None:
    """What other clusters use went, without a word, where the policy says that it is to stay."""
    spec = {**KEEP_ONE, "protect": {"references": [{"name": "production"}]}}
    (tmp_path / "policy").write_text(policy(spec))
    (tmp_path / "in-use").write_text("# 0\n")
    arguments = ["--in-use", str(tmp_path / "in-use"), "--dry-run"]
    if keeps:
        arguments += ["--also-keep", str(tmp_path / "policy")]
    outcome = driver.retain(filled, KEEP_ONE if keeps else spec, arguments=arguments)
    assert "`protect.references` is read on the cluster alone" in outcome.errors


@pytest.mark.parametrize(
    "command",
    ["du", "du --json", "check", "runs", "list", "retain --dry-run", "retain", "retain --json", "delete app:v1"],
)
def test_an_answer_that_standard_output_does_not_take_is_told(filled: Volume, tmp_path: Path, command: str) -> None:
    """As of `> plan.txt` on a full disk: a run that was done ended in a traceback, and how to undo it was not said."""
    (tmp_path / "policy").write_text(policy(KEEP_ONE))
    driver.delete(filled, "app:v2")
    words = [*command.split(), *(["--policy", str(tmp_path / "policy")] if command.startswith("retain") else [])]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "regkeeper", *words, "--root", str(filled.root)],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert "regkeeper: standard output: No space left on device: the answer is not whole" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert ("undoes it" in done.stderr) == (command in ("retain", "retain --json", "delete app:v1"))


def test_a_dry_run_warns_of_a_clock_that_is_behind_the_volume(filled: Volume) -> None:
    filled.repository("app").push_image("v4", layers=[b"4"], age=-60)
    assert driver.retain(filled, KEEP_ONE, arguments=["--dry-run"]).document["warnings"] == []
    filled.repository("app").push_image("v5", layers=[b"5"], age=-61)
    (warning,) = driver.retain(filled, KEEP_ONE, arguments=["--dry-run"]).document["warnings"]
    assert "2026-05-28T20:27:41Z" in warning


def test_a_second_run_has_nothing_to_do(filled: Volume) -> None:
    driver.retain(filled, KEEP_ONE)
    again = driver.retain(filled, KEEP_ONE)
    assert (again.code, again.document["outcome"], again.document["run"]) == (0, "nothing", None)


@pytest.mark.parametrize("text", ["", "nonsense: [", "apiVersion: v1", policy({"rules": [{"typo": 1}]})])
def test_an_invalid_policy_is_wrong_usage(filled: Volume, tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    assert driver.run(filled, "retain", "--policy", str(file)).code == 2


@pytest.mark.parametrize("content", [None, b"", b"app:v1 Pod a/b\n", b"app:v1 Pod a/b\n# 2\n", b"\xff\xfe\n# 1\n"])
def test_a_list_of_images_in_use_that_may_not_be_whole_stops_the_run(
    filled: Volume, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "in-use"
    if content is not None:
        file.write_bytes(content)
    outcome = driver.retain(filled, KEEP_ONE, arguments=["--in-use", str(file)])
    assert outcome.code == 1
    assert outcome.document["reason"] == "Refused"
    assert "--in-use" in outcome.errors
    assert tags(filled) == {"v1", "v2", "v3"}


def test_something_unreadable_that_was_kept_shows_in_the_status(filled: Volume) -> None:
    broken = filled.repository("broken")
    broken.push_image("v1")
    filled.empty(broken.tag_link("v1"))
    outcome = driver.retain(filled, KEEP_ONE)
    assert outcome.code == 3
    assert outcome.document["outcome"] == "done"
    assert tags(filled) == {"v3"}


def test_runs_are_listed_with_what_became_of_them(filled: Volume) -> None:
    driver.delete(filled, "app:v1")
    filled.now += SECOND
    driver.delete(filled, "app:v2")
    driver.run(filled, "restore")
    document = driver.run(filled, "runs").document
    assert [(run["command"], run["state"]) for run in document["runs"]] == [("delete", "done"), ("delete", "restored")]
    assert document["underWay"] is False


def test_a_run_is_restored_by_name_and_all_at_once(filled: Volume) -> None:
    runs = []
    for name in ("v1", "v2", "v3"):
        runs.append(driver.delete(filled, f"app:{name}").document["run"]["run"])
        filled.now += SECOND
    restored = driver.run(filled, "restore", runs[1]).document["restored"]
    assert set(restored["runs"]) == {runs[1], runs[2]}, "the layer that all share went with the last"
    assert tags(filled) == {"v2"}
    assert driver.run(filled, "restore", "--all").code == 0
    assert tags(filled) == {"v1", "v2", "v3"}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_undo_works_as_the_deletion_prints_it(filled: Volume, tmp_path: Path, *, elsewhere: bool) -> None:
    journals = tmp_path / "my journals"
    journals.mkdir()
    outcome = driver.delete(filled, "app:v1", *(["--journal", str(journals)] if elsewhere else []))
    command = outcome.errors.split("`")[1]
    assert tags(filled) == {"v2", "v3"}
    assert invoke(*shlex.split(command)[1:]).code == 0
    assert tags(filled) == {"v1", "v2", "v3"}


def test_one_reference_comes_back(filled: Volume) -> None:
    driver.delete(filled, "app:v1", "app:v2")
    assert driver.run(filled, "restore", "--ref", "app:v2").code == 0
    assert tags(filled) == {"v2", "v3"}
    outcome = driver.run(filled, "restore", "--ref", "app:v9")
    assert (outcome.code, outcome.document["reason"]) == (1, "NothingToUndo")


@pytest.mark.parametrize(
    ("reference", "back"), [("app:v[12]", {"v1", "v2"}), ("a*:v3", {"v3"}), ("app", {"v1", "v2", "v3"})]
)
def test_all_that_a_pattern_names_comes_back(filled: Volume, reference: str, back: set[str]) -> None:
    driver.delete(filled, "app:v1", "app:v2", "app:v3")
    assert driver.run(filled, "restore", "--ref", reference).code == 0
    assert tags(filled) == back


@pytest.mark.parametrize("arguments", [[], ["--all"]])
def test_when_nothing_can_come_back_the_command_says_when_it_was_purged(filled: Volume, arguments: list[str]) -> None:
    """With --all it said only that there is no run."""
    assert "there is no run to undo" in driver.run(filled, "restore", *arguments).errors
    driver.delete(filled, "app:v1", "--undo-window", "0s")
    outcome = driver.run(filled, "restore", *arguments)
    assert (outcome.code, "was purged at 2026-05-28T20:26:40Z" in outcome.errors) == (1, True)


@pytest.mark.parametrize("arguments", [["x", "--all"], ["--ref", "a:b", "--all"], ["--ref", ".."], ["--ref", ""]])
def test_contradicting_or_hostile_arguments_of_restore_are_wrong_usage(filled: Volume, arguments: list[str]) -> None:
    assert driver.run(filled, "restore", *arguments).code == 2


@pytest.mark.parametrize("run", ["../x", "20260101T000000Z"])
def test_an_unknown_run_is_refused(filled: Volume, run: str) -> None:
    assert driver.run(filled, "restore", run).code == 1


def test_a_purge_takes_what_is_due_or_what_is_older_than_asked(filled: Volume) -> None:
    filled.now = time.time_ns()
    driver.delete(filled, "app:v1")
    filled.now += HOUR * SECOND + SECOND
    nothing = driver.run(filled, "purge")
    assert nothing.document["purged"]["runs"] == []
    assert "nothing is purged: of no run is the undo window over" in nothing.errors
    assert driver.run(filled, "purge", "--older-than", "2h").document["purged"]["runs"] == []
    purged = driver.run(filled, "purge", "--older-than", "1h").document["purged"]
    assert purged["entries"] > 0
    assert driver.run(filled, "purge", "--older-than", "nonsense").code == 2


@pytest.mark.parametrize("moment", ["yesterday", "2026-01-01T00:00:00", "12"])
def test_a_time_must_be_one(filled: Volume, moment: str) -> None:
    assert invoke("purge", "--root", str(filled.root), "--now", moment).code == 2


def test_after_the_end_time_nothing_is_changed(filled: Volume) -> None:
    before = snapshot(filled.root)
    outcome = driver.delete(filled, "app:v1", "--end-time", "2020-01-01T00:00:00Z")
    assert (outcome.code, outcome.document["reason"]) == (1, "Stopped")
    assert snapshot(filled.root) == before


def test_an_undo_that_brings_everything_back_is_done_though_the_image_was_incomplete_before(volume: Volume) -> None:
    image = volume.repository("app").push_image("v1", layers=[b"lost"])
    lost = volume.put_blob(b"lost")
    volume.remove(volume.blob_data(lost))
    assert driver.delete(volume, "app:v1").code == 0
    restored = driver.run(volume, "restore")
    assert (restored.code, restored.document["outcome"]) == (0, "done")
    assert restored.document["restored"]["missing"] == [lost]
    assert f"{lost} is nowhere any more" in restored.errors
    assert volume.repository("app").tag_link("v1").read_text() == image.digest


def test_a_run_may_follow_one_that_emptied_most_repositories(volume: Volume) -> None:
    volume.repository("app").push_image("latest")
    spec = {"rules": [{"keep": {"last": 0}}], "limits": driver.REFUSES_NOTHING, "garbage": {"deleteAfter": "0s"}}
    assert driver.retain(volume, spec).document["outcome"] == "done"
    again = driver.retain(volume, spec)
    assert (again.code, again.document["outcome"]) == (0, "nothing")


def test_a_run_that_is_refused_says_what_it_freed_before_and_a_dry_run_what_it_would_free(filled: Volume) -> None:
    filled.now = time.time_ns()
    run = driver.delete(filled, "app:v1").document["run"]["run"]
    filled.now += 2 * DAY * SECOND
    looked = driver.delete(filled, "app:none*", "--dry-run")
    assert looked.document["due"] == [run]
    assert f"would first free {run}" in looked.errors
    refused = driver.delete(filled, "app:none*")
    assert refused.code == 1
    assert refused.document["purged"]["runs"] == [run]
    assert f"purged {run}" in refused.errors


def test_an_undo_is_kept_until_it_is_forgotten(filled: Volume) -> None:
    run = driver.retain(filled, KEEP_ONE).document["run"]["run"]
    driver.run(filled, "restore", run)
    assert driver.retain(filled, KEEP_ONE).document["outcome"] == "nothing"
    assert driver.run(filled, "restore", "--forget").code == 2
    forgotten = driver.run(filled, "restore", run, "--forget")
    assert (forgotten.code, forgotten.document) == (0, {"outcome": "done", "forgotten": run})
    again = driver.run(filled, "restore", run, "--forget")
    assert (again.code, f"nothing is kept because run {run} was undone" in again.errors) == (1, True)
    assert driver.retain(filled, KEEP_ONE).document["totals"]["deletedTags"] == 2
