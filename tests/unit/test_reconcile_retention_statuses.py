"""What of a run stands in the status of its policy and of its Registry."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace as replace_answer

from regkeeper.answer import Answer, Outcome, Previous
from regkeeper.api.v1alpha1.retention import Undone
from regkeeper.reconcile.retention import reports
from regkeeper.reconcile.retention.outcome import Conclusion, conclude, ended, usage
from regkeeper.reconcile.retention.reports import Subject
from regkeeper.reconcile.retention.requests import Action, Request
from regkeeper.resources.lease import Quiet
from tests.retention_decisions import DONE, HOLDER, KNOWS_NOTHING, NOON, SWITCH, a_pod, a_policy


def test_the_status_of_a_run_has_its_answer_and_how_long_pushes_waited() -> None:
    holder = replace(HOLDER, quiet=Quiet.READ_ONLY, quiet_since=NOON)
    pod = a_pod("Succeeded", plan=SWITCH, run=DONE)
    fields = ended(holder, conclude(holder, None, pod), NOON + timedelta(seconds=12))
    assert fields["pushesWaited"] == "12s"
    assert "pullsWaited" not in fields
    replaced = ended(holder, conclude(holder, None, pod), NOON + timedelta(seconds=12), timedelta(seconds=5))
    assert (replaced["pushesWaited"], replaced["pullsWaited"]) == ("12s", "5s")
    stopped = replace(holder, quiet=Quiet.OFFLINE)
    assert ended(stopped, conclude(stopped, None, pod), NOON + timedelta(seconds=12))["pullsWaited"] == "12s"
    assert fields["tagsDeleted"] == 3
    assert fields["keptByReason"] == [{"reason": "among the last 5", "tags": 5}]
    assert fields["run"] == "20260101T120000Z"


@pytest.mark.parametrize(
    ("spec", "due"),
    [
        ({"schedule": "30 3 * * *"}, "2026-01-02T03:30:00Z"),
        ({"schedule": "30 3 * * *", "timeZone": "America/New_York"}, "2026-01-02T08:30:00Z"),
        ({"schedule": "@hourly"}, "2026-01-01T13:00:00Z"),
        ({"schedule": "0 12 ? * thu"}, "2026-01-08T12:00:00Z"),
        ({"schedule": "0 0 31 2 *"}, None),
        ({"schedule": "@daily", "suspend": True}, None),
        ({"schedule": "@daily", "timeZone": "Mars/Olympus"}, None),
        ({}, None),
    ],
)
def test_when_the_schedule_makes_the_next_run(spec: dict[str, Any], due: str | None) -> None:
    assert reports.brought_up_to_date({}, a_policy(**spec), NOON).get("nextRun") == due


@pytest.mark.parametrize(
    ("said", "told"), [(Outcome.NOTHING_TO_DO, "NothingToDo"), (Outcome.DRY_RUN, "Failed"), (Outcome.SKIPPED, "Failed")]
)
def test_the_status_takes_whatever_an_undo_answers(said: Outcome, told: str) -> None:
    """Also what only a forged answer says: the undo would run for ever."""
    conclusion = Conclusion(said.value, "0 entries back", Answer(outcome=said))
    run = ended(HOLDER, conclusion, NOON)
    request = Request(Action.RESTORE, run="20260101T000000Z")
    fields = reports.after({}, Subject("keep-last", "job", request), run, conclusion, NOON)
    assert Undone.model_validate(fields["undone"]).outcome == told


def test_an_undo_that_a_later_run_finished_is_done() -> None:
    undone = {"run": "20260101T000000Z", "uid": "u", "outcome": "Failed", "message": "SIGTERM"}
    finished = Answer(outcome=Outcome.DONE, undone=["20260101T000000Z"])
    fields = reports.finished_undo({"undone": undone}, finished, NOON)["undone"]
    assert Undone.model_validate(fields).outcome == "Done"
    assert (fields["uid"], fields["message"]) == ("u", "a later run finished it, after: SIGTERM")
    others = [{}, undone | {"run": "20260102T000000Z"}, undone | {"forget": True}, undone | {"outcome": "Refused"}]
    assert [reports.finished_undo({"undone": other}, finished, NOON) for other in others] == [{}] * 4


@pytest.mark.parametrize("outcome", ["Done", "Refused"])
def test_what_became_of_a_rescue_stands_beside_the_run_that_made_it_necessary(outcome: str) -> None:
    run = {"job": "j-rescue", "uid": "u", "outcome": outcome, "message": "so"}
    rescue = Subject("keep-last", "j-rescue", Request(Action.RESCUE, run="x"))
    fields = reports.after({"lastRun": {"job": "j"}}, rescue, run, None, NOON)
    assert f"{outcome} so" in fields["lastRun"]["warnings"][0]
    assert reports.after(fields, rescue, run, None, NOON) == {}, "a pass that is repeated says it once"


def test_what_an_earlier_run_had_answered_to_nobody_is_told_with_the_next() -> None:
    before = Previous(job="u", outcome=Outcome.DONE, message="deleted 3 tags", run="20260101T110000Z")
    answer = replace_answer(DONE, previous=before)
    assert "20260101T110000Z, whose answer was lost or came too late, had ended so: Done: deleted 3 tags" in str(
        ended(HOLDER, Conclusion("Done", "", answer), NOON)["warnings"]
    )


def test_a_registry_tells_what_its_volume_holds_and_keeps_what_a_purge_does_not_know() -> None:
    waits = Answer(outcome=Outcome.DRY_RUN, used=90, quarantined=7, reclaimable=40)
    after_plan = usage({}, Conclusion("DryRun", "", waits), NOON)
    expected = {"used": 90, "quarantined": 7, "reclaimable": 40, "measured": "2026-01-01T12:00:00Z"}
    assert after_plan == expected
    purged = Answer(outcome=Outcome.DONE, used=90, quarantined=0)
    assert usage(after_plan, Conclusion("Done", "", purged), NOON) == {**expected, "quarantined": 0}
    assert usage(after_plan, Conclusion("Failed", "", KNOWS_NOTHING), NOON) is None
    assert usage(after_plan, Conclusion("Unknown", ""), NOON) is None
