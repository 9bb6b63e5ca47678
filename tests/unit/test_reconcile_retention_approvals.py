"""Which plan waits for an approval, and by what one is used up."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace as replace_answer

from regkeeper.answer import Answer, Outcome
from regkeeper.reconcile.retention import reports
from regkeeper.reconcile.retention.outcome import Conclusion, ended
from regkeeper.reconcile.retention.policies import digest
from regkeeper.reconcile.retention.reports import Subject
from regkeeper.reconcile.retention.requests import Request
from regkeeper.reconcile.retention.wanted import wanted_jobs
from regkeeper.resources.lease import Lock
from tests.retention_decisions import DONE, HASH, HOLDER, NOON, a_policy


def awaiting(**fields: Any) -> dict[str, Any]:
    now, expires = "2026-01-01T11:00:00Z", "2026-01-08T11:00:00Z"
    return {"hash": HASH, "now": now, "expires": expires, "limits": [], "tags": 3, "bytes": 1, **fields}


def test_a_plan_that_waits_says_how_it_is_approved_and_ends_with_a_change_of_the_rules() -> None:
    policy = a_policy(schedule="@daily")
    fields = {"awaiting": awaiting(policy=digest(policy), limits=["75 % of the tags"])}
    assert reports.brought_up_to_date(fields, policy, NOON)["awaiting"] == fields["awaiting"]
    condition = reports.states(policy, fields, Lock())["AwaitingApproval"]
    assert "75 % of the tags" in condition.message
    assert "regkeeper approve keep-last" in condition.message
    assert reports.brought_up_to_date(fields, a_policy(dryRun=True), NOON) == {}
    assert "awaiting" not in reports.brought_up_to_date(fields, policy, NOON + timedelta(days=8))


def test_only_the_plan_that_waits_is_carried_out_and_only_while_it_may() -> None:
    policy = a_policy(schedule="@daily", approve=HASH)
    ((_, request),) = wanted_jobs(policy, {"awaiting": awaiting()}, NOON).items()
    assert request.approved == HASH
    assert wanted_jobs(policy, {}, NOON) == {}
    assert wanted_jobs(policy, {"awaiting": awaiting(hash="d" * 64)}, NOON) == {}
    assert wanted_jobs(policy, {"awaiting": awaiting()}, NOON + timedelta(days=7)) == {}


def test_an_approval_whose_job_never_runs_is_used_up() -> None:
    refused = {"job": "j", "uid": "u", "outcome": "Refused", "message": "paused", "finished": "2026-01-01T12:00:00Z"}
    before = {"awaiting": awaiting()}
    policy = a_policy(schedule="@daily", approve=HASH)
    ((job, request),) = wanted_jobs(policy, before, NOON).items()
    after = before | reports.after(before, Subject("keep-last", job, request), refused, None, NOON)
    assert wanted_jobs(policy, after, NOON) == {}
    other = reports.after(before, Subject("keep-last", "j", Request()), refused, None, NOON)
    assert "awaiting" not in other, "another run's plan may be approved"


def test_an_approval_is_for_one_plan_and_not_for_a_later_one_of_the_same_hash() -> None:
    """The hash knows neither garbage nor that victims were pushed anew: of a policy without rules all plans have one,
    and whoever approved the first had no limit any more.
    """
    policy, before = a_policy(schedule="@daily", approve=HASH), {"awaiting": awaiting()}
    ((job, request),) = wanted_jobs(policy, before, NOON).items()
    conclusion = Conclusion("Done", "well", DONE)
    done = reports.after(before, Subject("keep-last", job, request), ended(HOLDER, conclusion, NOON), conclusion, NOON)
    later = before | done | {"awaiting": awaiting(now="2026-01-01T11:30:00Z")}
    assert wanted_jobs(policy, reports.brought_up_to_date(later, policy, NOON), NOON) == {}
    assert "remove spec.approve" in reports.states(policy, later, Lock())["AwaitingApproval"].message
    removed = reports.brought_up_to_date(later, a_policy(schedule="@daily"), NOON)
    assert wanted_jobs(policy, removed, NOON), "it was set anew"


def test_an_approval_is_used_up_by_its_own_job_though_that_was_deleted_and_says_no_more_what_it_is_for() -> None:
    unknown = {"job": "j", "uid": "u", "outcome": "Unknown", "message": "", "finished": "2026-01-01T12:00:00Z"}
    before = {"awaiting": awaiting()}
    policy = a_policy(schedule="@daily", approve=HASH)
    (job,) = wanted_jobs(policy, before, NOON)
    after = before | reports.after(before, Subject("keep-last", job, Request()), unknown, None, NOON)
    assert wanted_jobs(policy, after, NOON) == {}, "the same Job would be made again, which somebody deleted"


@pytest.mark.parametrize("answer", [None, replace_answer(DONE, outcome=Outcome.REFUSED)])
@pytest.mark.parametrize("newer", [{"hash": "d" * 64}, {"now": "2026-01-01T11:30:00Z"}])
def test_a_job_that_was_approved_before_leaves_a_plan_that_came_since(
    newer: dict[str, str], answer: Answer | None
) -> None:
    policy = a_policy(schedule="@daily", approve=HASH)
    ((job, request),) = wanted_jobs(policy, {"awaiting": awaiting()}, NOON).items()
    conclusion = Conclusion("Refused", "other rules", answer)
    fields = reports.after(
        {"awaiting": awaiting(**newer)},
        Subject("keep-last", job, request),
        ended(HOLDER, conclusion, NOON),
        conclusion,
        NOON,
    )
    assert "awaiting" not in fields
