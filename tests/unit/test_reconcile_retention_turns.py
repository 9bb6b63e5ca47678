"""Whose turn it is among Jobs that wait."""

from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.retention.requests import Action, Request
from regkeeper.reconcile.retention.waiting import line_up
from tests.retention_decisions import HASH, NOON, a_job, a_policy


def names(jobs: list[kube.Object]) -> list[str]:
    return [job["metadata"]["name"] for job in jobs]


def test_the_oldest_waits_no_longer_and_of_one_policy_the_newest_runs() -> None:
    policies = {"keep-last": a_policy(), "other": a_policy("other")}
    jobs = [a_job("old", minutes=9), a_job("new", minutes=2), a_job("other", minutes=5, of="other")]
    line = line_up(jobs, policies, NOON)
    assert line.next is jobs[2]
    assert names(line.superseded) == ["old"]
    assert line.missed == []


def test_an_approval_an_undo_and_a_purge_are_superseded_by_nothing() -> None:
    requests = [Request(approved=HASH), Request(action=Action.RESTORE, run="x"), Request(action=Action.PURGE)]
    jobs = [a_job(f"j{number}", minutes=9 - number, request=each) for number, each in enumerate(requests)]
    line = line_up([*jobs, a_job("plain")], {"keep-last": a_policy()}, NOON)
    assert line.superseded == []
    assert line.next is jobs[0]


def test_what_came_into_use_is_brought_back_before_anything_else_and_however_late() -> None:
    policies = {"keep-last": a_policy(startingDeadline="5m"), "other": a_policy("other")}
    rescue = a_job("rescue", minutes=6, request=Request(action=Action.RESCUE, run="x"))
    line = line_up([a_job("older", minutes=9, of="other"), rescue], policies, NOON)
    assert line.next is rescue
    assert line.missed == []


def test_a_job_is_missed_after_its_starting_deadline_and_until_then_is_known() -> None:
    policies = {"keep-last": a_policy(startingDeadline="5m")}
    line = line_up([a_job("late", minutes=5), a_job("soon", minutes=4)], policies, NOON)
    assert names(line.missed) == ["late"]
    assert line.until == 60
    assert line_up([a_job("patient", minutes=9999)], {"keep-last": a_policy()}, NOON).missed == []


@pytest.mark.parametrize(
    "spec",
    [{"parallelism": 2}, {"completions": 3}, {"backoffLimit": 6}, {"podReplacementPolicy": "TerminatingOrFailed"}],
)
def test_a_job_that_could_have_two_pods_is_none_of_ours(spec: dict[str, Any]) -> None:
    line = line_up([a_job("odd", **spec)], {"keep-last": a_policy()}, NOON)
    assert line.next is None
    ((job, why),) = line.unfit
    assert job["metadata"]["name"] == "odd"
    assert "--from=cronjob" in why


def test_a_job_with_an_action_that_is_none_holds_nobody_up() -> None:
    odd = a_job("odd", minutes=9)
    odd["metadata"]["annotations"] = {naming.ACTION_ANNOTATION: "destroy"}
    line = line_up([odd, a_job("good")], {"keep-last": a_policy()}, NOON)
    assert line.next is not None
    assert line.next["metadata"]["name"] == "good"
    assert "says destroy" in line.unfit[0][1]


def test_jobs_whose_gate_was_opened_wait_no_more() -> None:
    opened = a_job("opened", suspend=False)
    held = a_job("held")
    held["metadata"]["finalizers"] = [naming.RUN_FINALIZER]
    going = a_job("going")
    going["metadata"]["deletionTimestamp"] = NOON.isoformat()
    done = a_job("done") | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    assert line_up([opened, held, going, done], {"keep-last": a_policy()}, NOON).next is None
