"""Which Jobs policies want, and what each says that it is for."""

from datetime import timedelta
from typing import Any

import pytest

from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.reconcile.retention.policies import digest, read_policies
from regkeeper.reconcile.retention.requests import Action, Request, read_request
from regkeeper.reconcile.retention.wanted import due_name, wanted_jobs
from tests.retention_decisions import HASH, NOON, RULES, a_job, a_policy
from tests.retention_objects import retention_object


def test_one_run_for_each_change_of_what_a_policy_says() -> None:
    policy = a_policy()
    ((name, request),) = wanted_jobs(policy, {}, NOON).items()
    assert request == Request(policy=digest(policy))
    again = retention_object("keep-last", rules=RULES)
    again["metadata"]["generation"] = 3
    ((other, _),) = wanted_jobs(ImageRetention.model_validate(again), {"policyRun": "between"}, NOON).items()
    assert name != other, "the Job of before would be taken for that of rules that came back"
    assert wanted_jobs(policy, {"policyRun": digest(policy)}, NOON) == {}
    assert wanted_jobs(a_policy(schedule="@daily"), {}, NOON) == {}
    assert wanted_jobs(a_policy(suspend=True), {}, NOON) == {}


def test_when_and_how_is_no_change_of_what_a_policy_says() -> None:
    same: list[dict[str, Any]] = [
        {},
        {"approve": HASH},
        {"undo": {"run": "20260101T000000Z"}},
        {"history": 9},
        {"startTimeout": "9m"},
    ]
    assert len({digest(a_policy(**spec)) for spec in same}) == 1
    other: list[dict[str, Any]] = [
        {},
        {"dryRun": True},
        {"undoWindow": "1h"},
        {"mode": "Offline"},
        {"garbage": {"deleteAfter": "1h"}},
    ]
    assert len({digest(a_policy(**spec)) for spec in other}) == len(other)


def test_an_undo_is_asked_for_once_and_again_after_another() -> None:
    policy = a_policy(schedule="@daily", undo={"run": "20260101T000000Z"})
    ((first, request),) = wanted_jobs(policy, {}, NOON).items()
    assert request == Request(action=Action.RESTORE, run="20260101T000000Z")
    assert wanted_jobs(policy, {"undone": {"run": "20260101T000000Z", "uid": "1"}}, NOON) == {}
    ((second, _),) = wanted_jobs(policy, {"undone": {"run": "20260102T000000Z", "uid": "2"}}, NOON).items()
    assert first != second
    forget = a_policy(schedule="@daily", undo={"run": "20260101T000000Z", "forget": True})
    ((_, request),) = wanted_jobs(forget, {"undone": {"run": "20260101T000000Z", "uid": "1"}}, NOON).items()
    assert request.forget


@pytest.mark.parametrize(
    "request_", [Request(), Request(approved=HASH, policy="x"), Request(Action.RESTORE, run="a", forget=True)]
)
def test_a_job_says_what_it_is_for(request_: Request) -> None:
    assert read_request(a_job("j", request=request_)) == request_


def test_what_means_nothing_is_told_from_what_does() -> None:
    good = retention_object("good", rules=RULES)
    bad = retention_object("bad", rules=[{"name": "r", "keep": {"semver": {"constraint": "no version"}}}])
    going = retention_object("going")
    going["metadata"]["deletionTimestamp"] = NOON.isoformat()
    policies = read_policies([good, bad, going])
    assert set(policies.valid) == {"good"}
    assert set(policies.bodies) == {"good", "bad"}
    assert "constraint" in policies.invalid["bad"]


def test_names_of_jobs_fit_whatever_the_names_of_what_they_are_for() -> None:
    longest = "r" * 52
    names = {
        due_name(longest, Action.RESCUE, NOON),
        due_name(longest, Action.PURGE, NOON),
        due_name(longest[:-1], Action.PURGE, NOON),
        due_name(longest, Action.PURGE, NOON + timedelta(hours=2)),
    }
    assert len(names) == 4
    assert max(map(len, names)) <= 63
