"""`regkeeper retain --approve`: a plan that exceeds a limit is carried out for its victims, and for no other."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from regkeeper.retention.moments import parse_moment
from tests.engine import driver
from tests.engine.driver import tags
from tests.engine.volumes import DAY, SECOND, Volume


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


@pytest.mark.parametrize("text", ["[]", '{"repositories": 1}', "[" * 100_000])
def test_what_is_no_plan_is_wrong_usage(filled: Volume, tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    outcome = driver.retain(filled, {"delete": ["app:v1"]}, arguments=["--approve", str(file)])
    assert (outcome.code, "--approve" in outcome.errors, tags(filled)) == (2, True, {"v1", "v2", "v3"})


def test_the_undo_window_of_an_approved_plan_begins_when_it_is_carried_out(filled: Volume) -> None:
    spec = {"rules": [{"keep": {"last": 0}}], "undoWindow": "24h"}
    refused = driver.retain(filled, spec)
    began = time.time_ns()
    approved = driver.retain(filled, spec, arguments=["--approve", refused.document["hash"]])
    assert parse_moment(approved.document["run"]["purgeDue"]) >= began - SECOND + DAY * SECOND


def approve_file(volume: Volume, tmp_path: Path, spec: dict[str, Any], document: dict[str, Any]) -> driver.Outcome:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(document))
    return driver.retain(volume, spec, arguments=["--approve", str(file)])
