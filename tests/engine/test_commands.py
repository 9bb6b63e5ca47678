"""The commands that change a volume, as a person or a script has them: exit status, refusals, documents."""

import json
import os
import pty
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from regkeeper.cli import app
from regkeeper.retention.moments import parse_moment
from tests.engine import driver
from tests.engine.driver import policy
from tests.engine.volumes import DAY, HOUR, SECOND, Volume, files, snapshot

KEEP_ONE = {"rules": [{"keep": {"last": 1}}], "limits": driver.REFUSES_NOTHING}


@pytest.fixture
def filled(volume: Volume) -> Volume:
    """app:v1 to v3, 30 to 28 days old, and an untagged manifest of the same age."""
    repository = volume.repository("app")
    for number in (1, 2, 3):
        repository.push_image(f"v{number}", layers=[b"base", b"%d" % number], age=(31 - number) * DAY)
    repository.push_image(layers=[b"untagged"], age=30 * DAY)
    return volume


def invoke(
    *arguments: str, standard_input: str | None = None, environment: dict[str, str] | None = None
) -> driver.Outcome:
    result = CliRunner().invoke(
        app, list(arguments), input=standard_input, env=environment or {}, catch_exceptions=False
    )
    try:
        document = json.loads(result.stdout)
    except ValueError:
        document = {}
    return driver.Outcome(result.exit_code, document, result.stderr)


def tags(volume: Volume, repository: str = "app") -> set[str]:
    return {path.name for path in volume.repository(repository).tags.iterdir()}


# Where the volume is.


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


# delete


@pytest.mark.parametrize(
    "reference", ["", "app:", "..", "../blobs", "/etc/passwd", "app:..", "App:v1", "app:v1\n", "a//b:c", "app@sha256:1"]
)
def test_a_hostile_reference_is_wrong_usage(filled: Volume, reference: str) -> None:
    before = snapshot(filled.root)
    assert driver.delete(filled, "--yes", "--", reference).code == 2
    assert snapshot(filled.root) == before


def test_all_or_nothing(filled: Volume) -> None:
    outcome = driver.delete(filled, "app:v1", "app:unknown")
    assert outcome.code == 1
    assert "app:unknown" in outcome.errors
    assert tags(filled) == {"v1", "v2", "v3"}
    assert driver.delete(filled, "app:v1", "app:unknown", "--missing-ok").code == 0
    assert tags(filled) == {"v2", "v3"}


def test_a_digest_that_a_tag_points_to_is_refused_with_its_name(filled: Volume) -> None:
    digest = filled.repository("app").tag_link("v1").read_text()
    outcome = driver.delete(filled, f"app@{digest}")
    assert outcome.code == 1
    assert "v1" in outcome.errors
    assert driver.run(filled, "runs").document["runs"] == []


def test_a_tag_with_a_digest_goes_only_while_it_points_there(filled: Volume) -> None:
    links = {name: filled.repository("app").tag_link(name).read_text() for name in ("v1", "v2")}
    assert driver.delete(filled, f"app:v1@{links['v2']}").code == 1
    assert driver.delete(filled, f"app:v1@{links['v1']}").code == 0
    assert tags(filled) == {"v2", "v3"}


def test_a_repository_goes_only_when_it_is_said(filled: Volume) -> None:
    outcome = driver.delete(filled, "app")
    assert outcome.code == 2
    assert "--repository" in outcome.errors
    assert driver.delete(filled, "app", "--repository").code == 0
    assert not filled.repository("app").tags.exists()


def test_references_come_from_standard_input(filled: Volume) -> None:
    arguments = ("delete", "-", "--root", str(filled.root), "--json")
    assert invoke(*arguments, standard_input="").code == 2
    assert invoke(*arguments, standard_input="\n\n").code == 2
    assert invoke(*arguments, standard_input="app:v1\napp:v2\n").code == 0
    assert tags(filled) == {"v3"}


def test_nothing_named_is_wrong_usage(filled: Volume) -> None:
    assert driver.delete(filled).code == 2


def test_a_pattern_that_matches_several_wants_yes_where_nobody_can_be_asked(filled: Volume) -> None:
    outcome = driver.delete(filled, "app:v*")
    assert outcome.code == 1
    assert "3 tags" in outcome.errors
    assert "--yes" in outcome.errors
    assert driver.delete(filled, "app:v[1]").code == 0
    assert driver.delete(filled, "app:v*", "--yes").code == 0
    assert tags(filled) == set()


@pytest.mark.parametrize(("answer", "left"), [("y", set()), ("n", {"v1", "v2", "v3"})])
def test_on_a_terminal_a_person_is_asked(filled: Volume, answer: str, left: set[str]) -> None:
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "regkeeper", "delete", "--root", str(filled.root), "app:v*"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = bytearray()
    try:
        while b"Delete 3 tags?" not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, answer.encode() + b"\n")
        with suppress(OSError):  # The end of a terminal that nobody has open any more is EIO on Linux.
            while part := os.read(terminal, 4096):
                shown += part
    finally:
        os.close(terminal)
    assert process.wait() == (0 if answer == "y" else 1), shown.decode()
    assert tags(filled) == left


def test_an_address_in_front_must_be_the_registrys(filled: Volume) -> None:
    assert driver.delete(filled, "k8smaster:5000/app:v1").code == 2
    outcome = driver.delete(filled, "k8smaster:5000/app:v1", "--dry-run", "--registry", "http://k8smaster:5000")
    assert outcome.code == 0
    assert driver.delete(filled, "k8smaster:5000/app:v1", "--any-address").code == 0
    assert tags(filled) == {"v2", "v3"}


def test_an_address_that_may_be_a_part_of_a_name_is_refused(filled: Volume) -> None:
    """`docker.io/app` is a repository of a mirror, and `app` another one."""
    filled.repository("docker.io/app").push_image("v1", layers=[b"mirrored"])
    refused = driver.delete(filled, "docker.io/app:v1", "--any-address")
    assert refused.code == 1
    assert tags(filled) == {"v1", "v2", "v3"}
    assert driver.delete(filled, "docker.io/app:v1").code == 0
    assert tags(filled) == {"v1", "v2", "v3"}
    assert driver.delete(filled, "registry.example/app:v1", "--any-address").code == 0
    assert tags(filled) == {"v2", "v3"}


@pytest.mark.parametrize("reference", [["app:v1"], ["app", "--repository"]])
def test_an_age_holds_for_exact_names_too(filled: Volume, reference: list[str]) -> None:
    filled.repository("app").push_image("v1", layers=[b"new"], age=HOUR)
    refused = driver.delete(filled, *reference, "--older-than", "30d")
    assert refused.code == 1
    assert "younger than --older-than" in refused.errors
    assert tags(filled) == {"v1", "v2", "v3"}


def test_untagged_manifests_go_once_they_are_old_enough(filled: Volume) -> None:
    app = filled.repository("app")
    young = app.push_image(layers=[b"young"], age=23 * HOUR)
    assert driver.delete(filled, "--untagged").document["totals"]["deletedManifests"] == 1
    assert app.revision_link(young.digest).exists()
    filled.now += SECOND
    assert driver.delete(filled, "--untagged", "app", "--older-than", "1h").document["totals"]["deletedManifests"] == 1
    assert tags(filled) == {"v1", "v2", "v3"}


def test_an_age_filters_tags_by_their_push(filled: Volume) -> None:
    assert driver.delete(filled, "app:v*", "--older-than", "29d12h").code == 0
    assert tags(filled) == {"v2", "v3"}


def test_without_an_undo_window_it_is_gone_at_once(filled: Volume) -> None:
    outcome = driver.delete(filled, "app:v1", "--undo-window", "0s")
    assert outcome.document["purged"]["bytes"] == outcome.document["totals"]["deletedBytes"] > 0
    assert driver.run(filled, "restore").code == 1


# retain


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


def test_a_limit_wants_the_approval_of_this_very_plan(filled: Volume) -> None:
    spec = {"rules": [{"keep": {"last": 0}}]}
    refused = driver.retain(filled, spec)
    assert refused.code == 1
    assert refused.document["outcome"] == "limited"
    assert driver.retain(filled, spec, arguments=["--approve", "0" * 64]).code == 1
    assert tags(filled) == {"v1", "v2", "v3"}
    assert driver.retain(filled, spec, arguments=["--approve", refused.document["hash"]]).code == 0
    assert tags(filled) == set()


def test_pushes_between_a_plan_and_its_approval_neither_go_nor_count(filled: Volume) -> None:
    spec = {"rules": [{"keep": {"last": 1}}], "limits": {"maxDeletedShare": "0%", "allowEmptyRepositories": True}}
    for number in range(20):  # shares are not taken of fewer tags
        filled.repository("app").push_image(f"old-{number}", layers=[b"%d" % number], age=100 * DAY)
    before = tags(filled)
    refused = driver.retain(filled, spec)
    assert refused.document["outcome"] == "limited"
    assert f"--approve {refused.document['hash']} --now {refused.document['now']}" in refused.errors
    approval = ["--approve", refused.document["hash"]]

    filled.repository("app").push_image("newer", layers=[b"newer"], age=-DAY)
    approved = driver.retain(filled, spec, arguments=approval)
    assert (approved.code, approved.document["outcome"]) == (0, "done")
    kept = {row["tag"] for row in refused.document["repositories"][0]["tags"] if not row["deleted"]}
    assert len(kept) == 1
    assert tags(filled) == kept | {"newer"}
    assert tags(filled) < before | {"newer"}

    again = driver.retain(filled, spec, arguments=approval)
    assert (again.code, again.document["outcome"]) == (0, "nothing")
    assert again.document["warnings"] == ["nothing is left of what was approved: the plan deletes nothing"]


def test_an_approval_deletes_nothing_once_a_victim_was_pushed_again(filled: Volume) -> None:
    spec = {"rules": [{"keep": {"last": 0}}]}
    refused = driver.retain(filled, spec)
    filled.repository("app").push_image("v1", layers=[b"again"], age=-DAY)
    outcome = driver.retain(filled, spec, arguments=["--approve", refused.document["hash"]])
    assert outcome.code == 1
    assert "not the plan that was approved" in outcome.errors
    assert tags(filled) == {"v1", "v2", "v3"}


def approve_file(volume: Volume, tmp_path: Path, spec: dict[str, Any], document: dict[str, Any]) -> driver.Outcome:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(document))
    return driver.retain(volume, spec, arguments=["--approve", str(file)])


def test_a_plan_that_is_approved_as_a_file_goes_for_its_victims_that_still_are(filled: Volume, tmp_path: Path) -> None:
    spec = {"rules": [{"keep": {"last": 0}}]}
    plan = driver.retain(filled, spec, arguments=["--dry-run"]).document
    assert plan["outcome"] == "limited"
    repository = filled.repository("app")
    repository.push_image("v1", layers=[b"again"], age=-DAY)  # no longer the victim that was approved
    repository.push_image("v4", layers=[b"later"], age=40 * DAY)  # a victim of today's rules, and not approved
    outcome = approve_file(filled, tmp_path, spec, plan)
    assert (outcome.code, outcome.document["outcome"]) == (0, "done")
    assert tags(filled) == {"v1", "v4"}


def test_a_plan_that_was_edited_or_is_of_other_rules_is_no_approval(filled: Volume, tmp_path: Path) -> None:
    spec = {"rules": [{"keep": {"last": 0}}]}
    plan = driver.retain(filled, spec, arguments=["--dry-run"]).document
    other = approve_file(filled, tmp_path, {"rules": [{"keep": {"last": 1}}]}, plan)
    assert (other.code, "the rules have changed since the plan that was approved" in other.errors) == (1, True)
    for row in plan["repositories"][0]["tags"]:
        row["deleted"] = row["tag"] != "v1"
    edited = approve_file(filled, tmp_path, spec, plan)
    assert (edited.code, "its hash is not that of" in " ".join(edited.errors.replace("│", " ").split())) == (2, True)
    assert approve_file(filled, tmp_path, spec, {}).code == 2
    assert tags(filled) == {"v1", "v2", "v3"}


def test_a_reference_that_names_nothing_leaves_the_volume_as_it_is(filled: Volume) -> None:
    before = files(filled.root)
    for reference in ("app:v9", "nobody:v1", f"app@sha256:{'a' * 64}", "nobody"):
        outcome = driver.delete(filled, "--repository", "app:v1", reference)
        assert (outcome.code, f"nothing is named {reference}" in outcome.errors) == (1, True)
    assert files(filled.root) == before


def test_the_undo_window_of_an_approved_plan_begins_when_it_is_carried_out(filled: Volume) -> None:
    spec = {"rules": [{"keep": {"last": 0}}], "undoWindow": "24h"}
    refused = driver.retain(filled, spec)
    began = time.time_ns()
    approved = driver.retain(filled, spec, arguments=["--approve", refused.document["hash"]])
    assert parse_moment(approved.document["run"]["purgeDue"]) >= began - SECOND + DAY * SECOND


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


# runs, restore, purge


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


def test_one_reference_comes_back(filled: Volume) -> None:
    driver.delete(filled, "app:v1", "app:v2")
    assert driver.run(filled, "restore", "--ref", "app:v2").code == 0
    assert tags(filled) == {"v2", "v3"}
    outcome = driver.run(filled, "restore", "--ref", "app:v9")
    assert (outcome.code, outcome.document["reason"]) == (1, "NothingToUndo")


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
