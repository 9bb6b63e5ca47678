"""Runs of ImageRetentions on a control plane: the gate from the lock to its release, and every fault at every write."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from regkeeper import kube, naming
from regkeeper.answer import Answer, Deleted, Outcome
from regkeeper.commands.approve import approve_plan
from regkeeper.plan_reading import PlanGoneError
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.endpoints import Prober
from regkeeper.resources.lease import Stage
from regkeeper.sketch import name_of_tag, sketch
from tests.e2e.faults import Fault
from tests.e2e.retention_bench import DONE, KEEP_TWO, SWITCH, RetentionBench

pytestmark = pytest.mark.control_plane

ALL = "REGKEEPER_CASES" in os.environ
STEP = 1 if ALL else 4
"""Between the writes that meet a fault: a run has forty, and each is a run of its own."""
FAULTS = [Fault.CRASH_AFTER, Fault.CONFLICT, *([Fault.NO_ANSWER, Fault.TRANSIENT] if ALL else [])]
"""One takes two minutes at each write."""


async def test_a_change_of_a_policy_is_carried_out_once(bench: RetentionBench) -> None:
    await bench.make(**KEEP_TWO)
    await bench.settle("Done")
    status = await bench.status()
    assert status["lastRun"]["tagsDeleted"] == 3
    assert status["lastRun"]["run"] == "20260101T000000Z"
    assert [job["metadata"]["name"] for job in await bench.jobs()] == [status["lastRun"]["job"]]
    assert (await bench.condition("Ready"))["status"] == "True"
    assert [header["stage"] for header in bench.kubelet.told] == ["run"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_at_every_write_of_a_run_ends_in_the_same_state(
    fault: Fault, local_namespaces: list[str], cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober
) -> None:
    async def disturb(namespace: str, first: int, step: int) -> int:
        """Runs with the fault at each `step`th write, until one has no such write; that write's number."""
        at, disturbed = first, True
        while disturbed:
            bench = RetentionBench(cluster, operators, prober, Key(namespace, f"write-{at}"))
            await bench.make(policy=f"policy-{at}", **KEEP_TWO)
            disturbed = await bench.disturbed(fault, at)
            await bench.settle("Done")
            assert len(bench.kubelet.told) == 1, f"{fault} at write {at}: the run took place more than once"
            assert (await bench.condition("Ready"))["reason"] == "Done"
            assert await bench.condition("Reconciling") == {}
            at += step
        return at - step

    # A run mostly waits for controllers, and each namespace has a kubelet of its own.
    beside = len(local_namespaces)
    ends = await asyncio.gather(
        *(disturb(namespace, 1 + STEP * lane, STEP * beside) for lane, namespace in enumerate(local_namespaces))
    )
    assert min(ends) > 15, "fewer writes than a run has: this test no longer sees them"


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (Answer(outcome=Outcome.NOTHING_TO_DO), "True"),
        (Answer(outcome=Outcome.DRY_RUN, deleted=Deleted(tags=3)), "True"),
        (Answer(outcome=Outcome.REFUSED, message="half of the repositories are gone"), "False"),
        (Answer(outcome=Outcome.FAILED, message="no space left"), "False"),
    ],
    ids=lambda value: getattr(value, "outcome", value),
)
async def test_a_plan_that_deletes_nothing_never_switches_the_registry(
    bench: RetentionBench, answer: Answer, ready: str
) -> None:
    bench.kubelet.script = lambda _: (answer, None)
    await bench.make(**KEEP_TWO)
    await bench.settle(answer.outcome)
    deployment = await bench.need(kube.DEPLOYMENT, "main")
    assert deployment["metadata"]["generation"] == 1, "it was rolled out again"
    assert (await bench.condition("Ready"))["status"] == ready


async def test_an_approved_plan_runs_and_another_does_not(bench: RetentionBench) -> None:
    waits = Answer(
        outcome=Outcome.AWAITING_APPROVAL,
        hash="c" * 64,
        now="2026-01-01T00:00:00Z",
        limits=["75 % of the tags would go"],
        deleted=Deleted(tags=15, bytes=100),
    )
    bench.kubelet.script = lambda _: (waits, None)
    await bench.make(**KEEP_TWO)
    await bench.settle("AwaitingApproval")
    assert (await bench.status())["awaiting"]["hash"] == waits.hash
    assert "regkeeper approve policy" in (await bench.condition("AwaitingApproval"))["message"]
    bench.kubelet.script = lambda _: (SWITCH, DONE)
    await bench.change({"approve": "d" * 64})
    await bench.pass_without_a_run()
    await bench.change({"approve": waits.hash})
    await bench.settle("Done")
    status = await bench.status()
    assert "awaiting" not in status
    assert await bench.condition("AwaitingApproval") == {}
    assert len(await bench.jobs()) == 2


async def test_a_later_plan_of_the_same_hash_waits_until_it_is_approved_too(bench: RetentionBench) -> None:
    """By hand, and by the command, which has to take the earlier approval back first."""
    waits = Answer(outcome=Outcome.AWAITING_APPROVAL, hash="c" * 64, now="2026-01-01T00:00:00Z", limits=["too many"])

    async def wait_for_an_approval(hour: int) -> None:
        plan = msgspec.structs.replace(waits, now=f"2026-01-01T{hour:02}:00:00Z")
        bench.kubelet.script = lambda _: (plan, None)
        await bench.run_now(f"at-{hour}")
        await bench.settle("AwaitingApproval")
        await bench.pass_without_a_run()
        bench.kubelet.script = lambda _: (SWITCH, DONE)

    bench.kubelet.script = lambda _: (waits, None)
    await bench.make(**KEEP_TWO)
    await bench.settle("AwaitingApproval")
    bench.kubelet.script = lambda _: (SWITCH, DONE)
    await bench.change({"approve": waits.hash})
    await bench.settle("Done")
    await wait_for_an_approval(1)
    await bench.change({"approve": None})
    await bench.pass_without_a_run()
    await bench.change({"approve": waits.hash})
    await bench.settle("Done")
    await wait_for_an_approval(2)
    async with asyncio.TaskGroup() as group:
        group.create_task(approve_plan(bench.cluster, bench.key.namespace, "policy", waits.hash))
        await bench.work_until(lambda status: "approved" not in status)
    await bench.settle("Done")


async def test_an_approval_ends_after_seven_days_and_with_a_change_of_the_rules(bench: RetentionBench) -> None:
    waits = Answer(outcome=Outcome.AWAITING_APPROVAL, hash="c" * 64, now="2026-01-01T00:00:00Z", limits=["too many"])
    bench.kubelet.script = lambda _: (waits, None)
    await bench.make(**KEEP_TWO)
    await bench.settle("AwaitingApproval")
    bench.later = timedelta(days=7, minutes=1)
    await bench.pass_without_a_run()
    assert "awaiting" not in await bench.status()
    await bench.change({"approve": waits.hash})
    await bench.pass_without_a_run()
    bench.later = timedelta()
    await bench.change({"rules": [{"name": "all", "keep": {"last": 3}}], "approve": None})
    await bench.settle("AwaitingApproval")
    bench.kubelet.script = lambda _: (Answer(outcome=Outcome.NOTHING_TO_DO), None)
    await bench.change({"rules": [{"name": "all", "keep": {"last": 4}}], "approve": waits.hash})
    await bench.settle("NothingToDo")
    assert "awaiting" not in await bench.status()


async def test_a_plan_of_the_schedule_waits_until_it_is_approved_or_the_rules_change(bench: RetentionBench) -> None:
    """No Job that the schedule makes names its policy's digest, and the API server fills in an empty one: such a plan
    could be approved for no moment.
    """
    waits = Answer(outcome=Outcome.AWAITING_APPROVAL, hash="c" * 64, now="2026-01-01T00:00:00Z", limits=["too many"])
    bench.kubelet.script = lambda _: (waits, None)
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *")
    await bench.pass_without_a_run()
    await bench.run_now()
    await bench.settle("AwaitingApproval")
    await bench.pass_without_a_run()
    assert (await bench.status())["awaiting"]["hash"] == waits.hash
    await bench.change({"suspend": True})
    await bench.pass_without_a_run()
    assert "awaiting" in await bench.status()
    await bench.change({"rules": [{"name": "all", "keep": {"last": 3}}], "approve": waits.hash})
    await bench.pass_without_a_run()
    assert "awaiting" not in await bench.status()


async def test_an_undo_is_carried_out_once_with_the_registry_read_only(bench: RetentionBench) -> None:
    await bench.make(**KEEP_TWO)
    await bench.settle("Done")
    back = Answer(outcome=Outcome.DONE, message="3 tags are back", run="20260101T000000Z")
    bench.kubelet.script = lambda _: (SWITCH, back)
    bench.kubelet.told.clear()
    await bench.change({"undo": {"run": "20260101T000000Z"}})
    await bench.work_until(lambda status: status.get("undone", {}).get("outcome") == "Done")
    await bench.settle("Done")
    assert [header["stage"] for header in bench.kubelet.told] == ["run"]
    assert len(await bench.jobs()) == 2
    await bench.pass_without_a_run()


async def test_a_purge_takes_place_when_the_window_ends_also_of_a_deleted_policy(bench: RetentionBench) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    deleted = Answer(outcome=Outcome.DONE, run="20260101T000000Z", quarantined=9, purge_due=due.isoformat())
    bench.kubelet.script = lambda _: (SWITCH, deleted)
    await bench.make(**KEEP_TWO)
    await bench.settle("Done")
    policy = await bench.need(kube.IMAGE_RETENTION, "policy")
    await bench.cluster.delete(kube.IMAGE_RETENTION, bench.key.namespace, "policy", uid=policy["metadata"]["uid"])
    bench.kubelet.script = lambda _: (SWITCH, Answer(outcome=Outcome.DONE, quarantined=0))
    bench.kubelet.told.clear()
    await bench.pass_without_a_run()
    bench.later = timedelta(hours=1, minutes=1)
    await bench.work_until(lambda _: bool(bench.kubelet.told))
    await bench.work_until_free()
    await bench.work_until_writable()
    await bench.pass_without_a_run()


async def test_a_plan_whose_log_is_gone_is_read_by_a_job_while_pushes_go_on(bench: RetentionBench) -> None:
    await bench.make(**KEEP_TWO)
    await bench.settle("Done")
    (done,) = await bench.jobs()
    await bench.cluster.delete(kube.JOB, bench.key.namespace, done["metadata"]["name"], uid=done["metadata"]["uid"])
    await bench.work_until_async(bench.has_no_job)
    generation = (await bench.need(kube.DEPLOYMENT, "main"))["metadata"]["generation"]
    before = await bench.status()
    gone = Answer(outcome=Outcome.REFUSED, message="the plan of run 20250101T000000Z is not kept any more")
    bench.kubelet.script = lambda _: (gone, None)
    with pytest.raises(PlanGoneError, match="is not kept any more"):
        await bench.shown("20250101T000000Z")
    await bench.work_until_free()
    assert await bench.jobs() == []
    assert (await bench.need(kube.DEPLOYMENT, "main"))["metadata"]["generation"] == generation, "it was rolled out"
    assert (await bench.status())["lastRun"]["uid"] == before["lastRun"]["uid"], "to read a plan is no run"


async def test_what_goes_while_it_comes_into_use_is_brought_back_at_once_and_nothing_else_is_looked_for(
    bench: RetentionBench,
) -> None:
    """retention.md: "After the run the operator asks again: a victim that came into use meanwhile is restored"."""
    went = msgspec.structs.replace(DONE, touched=sketch([name_of_tag("app", "v1")]))
    back = Answer(outcome=Outcome.DONE, message="4 entries back")

    def script(pod: kube.Object) -> tuple[Answer, Answer | None]:
        return SWITCH, back if pod["metadata"]["labels"]["job-name"] in rescues else answer

    rescues: list[str] = []
    answer: Answer | None = None
    bench.kubelet.script = script
    await bench.make(rules=KEEP_TWO["rules"], schedule="0 0 1 1 *")
    await bench.pass_without_a_run()
    for image, warnings in (("x.example/app:v2", 0), ("x.example/app:v1", 1)):
        answer = None
        job = f"run-{warnings}"
        await bench.run_now(job)
        await bench.work_until_stage(Stage.RUNNING)
        await bench.use(image)
        answer = went

        async def is_over(job: str = job, warnings: int = warnings) -> bool:
            known = {each["metadata"]["name"] for each in await bench.jobs()}
            rescues[:] = known - {"run-0", "run-1"}
            last = (await bench.status())["lastRun"]
            told = len(last.get("warnings", ()))
            return (last["job"], last["outcome"], told) == (job, "Done", warnings) and await bench.holder() is None

        await bench.work_until_async(is_over)
        assert len(rescues) == warnings
    assert "4 entries back" in (await bench.status())["lastRun"]["warnings"][0]


async def test_a_registry_whose_pods_somebody_else_counts_gets_as_many_back_as_it_had(bench: RetentionBench) -> None:
    """retention.md: "scaled to zero, the count remembered and given back, to an HPA too"."""
    namespace = bench.key.namespace
    bench.claim = "shared"
    common: dict[str, Any] = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    claimed = {"claimRef": {"namespace": namespace, "name": "shared"}, "nfs": {"server": "x", "path": "/x"}}
    volume: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-shared", "labels": {naming.REGISTRY_NAMESPACE_LABEL: namespace}},
        "spec": {**common, **claimed, "capacity": {"storage": "1Gi"}},
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "shared", "namespace": namespace},
        "spec": {**common, "volumeName": f"{namespace}-shared", "resources": {"requests": {"storage": "1Gi"}}},
    }
    made = await bench.cluster.create(volume)
    await bench.cluster.create(claim)
    try:
        bench.kubelet.script = lambda _: (SWITCH, None)
        await bench.make_registry(storage={"existingClaim": bench.claim})
        await bench.retain(**KEEP_TWO, mode="Offline", schedule="0 0 1 1 *")
        await bench.pass_without_a_run()

        async def replicas() -> int:
            return int((await bench.need(kube.DEPLOYMENT, "main"))["spec"]["replicas"])

        await bench.cluster.patch(kube.DEPLOYMENT, namespace, "main", {"spec": {"replicas": 3}})
        await bench.run_now()
        await bench.work_until_stage(Stage.RUNNING)
        assert await replicas() == 0
        bench.kubelet.script = lambda _: (SWITCH, DONE)
        await bench.settle("Done")

        async def has_its_pods() -> bool:
            return await replicas() == 3

        await bench.work_until_async(has_its_pods)
    finally:
        await bench.cluster.delete(kube.VOLUME, None, volume["metadata"]["name"], uid=made["metadata"]["uid"])
