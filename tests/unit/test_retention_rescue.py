"""What came into use while a run deleted it is brought back, however often a Job for that fails."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from regkeeper import kube, naming
from regkeeper.answer import Answer, Deleted, Outcome
from regkeeper.reconcile.retention.outcome import FIRST_RESCUE_AGAIN, LAST_RESCUE_AGAIN
from regkeeper.reconcile.retention.requests import Action, Request, claim_of, read_request, retention_of
from regkeeper.resources.lease import Lock, Quiet, Rescue, Stage
from tests.registry_objects import registry_object
from tests.retention_objects import retention_object
from tests.retention_passes import DONE, HOLDER, KEY, NOON, RetentionPasses, a_pod, a_stranger, use

DELETED = msgspec.structs.replace(
    DONE, run="20260101T120000Z", deleted=Deleted(tags=1), quarantined=9, purge_due="2026-01-02T12:00:00Z"
)
OWED = Rescue("keep-last", NOON, NOON)
RULES = [{"name": "all", "keep": {"last": 2}}]
QUOTA = kube.ForbiddenError("exceeded quota: jobs", code=403, reason="Forbidden")


def rescuers(bench: RetentionPasses) -> list[kube.Object]:
    """Jobs that are to bring something back."""
    jobs = [body for (kind, _), body in bench.cluster.objects.items() if kind == "Job"]
    return [job for job in jobs if read_request(job).action is Action.RESCUE]


def owing(rescue: Rescue = OWED) -> RetentionPasses:
    """No run is under way, and something has to be looked for."""
    bench = RetentionPasses(HOLDER)
    bench.store.remove(bench.cluster.objects.pop(("Job", "job")))
    bench.write_lock(Lock(rescue=rescue))
    return bench


def end(bench: RetentionPasses, answer: Answer | None) -> str:
    """The Job that has the lock ends; its name."""
    holder = bench.lock.holder
    assert holder is not None
    job = bench.cluster.objects["Job", holder.job]
    # It had come as far as a run comes.
    running = replace(holder, stage=Stage.RUNNING, quiet=Quiet.READ_ONLY, quiet_since=bench.now)
    bench.write_lock(replace(bench.lock, holder=running))
    pod = a_pod(answer)
    pod["metadata"] |= {"name": f"{holder.job}-x", "ownerReferences": [{"kind": "Job", "uid": holder.uid}]}
    bench.put(pod)
    conditions = [{"type": "Complete" if answer else "Failed", "status": "True"}]
    held = {**job["metadata"], "finalizers": [naming.RUN_FINALIZER]}
    spec = {**job["spec"], "suspend": False}
    bench.put({**job, "metadata": held, "spec": spec, "status": {"conditions": conditions}})
    return holder.job


def said(bench: RetentionPasses) -> dict[str, str]:
    return {each["type"]: each["message"] for each in bench.status["conditions"]}


def events(bench: RetentionPasses) -> list[str]:
    reasons = [body["reason"] for (kind, _), body in bench.cluster.objects.items() if kind == "Event"]
    return [reason for reason in reasons if "BroughtBack" in reason]


@pytest.mark.parametrize("in_use", [True, False])
async def test_victims_of_a_run_whose_answer_is_lost_are_looked_after_at_once(*, in_use: bool) -> None:
    """retention.md: "a victim that came into use meanwhile is restored at once"; nobody knows what they are."""
    bench = RetentionPasses(HOLDER)
    bench.put(retention_object("keep-last", schedule="@daily", rules=RULES, protect={"inUse": in_use}))
    bench.finish(None)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Unknown"
    assert [retention_of(job) for job in rescuers(bench)] == (["keep-last"] if in_use else [])


async def test_two_answers_in_a_row_that_are_lost_are_both_repeated() -> None:
    bench = RetentionPasses(HOLDER, lock=Lock(unanswered=("earlier",)))
    bench.finish(None)
    await bench.reconciler.look(KEY)
    unanswered = [bench.lock.unanswered]
    end(bench, DONE)
    await bench.reconciler.look(KEY)
    unanswered.append(bench.lock.unanswered)
    assert unanswered == [("earlier", HOLDER.uid), (HOLDER.uid,)]


async def test_a_quota_that_takes_no_job_to_bring_something_back_holds_no_lock_and_is_outlasted() -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(DELETED)
    use(bench, "k8smaster:5000/app:v1")
    bench.cluster.refused["create Job"] = QUOTA
    with pytest.raises(kube.ForbiddenError, match="exceeded quota"):
        await bench.reconciler.look(KEY)
    assert not bench.is_held(), "pushes wait for it"
    assert bench.lock.rescue == OWED
    bench.cluster.refused.clear()
    await bench.reconciler.look(KEY)
    assert len(rescuers(bench)) == 1


@pytest.mark.parametrize(
    "answer",
    [Answer(outcome=Outcome.FAILED, message="no space left"), Answer(outcome=Outcome.REFUSED, message="busy"), None],
    ids=["failed", "refused by the engine", "killed"],
)
async def test_what_was_not_brought_back_is_tried_again_ever_more_seldom_until_it_is(answer: Answer | None) -> None:
    bench = owing()
    names, waits = [], []
    for _ in range(9):
        await bench.reconciler.look(KEY)
        names.append(end(bench, answer))
        await bench.reconciler.look(KEY)
        if bench.lock.holder is not None:
            end(bench, DELETED)  # the purge that puts back what a killed one left
            await bench.reconciler.look(KEY)
        assert bench.lock.holder is None
        assert bench.lock.rescue is not None
        assert f"Job {names[-1]}: " in said(bench)["Reconciling"]
        waits.append(bench.lock.rescue.due - bench.now)
        before = len(bench.cluster.objects)
        bench.now = bench.lock.rescue.due - timedelta(seconds=1)
        await bench.reconciler.look(KEY)
        assert len(bench.cluster.objects) == before, "it is not its time yet"
        bench.now = bench.lock.rescue.due
    assert waits[0] == FIRST_RESCUE_AGAIN
    assert waits == sorted(waits)
    assert waits[-1] == LAST_RESCUE_AGAIN
    assert len(set(names)) == len(names)
    assert set(events(bench)) == {"NotBroughtBack"}
    await bench.reconciler.look(KEY)
    end(bench, msgspec.structs.replace(DELETED, run=None, deleted=Deleted(), message="4 entries back"))
    await bench.reconciler.look(KEY)
    assert bench.lock.rescue is None
    assert "Reconciling" not in said(bench)
    assert "BroughtBack" in events(bench)


async def test_a_job_to_bring_something_back_that_the_gate_refuses_is_made_again_later_and_not_at_once() -> None:
    bench = owing()
    bench.cluster.put(a_stranger())
    await bench.reconciler.look(KEY)
    assert rescuers(bench) == []
    assert bench.lock.rescue is not None
    assert bench.lock.rescue.due == NOON + FIRST_RESCUE_AGAIN
    assert "Pod backup mounts" in said(bench)["Reconciling"]
    assert events(bench) == ["NotBroughtBack"]
    bench.cluster.objects.pop(("Pod", "backup"))
    bench.now += FIRST_RESCUE_AGAIN
    await bench.reconciler.look(KEY)
    assert len(rescuers(bench)) == 1


@pytest.mark.parametrize("lock", [Lock(purge_due=NOON), Lock(rescue=OWED)], ids=["purge", "rescue"])
@pytest.mark.parametrize("is_made", [False, True], ids=["paused before", "paused as its Job waits"])
async def test_what_is_due_while_the_registry_is_paused_is_done_as_soon_as_it_no_longer_is(
    lock: Lock, *, is_made: bool
) -> None:
    """It was put off each time, so that it waited for up to an hour after the pause."""
    bench = owing()
    bench.write_lock(lock)
    if is_made:
        bench.cluster.refused["patch Lease"] = kube.TransientError("not now", code=503)
        with pytest.raises(kube.TransientError):
            await bench.reconciler.look(KEY)
        bench.cluster.refused.clear()
    registry = bench.cluster.objects["Registry", "main"]
    paused = {**registry["metadata"], "annotations": {naming.PAUSED_ANNOTATION: "true"}}
    bench.registries.put(bench.cluster.put({**registry, "metadata": paused}))
    for _ in range(3):
        bench.now += timedelta(hours=1)
        await bench.reconciler.look(KEY)
        assert bench.lock == lock
        assert not [name for kind, name in bench.cluster.objects if kind == "Job"]
    bench.registries.put(bench.cluster.put(registry))
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is not None


@pytest.mark.parametrize(
    ("policies", "of"),
    [
        ({"keep-last": {}, "a": {}}, ["keep-last"]),
        ({"b": {}, "a": {}}, ["a"]),
        ({}, [""]),
        ({"keep-last": {"protect": {"inUse": False}}}, []),
        ({"keep-last": {}, "bad": {"delete": ["["]}}, []),
    ],
    ids=["its policy's", "of another", "the Registry's", "use matters to none", "not before all are valid"],
)
async def test_whose_job_brings_back_what_came_into_use(policies: dict[str, dict[str, Any]], of: list[str]) -> None:
    bench = owing()
    known = bench.cluster.objects.pop(("ImageRetention", "keep-last"))
    bench.store.remove(known)
    for name, spec in policies.items():
        bench.put(retention_object(name, schedule="@daily", rules=RULES, **spec))
    delay = await bench.reconciler.look(KEY)
    assert [retention_of(job) for job in rescuers(bench)] == of
    assert all(claim_of(job) == naming.claim_name(KEY.name) for job in rescuers(bench))
    if of:
        assert bench.lock.holder is not None, "its gate is open"
    else:
        assert bench.lock.rescue == OWED
        assert delay is None or delay > 1, "nothing is to be done every second"


async def test_what_came_into_use_is_looked_for_no_more_once_nothing_can_be_undone() -> None:
    """A purge asks by itself what is in use, just before it frees."""
    late = replace(OWED, due=NOON + timedelta(hours=1))
    bench = RetentionPasses(replace(HOLDER, retention="", action="purge"), lock=Lock(rescue=late))
    bench.finish(DONE)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.lock.rescue is None


@pytest.mark.parametrize("lock", [Lock(purge_due=NOON), Lock(rescue=OWED)], ids=["purge", "rescue"])
async def test_a_job_that_somebody_let_go_by_hand_is_made_again_for_what_is_due(lock: Lock) -> None:
    """It was told nothing, and failed; its name was taken for good, and nothing was brought back nor freed."""
    bench = owing()
    bench.write_lock(lock)
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is not None
    ((_, name),) = [(kind, name) for kind, name in bench.cluster.objects if kind == "Job"]
    made = bench.cluster.objects["Job", name]
    unheld = {key: value for key, value in made["metadata"].items() if key not in ("finalizers", "uid")}
    spec = {**made["spec"], "suspend": False}
    failed = {"conditions": [{"type": "Failed", "status": "True"}]}
    bench.put({**made, "metadata": unheld, "spec": spec, "status": failed})
    bench.write_lock(lock)
    await bench.reconciler.look(KEY)
    assert "status" not in bench.cluster.objects["Job", name]
    assert bench.lock.holder is not None
    assert bench.lock.holder.job == name


async def test_of_the_registrys_own_jobs_that_have_ended_one_stays() -> None:
    """No history keeps count of them: a purge a day was a Job and a pod a day, for ever."""
    bench = owing()
    for day in range(3):
        bench.now = NOON + timedelta(days=day)
        bench.write_lock(replace(bench.lock, purge_due=bench.now, rescue=None))
        await bench.reconciler.look(KEY)
        end(bench, DONE)
        await bench.reconciler.look(KEY)
        assert bench.lock.holder is None
    assert len([name for kind, name in bench.cluster.objects if kind == "Job"]) == 1


async def test_a_second_registry_on_a_volume_puts_nothing_off_that_is_due_there() -> None:
    """Its Jobs were refused, and what was due was put off with each, before the first Registry saw to it."""
    bench = owing()
    condition = {"type": "StorageReady", "status": "False", "reason": "VolumeInUse", "message": "first has it"}
    registry = bench.cluster.objects["Registry", KEY.name]
    bench.registries.put(bench.cluster.put({**registry, "status": {"conditions": [condition]}}))
    bench.write_lock(Lock(purge_due=NOON, rescue=OWED))
    delay = await bench.reconciler.look(KEY)
    assert bench.lock == Lock(purge_due=NOON, rescue=OWED)
    assert delay is None or delay > 1


async def test_of_jobs_that_wait_for_the_same_one_is_left() -> None:
    """Each run whose answer is lost makes a purge due at once; they piled up behind one another."""
    bench = owing()
    for action in (Action.PURGE, Action.RESCUE):
        for number in range(2):
            waiting = bench.job(suspend=True, **Request(action=action).annotations)
            waiting["metadata"]["name"] = f"{action}-{number}"
            bench.put(waiting)
    bench.write_lock(Lock(purge_due=NOON, rescue=OWED))
    await bench.reconciler.look(KEY)
    jobs = [body for (kind, _), body in bench.cluster.objects.items() if kind == "Job"]
    assert sorted(read_request(job).action for job in jobs) == [Action.PURGE, Action.RESCUE]


@pytest.mark.parametrize(
    ("modes", "quiet"),
    [(["Offline"], Quiet.OFFLINE), (["Offline", "ReadOnly"], Quiet.READ_ONLY), ([], Quiet.READ_ONLY)],
)
async def test_a_purge_stops_the_registry_where_all_policies_do(modes: list[str], quiet: Quiet) -> None:
    """The engine refuses a pull-through cache that is but read-only, and nothing of it was ever freed."""
    bench = owing()
    bench.store.remove(bench.cluster.objects.pop(("ImageRetention", "keep-last")))
    for mode in modes:
        bench.put(retention_object(mode.lower(), schedule="@daily", rules=RULES, mode=mode))
    registry = registry_object("main", storage={"size": "1Gi"}, readOnly=True)  # its runs go to the switch at once
    bench.registries.put(bench.cluster.put(registry))
    bench.write_lock(Lock(purge_due=NOON))
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is not None
    assert (bench.lock.holder.action, bench.lock.holder.quiet) == (Action.PURGE, quiet)
