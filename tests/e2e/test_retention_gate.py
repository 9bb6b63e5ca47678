"""Runs of ImageRetentions on a control plane: the gate from the lock to its release, and every fault at every write.

The pods' containers are played (tests/kubelet_stand_in.py); API server, Job and Deployment controllers are real.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from regkeeper import kube, naming
from regkeeper.answer import Answer, Deleted, Outcome
from regkeeper.errors import WaitingError
from regkeeper.plan_reading import PlanGoneError, read_plan
from regkeeper.reconcile.addresses import Prober
from regkeeper.reconcile.queue import Key
from regkeeper.resources.retention.lock import OVERDUE_SINCE, STAGE, Stage
from tests.e2e.directories import local, settings
from tests.e2e.faults import CrashError, Fault, FaultyCluster
from tests.e2e.one_operator import OneOperator
from tests.kubelet_stand_in import KubeletStandIn
from tests.registry_objects import registry_object
from tests.retention_objects import retention_object
from tests.waiting import wait_for_async

pytestmark = pytest.mark.control_plane

SOON = 60  # seconds; a run takes two
STEP = 1 if "REGKEEPER_CASES" in os.environ else 4
"""Between the writes that meet a fault: a run has thirty, and each is a run of its own."""
KEEP_TWO: dict[str, Any] = {
    "rules": [{"name": "all", "keep": {"last": 2}}],
    # What tests beside this one run comes into use meanwhile, and would be looked after by a second Job.
    "protect": {"inUse": False},
}

SWITCH = Answer(outcome=Outcome.SWITCH, hash="ab", deleted=Deleted(tags=3))
DONE = Answer(
    outcome=Outcome.DONE,
    message="3 tags deleted",
    run="20260101T000000Z",
    hash="ab",
    deleted=Deleted(tags=3, manifests=3, blobs=9, bytes=1000),
)


class Bench:
    """One Registry and its ImageRetentions, kept by operators that come and go."""

    def __init__(self, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober, key: Key) -> None:
        self.cluster = cluster
        """As an administrator has it, who plays everybody but the operator."""
        self.operators = operators
        """The same as the operator has it."""
        self.prober = prober
        self.key = key
        self.kubelet = KubeletStandIn(cluster, key.namespace, lambda _: (SWITCH, DONE))
        self.policy = "policy"
        self.later = timedelta()
        """How far this bench's clock is ahead."""
        self.image = settings(*key).image
        """Of the operator, and of its Jobs."""

    def operator(self, cluster: kube.Cluster) -> OneOperator:
        chosen = settings(*self.key).model_copy(update={"image": self.image})
        return OneOperator(cluster, self.prober, self.key.namespace, chosen, now=self.now)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.later

    async def make(self, policy: str = "policy", **spec: Any) -> None:
        await self.make_registry()
        await self.retain(policy, **spec)
        self.policy = policy

    async def make_registry(self) -> None:
        namespace, name = self.key
        await self.cluster.create(registry_object(name, namespace=namespace, storage=local(name)))

    async def retain(self, name: str = "policy", **spec: Any) -> None:
        body = retention_object(name, namespace=self.key.namespace, **spec)
        body["spec"]["registryRef"]["name"] = self.key.name
        await self.cluster.create(body)

    async def get(self, resource: kube.Resource, name: str) -> kube.Object | None:
        try:
            return await self.cluster.get(resource, self.key.namespace, name)
        except kube.NotFoundError:
            return None

    async def need(self, resource: kube.Resource, name: str) -> kube.Object:
        body = await self.get(resource, name)
        assert body is not None, f"{resource.kind} {name} is not there"
        return body

    async def status(self, name: str = "") -> dict[str, Any]:
        body = await self.get(kube.IMAGE_RETENTION, name or self.policy)
        status: dict[str, Any] = {} if body is None else body.get("status") or {}
        return status

    async def condition(self, kind: str, name: str = "") -> dict[str, Any]:
        listed = (await self.status(name)).get("conditions") or []
        found: dict[str, Any] = next((each for each in listed if each["type"] == kind), {})
        return found

    async def holder(self) -> str | None:
        body = await self.get(kube.LEASE, naming.lock_name(naming.claim_name(self.key.name)))
        return None if body is None else (body.get("spec") or {}).get("holderIdentity")

    async def stage(self) -> str | None:
        body = await self.get(kube.LEASE, naming.lock_name(naming.claim_name(self.key.name)))
        return None if body is None else (body["metadata"].get("annotations") or {}).get(STAGE)

    async def is_read_only(self) -> bool:
        body = await self.get(kube.CONFIG_MAP, naming.config_map_name(self.key.name))
        if body is None:
            return False
        config = yaml.safe_load(body["data"]["config.yml"])
        return bool(config["storage"]["maintenance"]["readonly"]["enabled"])

    async def shown(self, run: str) -> None:
        """Ask for the plan of a run as `regkeeper plan` does, and see its Job through. There are no logs here."""
        operator = self.operator(self.cluster)
        asking = asyncio.create_task(read_plan(self.cluster, self.key.namespace, self.policy, run, lambda _: None))
        try:
            while not asking.done():
                await self.work(operator)
        finally:
            await operator.close()
        await asking

    async def jobs(self) -> list[kube.Object]:
        """Those of this Registry's runs."""
        selector = f"{naming.REGISTRY_LABEL}={self.key.name}"
        return [job async for job in self.cluster.list(kube.JOB, self.key.namespace, label_selector=selector)]

    async def is_at_rest(self, outcome: str) -> bool:
        """A run ended so, and nothing of it is left but its Job and its outcome."""
        last = (await self.status()).get("lastRun") or {}
        snapshots = self.cluster.list(
            kube.CONFIG_MAP, self.key.namespace, label_selector=f"{naming.SNAPSHOT_LABEL}={self.key.name}"
        )
        return (
            last.get("outcome") == outcome
            and await self.holder() is None
            and not await self.is_read_only()
            and not [body async for body in snapshots if "data" in body or "binaryData" in body]
            and not [job for job in await self.jobs() if "finalizers" in job["metadata"]]
        )

    async def work(self, operator: OneOperator) -> None:
        """A pass, and whatever nodes do meanwhile; failures that the queue repeats are repeated."""
        with suppress(kube.ApiError, WaitingError):
            await operator.look_after_runs(self.key.name)
        await self.kubelet.step()

    async def settle(self, outcome: str) -> None:
        """Work, undisturbed, until a run has ended so."""
        operator = self.operator(self.operators)

        async def rests() -> bool:
            await self.work(operator)
            return await self.is_at_rest(outcome)

        try:
            await wait_for_async(rests, SOON, f"the outcome {outcome} of {self.key}")
        except AssertionError as error:
            error.add_note(json.dumps(await self.status(), indent=1))
            error.add_note(str(await self.holder()))
            error.add_note(json.dumps([job["metadata"] | job.get("status", {}) for job in await self.jobs()], indent=1))
            raise
        finally:
            await operator.close()

    async def change(self, spec: dict[str, Any], name: str = "policy") -> None:
        await self.cluster.patch(kube.IMAGE_RETENTION, self.key.namespace, name, {"spec": spec})

    async def run_now(self, name: str = "now") -> None:
        """As `kubectl create job --from=cronjob/policy` does."""
        cron_job = await self.need(kube.CRON_JOB, "policy")
        template = cron_job["spec"]["jobTemplate"]
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "policy", "uid": cron_job["metadata"]["uid"]}
        await self.cluster.create(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {
                    "name": name,
                    "namespace": self.key.namespace,
                    "labels": template["metadata"]["labels"],
                    "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
                    "ownerReferences": [{**owner, "controller": True}],
                },
                "spec": template["spec"],
            }
        )

    async def work_until_async(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Work, undisturbed, until something holds."""
        operator = self.operator(self.operators)

        async def holds() -> bool:
            await self.work(operator)
            return await condition()

        try:
            await wait_for_async(holds, SOON, f"{condition} of {self.key}")
        finally:
            await operator.close()

    async def work_until_stage(self, stage: Stage) -> None:
        """The same of a run."""

        async def has_come_to_it() -> bool:
            return await self.stage() == stage

        await self.work_until_async(has_come_to_it)

    async def work_until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """The same of the policy's status."""

        async def holds() -> bool:
            return condition(await self.status())

        await self.work_until_async(holds)

    async def work_until_writable(self) -> None:
        """The pass over the Registry that lifts read-only comes after the one that gives the lock free."""

        async def is_writable() -> bool:
            return not await self.is_read_only()

        await self.work_until_async(is_writable)

    async def pass_the_end_of_the_run(self) -> None:
        """Let the time pass after which a run that nobody sees any more is taken to have stopped."""
        self.later = timedelta(hours=1, minutes=1)

        async def is_overdue() -> bool:
            lock = await self.need(kube.LEASE, naming.lock_name(naming.claim_name(self.key.name)))
            return OVERDUE_SINCE in lock["metadata"]["annotations"]

        await self.work_until_async(is_overdue)
        self.later = timedelta(hours=1, minutes=3)

    async def work_until_free(self) -> None:
        async def is_free() -> bool:
            return await self.holder() is None and not [
                job for job in await self.jobs() if "finalizers" in job["metadata"]
            ]

        await self.work_until_async(is_free)

    async def has_no_job(self) -> bool:
        return not await self.jobs()

    async def is_to_purge(self) -> bool:
        return any(job["metadata"]["name"].startswith(f"{self.key.name}-purge-") for job in await self.jobs())

    async def pass_without_a_run(self) -> None:
        """Passes that make no Job."""
        before = {job["metadata"]["uid"] for job in await self.jobs()}
        operator = self.operator(self.operators)
        for _ in range(3):
            await self.work(operator)
        await operator.close()
        assert {job["metadata"]["uid"] for job in await self.jobs()} <= before

    async def disturbed(self, fault: Fault, at: int) -> bool:
        """Work until the write number `at` meets a fault; False if the run ended before."""
        faulty = FaultyCluster(self.operators, fault, at)
        operator = self.operator(faulty)

        async def is_met() -> bool:
            try:
                await self.work(operator)
            except CrashError:
                return True
            return len(faulty.writes) >= at or await self.is_at_rest("Done")

        try:
            await wait_for_async(is_met, SOON, lambda: f"write {at}: {faulty.writes}")
        finally:
            await operator.close()
        return len(faulty.writes) >= at


@pytest.fixture
def bench(cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober, local_namespace: str) -> Bench:
    return Bench(cluster, operators, prober, Key(local_namespace, "main"))


async def test_a_change_of_a_policy_is_carried_out_once(bench: Bench) -> None:
    await bench.make(**KEEP_TWO)
    await bench.settle("Done")
    status = await bench.status()
    assert status["lastRun"]["tagsDeleted"] == 3
    assert status["lastRun"]["run"] == "20260101T000000Z"
    assert [job["metadata"]["name"] for job in await bench.jobs()] == [status["lastRun"]["job"]]
    assert (await bench.condition("Ready"))["status"] == "True"
    assert [header["stage"] for header in bench.kubelet.told] == ["run"]


@pytest.mark.parametrize("fault", [Fault.CRASH_AFTER, Fault.CONFLICT])
async def test_every_fault_at_every_write_of_a_run_ends_in_the_same_state(
    fault: Fault, local_namespaces: list[str], cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober
) -> None:
    async def disturb(namespace: str, first: int, step: int) -> int:
        """Runs with the fault at each `step`th write, until one has no such write; that write's number."""
        at, disturbed = first, True
        while disturbed:
            bench = Bench(cluster, operators, prober, Key(namespace, f"write-{at}"))
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
    bench: Bench, answer: Answer, ready: str
) -> None:
    bench.kubelet.script = lambda _: (answer, None)
    await bench.make(**KEEP_TWO)
    await bench.settle(answer.outcome)
    deployment = await bench.need(kube.DEPLOYMENT, "main")
    assert deployment["metadata"]["generation"] == 1, "it was rolled out again"
    assert (await bench.condition("Ready"))["status"] == ready


async def test_an_approved_plan_runs_and_another_does_not(bench: Bench) -> None:
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


async def test_an_approval_ends_after_seven_days_and_with_a_change_of_the_rules(bench: Bench) -> None:
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


async def test_an_undo_is_carried_out_once_with_the_registry_read_only(bench: Bench) -> None:
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


async def test_a_purge_takes_place_when_the_window_ends_also_of_a_deleted_policy(bench: Bench) -> None:
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


async def test_a_stranger_on_the_volume_refuses_the_run_with_its_name(bench: Bench) -> None:
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *")
    await bench.pass_without_a_run()
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "backup", "namespace": bench.key.namespace},
        "spec": {
            "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": naming.claim_name("main")}}],
        },
    }
    await bench.cluster.create(stranger)
    await bench.run_now()
    await bench.settle("Refused")
    assert "Pod backup mounts" in (await bench.condition("Ready"))["message"]
    assert await bench.jobs() == []


async def test_a_run_that_would_stop_the_registry_of_its_own_image_is_refused(bench: Bench) -> None:
    host = f"main.{bench.key.namespace}.svc:5000"
    bench.image = f"{host}/regkeeper:1"
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *", mode="Offline")

    async def has_address() -> bool:
        status = (await bench.need(kube.REGISTRY, "main")).get("status") or {}
        return host in [address["host"] for address in status.get("addresses") or ()]

    await bench.work_until_async(has_address)
    await bench.run_now()
    await bench.settle("Refused")
    assert "comes from this very registry, which mode Offline stops" in (await bench.condition("Ready"))["message"]


async def test_an_invalid_policy_stops_the_runs_of_its_registry_with_its_name(bench: Bench) -> None:
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *")
    await bench.pass_without_a_run()
    await bench.retain("broken", rules=[{"name": "bad", "keep": {"semver": {"constraint": "no version"}}}])
    await bench.run_now()
    await bench.settle("Refused")
    assert "ImageRetention broken" in (await bench.condition("Ready"))["message"]
    assert (await bench.condition("Stalled", "broken"))["reason"] == "InvalidSpec"


async def test_of_several_waiting_jobs_of_one_policy_the_newest_runs_and_a_late_one_is_missed(bench: Bench) -> None:
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *", startingDeadline="1m")
    await bench.pass_without_a_run()
    await bench.run_now("older")
    bench.later = timedelta(minutes=2)
    await bench.settle("Missed")
    bench.later = timedelta()
    await bench.run_now("one")
    await bench.run_now("two")
    await bench.settle("Done")
    assert len(bench.kubelet.told) == 1


async def test_a_pod_that_does_not_start_ends_the_run(bench: Bench) -> None:
    await bench.make(**KEEP_TWO)
    bench.kubelet.idle = True
    await bench.work_until(lambda status: status.get("lastRun", {}).get("outcome") == "Running")
    await bench.pass_without_a_run()
    bench.later = timedelta(minutes=3)
    await bench.settle("Failed")
    assert "did not start within startTimeout" in (await bench.condition("Ready"))["message"]
    assert await bench.jobs() == []


@pytest.mark.parametrize(
    ("stage", "outcome", "says"),
    [(Stage.SWITCHING, "Failed", "Nothing was deleted"), (Stage.RUNNING, "Unknown", "the next run puts back")],
)
async def test_a_run_whose_job_is_deleted_in_the_middle_gives_the_registry_back(
    bench: Bench, stage: Stage, outcome: str, says: str
) -> None:
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.make(**KEEP_TWO)
    await bench.work_until_stage(stage)
    for job in await bench.jobs():
        await bench.cluster.delete(kube.JOB, bench.key.namespace, job["metadata"]["name"], uid=job["metadata"]["uid"])
    await bench.work_until_async(bench.has_no_job)
    if stage is Stage.RUNNING:
        # Its pod went without a word, so that only the end of its time says that it can change nothing more.
        assert await bench.holder() is not None
        await bench.pass_the_end_of_the_run()
        # No schedule brings a next run: a purge puts back what was deleted.
        bench.kubelet.script = lambda _: (SWITCH, Answer(outcome=Outcome.DONE, quarantined=0))
        await bench.work_until_async(bench.is_to_purge)
    await bench.settle(outcome)
    assert says in (await bench.condition("Ready"))["message"]


async def test_a_plan_whose_log_is_gone_is_read_by_a_job_while_pushes_go_on(bench: Bench) -> None:
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
    assert (await bench.status())["lastRun"] == before["lastRun"], "to read a plan is no run"


@pytest.mark.parametrize(("stage", "outcome"), [(Stage.SWITCHING, "Failed"), (Stage.RUNNING, "Unknown")])
async def test_a_run_whose_registry_is_deleted_ends_and_is_put_back_when_another_has_its_volume(
    bench: Bench, stage: Stage, outcome: str
) -> None:
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.make(**KEEP_TWO)
    await bench.work_until_stage(stage)
    registry = await bench.need(kube.REGISTRY, "main")
    await bench.cluster.delete(kube.REGISTRY, bench.key.namespace, "main", uid=registry["metadata"]["uid"])

    async def is_gone() -> bool:
        return await bench.get(kube.REGISTRY, "main") is None

    await bench.work_until_async(is_gone)
    if stage is Stage.RUNNING:
        # Nobody saw its pod stop.
        await bench.pass_the_end_of_the_run()
    await bench.work_until_free()
    last = (await bench.status())["lastRun"]
    assert last["outcome"] == outcome
    assert "its Registry is gone" in last["message"]
    assert (await bench.condition("Stalled"))["reason"] == "RegistryNotFound"
    await bench.work_until_async(bench.has_no_job)

    bench.kubelet.script = lambda _: (SWITCH, Answer(outcome=Outcome.DONE, quarantined=0))
    await bench.make_registry()
    if stage is Stage.RUNNING:
        await bench.work_until_async(bench.is_to_purge)
    await bench.settle(outcome)
    await bench.pass_without_a_run()


async def test_a_job_that_comes_in_the_middle_of_a_run_waits_for_its_turn(bench: Bench) -> None:
    """As one of the schedule does while one that was started by hand runs: `Forbid` is about the schedule's alone."""
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.make(**KEEP_TWO, schedule="0 0 1 1 *")
    await bench.pass_without_a_run()
    await bench.run_now("by-hand")
    await bench.work_until_stage(Stage.RUNNING)
    await bench.run_now("by-schedule")
    await bench.pass_without_a_run()
    assert (await bench.need(kube.JOB, "by-schedule"))["spec"]["suspend"]
    bench.kubelet.script = lambda _: (SWITCH, DONE)
    await bench.settle("Done")
    assert (await bench.status())["lastRun"]["job"] == "by-schedule"
    assert len(bench.kubelet.told) == 2
