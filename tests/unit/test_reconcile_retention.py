"""The decisions about runs that need no cluster: whose turn it is, what is wanted, what pods tell, what came of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace as replace_answer

from regkeeper import kube, naming
from regkeeper.answer import Answer, Deleted, Kept, Outcome, Previous, encode
from regkeeper.api.v1alpha1.retention import ImageRetention, Undone
from regkeeper.reconcile.retention import pods, reports
from regkeeper.reconcile.retention.outcome import REPEATED_AFTER, Conclusion, conclude, ended, purge_due, usage
from regkeeper.reconcile.retention.policies import digest, read_policies
from regkeeper.reconcile.retention.reports import Subject
from regkeeper.reconcile.retention.requests import Action, Request, read_request
from regkeeper.reconcile.retention.waiting import line_up
from regkeeper.reconcile.retention.wanted import purge_name, rescue_name, wanted_jobs
from regkeeper.resources.retention.lock import Holder, Quiet, Stage
from tests.retention_objects import retention_object

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HASH = "c" * 64
RULES = [{"name": "all", "keep": {"last": 2}}]


def a_policy(name: str = "keep-last", **spec: Any) -> ImageRetention:
    return ImageRetention.model_validate(retention_object(name, rules=RULES, **spec))


def a_job(
    name: str, *, minutes: int = 0, of: str = "keep-last", request: Request | None = None, **spec: Any
) -> kube.Object:
    created = NOON - timedelta(minutes=minutes)
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": created.isoformat(),
            "labels": {naming.RETENTION_LABEL: of},
            "annotations": {} if request is None else request.annotations,
        },
        "spec": {
            "suspend": True,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": 9,
            **spec,
        },
    }


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


def awaiting(**fields: Any) -> dict[str, Any]:
    now, expires = "2026-01-01T11:00:00Z", "2026-01-08T11:00:00Z"
    return {"hash": HASH, "now": now, "expires": expires, "limits": [], "tags": 3, "bytes": 1, **fields}


def test_only_the_plan_that_waits_is_carried_out_and_only_while_it_may() -> None:
    policy = a_policy(schedule="@daily", approve=HASH)
    ((_, request),) = wanted_jobs(policy, {"awaiting": awaiting()}, NOON).items()
    assert request.approved == HASH
    assert wanted_jobs(policy, {}, NOON) == {}
    assert wanted_jobs(policy, {"awaiting": awaiting(hash="d" * 64)}, NOON) == {}
    assert wanted_jobs(policy, {"awaiting": awaiting()}, NOON + timedelta(days=7)) == {}


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


HOLDER = Holder("uid", "job", "keep-last", "retain", NOON, NOON + timedelta(hours=1), Stage.RUNNING)


def a_pod(phase: str = "Running", *, node: str | None = "k8sworker1", **states: Any) -> kube.Object:
    """`plan` and `run` are states of containers, or answers that they ended with."""
    statuses: dict[str, list[Any]] = {"initContainerStatuses": [], "containerStatuses": []}
    for name, state in states.items():
        answered = isinstance(state, Answer) and {"exitCode": 0, "message": encode(state).decode()}
        statuses["initContainerStatuses" if name == "plan" else "containerStatuses"].append(
            {"name": name, "state": {"terminated": answered} if answered else state}
        )
    return {
        "metadata": {"name": "pod", "ownerReferences": [{"kind": "Job", "uid": "uid"}]},
        "spec": {"nodeName": node},
        "status": {"phase": phase, **statuses},
    }


SWITCH = Answer(outcome=Outcome.SWITCH)
DONE = Answer(
    outcome=Outcome.DONE,
    message="well",
    run="20260101T120000Z",
    kept=Kept(tags=5, reasons={"among the last 5": 5}),
    deleted=Deleted(tags=3, bytes=9),
)
KNOWS_NOTHING = Answer(outcome=Outcome.FAILED, message="no space left")
KILLED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
RUNNING: dict[str, Any] = {"running": {}}


@pytest.mark.parametrize(
    ("pod", "stopped"),
    [
        (a_pod("Succeeded", plan=SWITCH, run=DONE), True),
        (a_pod("Running", plan=SWITCH, run=RUNNING), False),
        (a_pod("Failed", plan=SWITCH, run=RUNNING), False),
        (a_pod("Pending"), False),
        (a_pod("Pending", node=None), True),
    ],
)
def test_a_phase_alone_is_no_proof_that_containers_have_stopped(pod: kube.Object, stopped: bool) -> None:
    assert pods.has_stopped(pod) is stopped


@pytest.mark.parametrize(
    ("holder", "pod", "outcome", "says"),
    [
        (HOLDER, a_pod("Succeeded", plan=SWITCH, run=DONE), "Done", "well"),
        (HOLDER, a_pod("Failed", plan=SWITCH, run=KILLED), "Unknown", "OOMKilled, exit code 137. What it deleted"),
        (replace(HOLDER, stage=Stage.PLANNING), a_pod("Failed", plan=KILLED), "Failed", "Nothing was deleted"),
        (HOLDER, a_pod("Succeeded", plan=SWITCH, run=SWITCH), "Unknown", "without an answer"),
        (replace(HOLDER, stage=Stage.SWITCHING, aborted="too slow"), None, "Failed", "too slow. Nothing was deleted"),
        (HOLDER, None, "Unknown", "its Job was deleted"),
        (
            replace(HOLDER, stage=Stage.PLANNING),
            a_pod("Succeeded", plan=Answer(outcome=Outcome.DRY_RUN), run=KILLED),
            "DryRun",
            "",
        ),
    ],
)
def test_what_became_of_a_run(holder: Holder, pod: kube.Object | None, outcome: str, says: str) -> None:
    conclusion = conclude(holder, None if pod is None else a_job("job"), pod)
    assert conclusion.outcome == outcome
    assert says in conclusion.message


def test_a_run_may_have_changed_something_as_soon_as_it_was_let_go_with_the_registry_quiet() -> None:
    """The operator may end between the write that lets it go and the one that says how far it has come."""
    preparing = replace(HOLDER, stage=Stage.PREPARING, quiet=Quiet.READ_ONLY, quiet_since=NOON, aborted="too slow")
    waiting, let_go = a_job("job"), a_job("job", suspend=False)
    let_go["metadata"]["finalizers"] = [naming.RUN_FINALIZER]
    assert not conclude(preparing, waiting, None).is_half_done
    assert conclude(preparing, let_go, a_pod("Failed", run=KILLED)).is_lost
    assert not conclude(replace(preparing, quiet=None), let_go, a_pod("Failed", plan=KILLED)).is_half_done


def test_an_answer_that_it_failed_leaves_somebody_to_put_back_what_was_moved() -> None:
    stopped = a_pod("Failed", plan=SWITCH, run=KNOWS_NOTHING)
    assert conclude(HOLDER, a_job("job"), stopped).is_half_done
    assert not conclude(replace(HOLDER, stage=Stage.SWITCHING), a_job("job"), stopped).is_half_done
    assert not conclude(HOLDER, a_job("job"), a_pod("Succeeded", plan=SWITCH, run=DONE)).is_half_done


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


def test_a_plan_that_waits_says_how_it_is_approved_and_ends_with_a_change_of_the_rules() -> None:
    policy = a_policy(schedule="@daily")
    fields = {"awaiting": awaiting(policy=digest(policy), limits=["75 % of the tags"])}
    assert reports.brought_up_to_date(fields, policy, NOON)["awaiting"] == fields["awaiting"]
    condition = reports.states(policy, fields, None)["AwaitingApproval"]
    assert "75 % of the tags" in condition.message
    assert "regkeeper approve keep-last" in condition.message
    assert reports.brought_up_to_date(fields, a_policy(dryRun=True), NOON) == {}
    assert "awaiting" not in reports.brought_up_to_date(fields, policy, NOON + timedelta(days=8))


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
    assert "20260101T110000Z, whose answer was lost, had ended so: Done: deleted 3 tags" in str(
        ended(HOLDER, Conclusion("Done", "", answer), NOON)["warnings"]
    )


def test_an_approval_whose_job_never_runs_is_used_up() -> None:
    refused = {"job": "j", "uid": "u", "outcome": "Refused", "message": "paused", "finished": "2026-01-01T12:00:00Z"}
    before = {"awaiting": awaiting()}
    policy = a_policy(schedule="@daily", approve=HASH)
    ((job, request),) = wanted_jobs(policy, before, NOON).items()
    after = before | reports.after(before, Subject("keep-last", job, request), refused, None, NOON)
    assert wanted_jobs(policy, after, NOON) == {}
    other = reports.after(before, Subject("keep-last", "j", Request()), refused, None, NOON)
    assert "awaiting" not in other, "another run's plan may be approved"


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


LATER, PASSED = NOON + timedelta(hours=2), NOON - timedelta(minutes=1)
PURGE = replace(HOLDER, retention="", action=Action.PURGE)


@pytest.mark.parametrize(
    ("holder", "conclusion", "before", "due"),
    [
        (HOLDER, Conclusion("Unknown", "", is_half_done=True), None, NOON),
        (HOLDER, Conclusion("Unknown", "", is_half_done=True), LATER, NOON),
        (PURGE, Conclusion("Unknown", "", is_half_done=True), PASSED, NOON + REPEATED_AFTER),
        (HOLDER, Conclusion("Failed", "", KNOWS_NOTHING, is_half_done=True), LATER, NOON),
        (HOLDER, Conclusion("Failed", "", KNOWS_NOTHING), LATER, LATER),
        (HOLDER, Conclusion("Failed", ""), LATER, LATER),
        (HOLDER, Conclusion("Done", "", Answer(outcome=Outcome.DONE, quarantined=0)), LATER, None),
        (
            HOLDER,
            Conclusion("Done", "", Answer(outcome=Outcome.DONE, quarantined=9, purge_due=LATER.isoformat())),
            None,
            LATER,
        ),
        (
            PURGE,
            Conclusion("Done", "", Answer(outcome=Outcome.DONE, quarantined=9, purge_due=PASSED.isoformat())),
            PASSED,
            NOON + REPEATED_AFTER,
        ),
        (PURGE, Conclusion("Failed", "", KNOWS_NOTHING), PASSED, NOON + REPEATED_AFTER),
        # A window that ended while the run was under way: nobody has tried yet.
        (
            replace(HOLDER, since=PASSED - timedelta(minutes=1)),
            Conclusion("Done", "", Answer(outcome=Outcome.DONE, quarantined=9, purge_due=PASSED.isoformat())),
            None,
            PASSED,
        ),
    ],
)
def test_when_the_next_purge_is_due(
    holder: Holder, conclusion: Conclusion, before: datetime | None, due: datetime | None
) -> None:
    assert purge_due(before, holder, conclusion, NOON) == due


def test_an_answer_that_an_error_made_leaves_when_a_purge_is_due() -> None:
    run = ended(HOLDER, Conclusion("Failed", "", KNOWS_NOTHING), NOON)
    subject = Subject("keep-last", "job", Request())
    assert "purgeDue" not in reports.after({}, subject, run, Conclusion("Failed", "", KNOWS_NOTHING), NOON)


def mounting(name: str, *, read_only: bool = False, phase: str = "Running", **metadata: Any) -> kube.Object:
    return {
        "metadata": {"name": name, **metadata},
        "spec": {
            "containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": read_only}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "main-storage"}}],
        },
        "status": {"phase": phase},
    }


def test_who_may_write_to_the_volume() -> None:
    found = [mounting("a"), mounting("b", read_only=True), mounting("c", phase="Succeeded"), mounting("d")]
    assert pods.writers(found, "main-storage", may=lambda pod: pod["metadata"]["name"] == "d") == ["a"]
    assert pods.writers(found, "other", may=lambda _: False) == []


def test_a_volume_is_where_a_pod_has_it_not_where_one_had_it() -> None:
    evicted, ends, lives = a_pod("Failed", node="a"), a_pod(node="b"), a_pod(node="c")
    ends["metadata"]["deletionTimestamp"] = NOON.isoformat()
    assert pods.last_to_hold([evicted, ends, lives]) is lives
    assert pods.last_to_hold([evicted, ends, a_pod("Pending", node=None)]) is ends
    assert pods.last_to_hold([evicted]) is None


def test_labels_alone_make_no_pod_a_registrys() -> None:
    labels = {**naming.selector_labels("main"), "pod-template-hash": "5d9"}
    owner = {"kind": "ReplicaSet", "name": "main-5d9", "controller": True, "uid": "x"}
    assert pods.is_of_registry(mounting("main-5d9-x", labels=labels, ownerReferences=[owner]), "main")
    assert not pods.is_of_registry(mounting("main-5d9-y", labels=labels), "main")
    stranger = {**owner, "name": "other-5d9"}
    assert not pods.is_of_registry(mounting("main-5d9-z", labels=labels, ownerReferences=[stranger]), "main")


def test_a_registry_tells_what_its_volume_holds_and_keeps_what_a_purge_does_not_know() -> None:
    waits = Answer(outcome=Outcome.DRY_RUN, used=90, quarantined=7, reclaimable=40)
    after_plan = usage({}, Conclusion("DryRun", "", waits), NOON)
    expected = {"used": 90, "quarantined": 7, "reclaimable": 40, "measured": "2026-01-01T12:00:00Z"}
    assert after_plan == expected
    purged = Answer(outcome=Outcome.DONE, used=90, quarantined=0)
    assert usage(after_plan, Conclusion("Done", "", purged), NOON) == {**expected, "quarantined": 0}
    assert usage(after_plan, Conclusion("Failed", "", KNOWS_NOTHING), NOON) is None
    assert usage(after_plan, Conclusion("Unknown", ""), NOON) is None


def test_names_of_jobs_fit_whatever_the_names_of_what_they_are_for() -> None:
    longest = "r" * 52
    names = {
        rescue_name(longest, HOLDER.uid),
        purge_name(longest, NOON),
        purge_name(longest[:-1], NOON),
        purge_name(longest, LATER),
    }
    assert len(names) == 4
    assert max(map(len, names)) <= 63
