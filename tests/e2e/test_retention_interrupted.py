"""Runs of ImageRetentions on a control plane that are cut off: the registry is given back, and the status says why."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.answer import Answer, Outcome
from regkeeper.reconcile.job_life import is_finished
from regkeeper.resources.lease import Stage
from tests.cluster import Cluster
from tests.e2e.faults import Fault
from tests.e2e.retention_bench import DONE, KEEP_TWO, SOON, SWITCH, RetentionBench
from tests.waiting import wait_for_async

pytestmark = pytest.mark.control_plane

Change = Callable[[RetentionBench, Cluster], Awaitable[None]]


async def leave_alone(*_: Any) -> None:
    """Nobody says anything."""


async def mount_in_vain(bench: RetentionBench, _: Cluster) -> None:
    """Say of a run's pod what kubelet says of a volume that can't be mounted. No status has it."""

    async def pods() -> list[kube.Object]:
        return [pod async for pod in bench.cluster.list(kube.POD, bench.key.namespace, label_selector="job-name")]

    (pod,) = await wait_for_async(pods, SOON, "the pod of the run")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "of-kubelet", "namespace": bench.key.namespace},
        "involvedObject": {key: pod["metadata"][key] for key in ("namespace", "name", "uid")},
        "type": "Warning",
        "reason": "FailedMount",
        "message": "mount failed: exit status 32",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    await bench.cluster.create(event)


async def refuse_pods(bench: RetentionBench, control_plane: Cluster) -> None:
    """Let a quota refuse all further pods, and with that the run's, which is gone."""
    namespace = f"--namespace={bench.key.namespace}"
    control_plane.kubectl("create", "quota", "full", "--hard=pods=0", namespace)
    # Until its controller has seen it, pods are refused with "status unknown for quota".
    counted = "--for=jsonpath={.status.hard.pods}=0"
    control_plane.kubectl("wait", "quota/full", counted, f"--timeout={SOON}s", namespace)


async def await_the_refusal(bench: RetentionBench, _: Cluster) -> None:
    async def refusals() -> list[kube.Object]:
        events = bench.cluster.list(kube.EVENT, bench.key.namespace, field_selector="involvedObject.kind=Job")
        return [event async for event in events if event["reason"] == "FailedCreate"]

    await wait_for_async(refusals, SOON, "the Job controller to say that it can make no pod")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (leave_alone, mount_in_vain, "FailedMount: pod .*: mount failed: exit status 32"),
        (refuse_pods, await_the_refusal, "FailedCreate: job .*: .*exceeded quota: full"),
        (leave_alone, leave_alone, "kubelet has not started its containers"),
    ],
)
async def test_a_pod_that_does_not_start_ends_the_run_and_the_reason_is_told(
    bench: RetentionBench, control_plane: Cluster, before: Change, after: Change, says: str
) -> None:
    """retention.md: "ends the run and lifts read-only, with the scheduler's or kubelet's reason"."""
    await bench.make_registry()

    async def has_its_pod() -> bool:
        live = await bench.get(kube.DEPLOYMENT, "main")
        return live is not None and live.get("status", {}).get("availableReplicas") == 1

    await bench.work_until_async(has_its_pod)
    await before(bench, control_plane)
    bench.kubelet.idle = True
    await bench.retain(**KEEP_TWO)
    await bench.work_until(lambda status: status.get("lastRun", {}).get("outcome") == "Running")
    await bench.pass_without_a_run()
    await after(bench, control_plane)
    bench.later = timedelta(minutes=3)
    await bench.settle("Failed")
    message = (await bench.condition("Ready"))["message"]
    assert re.search(f"its pod did not start within startTimeout: {says}", message), message
    assert await bench.jobs() == []


@pytest.mark.parametrize(
    ("stage", "outcome", "says"),
    [(Stage.SWITCHING, "Failed", "Nothing was deleted"), (Stage.RUNNING, "Unknown", "the next run puts back")],
)
async def test_a_run_whose_job_is_deleted_in_the_middle_gives_the_registry_back(
    bench: RetentionBench, stage: Stage, outcome: str, says: str
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


async def test_a_job_that_is_deleted_as_soon_as_it_has_ended_is_held_until_its_outcome_is_told(
    bench: RetentionBench,
) -> None:
    """retention.md: "A finalizer holds the Job until its outcome is in status". With it go its pod and the answer."""
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.make(**KEEP_TWO)
    await bench.work_until_stage(Stage.RUNNING)
    bench.kubelet.script = lambda _: (SWITCH, DONE)

    async def has_ended() -> bool:
        await bench.kubelet.step()
        return all(map(is_finished, await bench.jobs()))

    await wait_for_async(has_ended, SOON, "the Job to end while no operator looks")
    (job,) = await bench.jobs()
    await bench.cluster.delete(kube.JOB, bench.key.namespace, job["metadata"]["name"], uid=job["metadata"]["uid"])
    await bench.settle("Done")
    assert (await bench.status())["lastRun"]["tagsDeleted"] == 3
    await bench.work_until_async(bench.has_no_job)


@pytest.mark.parametrize(("stage", "outcome"), [(Stage.SWITCHING, "Failed"), (Stage.RUNNING, "Unknown")])
async def test_a_run_whose_registry_is_deleted_ends_and_is_put_back_when_another_has_its_volume(
    bench: RetentionBench, stage: Stage, outcome: str
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


@pytest.mark.parametrize("mode", ["ReadOnly", "Offline"])
async def test_a_registry_that_is_paused_in_the_middle_of_a_run_is_given_back_all_the_same(
    bench: RetentionBench, mode: str
) -> None:
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.make(**KEEP_TWO, mode=mode)
    await bench.work_until_stage(Stage.RUNNING)
    await bench.pause()
    await bench.pass_without_a_run()
    assert f"It is {mode} for Job policy-" in (await bench.condition_of_registry("Paused"))["message"]
    bench.kubelet.script = lambda _: (SWITCH, DONE)
    await bench.settle("Done")

    async def serves_as_before() -> bool:
        return bool((await bench.need(kube.DEPLOYMENT, "main"))["spec"]["replicas"] == 1)

    await bench.work_until_async(serves_as_before)
    assert "for Job" not in (await bench.condition_of_registry("Paused"))["message"]
    service = await bench.need(kube.SERVICE, "main")
    await bench.cluster.delete(kube.SERVICE, bench.key.namespace, "main", uid=service["metadata"]["uid"])
    await bench.pass_without_a_run()
    assert await bench.get(kube.SERVICE, "main") is None, "nobody is to repair what somebody works on by hand"


@pytest.mark.parametrize("mode", ["ReadOnly", "Offline"])
@pytest.mark.parametrize("stage", [Stage.SWITCHING, Stage.RUNNING])
async def test_a_registry_whose_spec_can_not_be_carried_out_any_more_is_given_back_when_its_run_has_ended(
    bench: RetentionBench, mode: str, stage: Stage
) -> None:
    """What keeps its passes from going on knows nothing of the run, and may last for days."""
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.make(**KEEP_TWO, mode=mode)
    bench.kubelet.idle = True
    await bench.work_until_stage(Stage.PLANNING)
    before = (await bench.need(kube.DEPLOYMENT, "main"))["spec"]["template"]["spec"]
    bench.kubelet.idle = False
    await bench.work_until_stage(stage)
    if stage is Stage.SWITCHING:
        assert await bench.disturbed(Fault.CRASH_AFTER, 1)
    wrong = {"spec": {"extraEnv": [{"name": "REGISTRY_STORAGE_DELETE_ENABLED", "value": "false"}]}}
    await bench.cluster.patch(kube.REGISTRY, bench.key.namespace, "main", wrong)
    await bench.pass_without_a_run()
    bench.kubelet.script = lambda _: (SWITCH, DONE)
    await bench.settle("Done" if stage is Stage.RUNNING else "Failed")

    async def serves_as_before() -> bool:
        return bool((await bench.need(kube.DEPLOYMENT, "main"))["spec"]["replicas"] == 1)

    await bench.work_until_async(serves_as_before)
    assert (await bench.need(kube.DEPLOYMENT, "main"))["spec"]["template"]["spec"] == before
    await bench.cluster.patch(kube.REGISTRY, bench.key.namespace, "main", {"spec": {"extraEnv": None}})

    async def is_well() -> bool:
        registry = await bench.need(kube.REGISTRY, "main")
        return "Stalled" not in [each["type"] for each in registry["status"]["conditions"]]

    await bench.work_until_async(is_well)
    generation = (await bench.need(kube.DEPLOYMENT, "main"))["metadata"]["generation"]
    await bench.pass_without_a_run()
    assert (await bench.need(kube.DEPLOYMENT, "main"))["metadata"]["generation"] == generation


@pytest.mark.parametrize("replicas", [None, 2])
async def test_a_registry_that_is_stopped_stays_so_where_its_deployment_is_made_anew_or_its_replicas_are_left_to_others(
    bench: RetentionBench, replicas: int | None
) -> None:
    """retention.md: "or scaled to zero": with the default of one pod it would take pushes beside the run."""
    storage = {"size": "1Gi", "accessModes": ["ReadWriteMany"]}
    await bench.make_registry(storage=storage, **({} if replicas is None else {"replicas": replicas}))
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": bench.key.namespace},
        "spec": {
            "capacity": {"storage": storage["size"]},
            "accessModes": storage["accessModes"],
            "claimRef": {"namespace": bench.key.namespace, "name": bench.claim},
            "nfs": {"server": "nfs.example", "path": f"/{bench.key.namespace}"},
        },
    }
    made = await bench.cluster.create(volume)
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.retain(**KEEP_TWO, mode="Offline")
    await bench.work_until_stage(Stage.RUNNING)
    # It goes with its claim.
    await bench.cluster.delete(kube.VOLUME, None, bench.key.namespace, uid=made["metadata"]["uid"])
    live = await bench.need(kube.DEPLOYMENT, "main")
    generation = live["metadata"]["generation"]
    if replicas is None:
        await bench.cluster.delete(kube.DEPLOYMENT, bench.key.namespace, "main", uid=live["metadata"]["uid"])
        generation = 1
    else:
        await bench.cluster.patch(kube.REGISTRY, bench.key.namespace, "main", {"spec": {"replicas": None}})
    await bench.pass_without_a_run()
    live = await bench.need(kube.DEPLOYMENT, "main")
    assert (live["spec"]["replicas"], live["metadata"]["generation"]) == (0, generation), "for a moment it had a pod"
    bench.kubelet.script = lambda _: (SWITCH, DONE)
    await bench.settle("Done")

    async def serves() -> bool:
        return bool((await bench.need(kube.DEPLOYMENT, "main"))["spec"]["replicas"] == 1)

    await bench.work_until_async(serves)


async def test_a_registry_that_is_paused_as_it_is_switched_is_given_back(bench: RetentionBench) -> None:
    """The operator died with the write that switches it, which is one: nothing is ever switched by half."""
    await bench.make(**KEEP_TWO)
    await bench.work_until_stage(Stage.SWITCHING)
    assert await bench.disturbed(Fault.CRASH_AFTER, 1)
    assert await bench.is_read_only()
    await bench.pause()
    await bench.settle("Done")


async def test_a_registry_that_is_paused_before_the_switch_is_left_as_it_is(bench: RetentionBench) -> None:
    await bench.make(**KEEP_TWO)
    bench.kubelet.idle = True
    await bench.work_until_stage(Stage.PLANNING)
    generation = (await bench.need(kube.DEPLOYMENT, "main"))["metadata"]["generation"]
    await bench.pause()
    bench.kubelet.idle = False
    await bench.settle("Failed")
    assert "Registry main is paused: remove its annotation" in (await bench.condition("Ready"))["message"]
    assert (await bench.need(kube.DEPLOYMENT, "main"))["metadata"]["generation"] == generation


async def test_a_lock_is_released_by_hand_as_the_guide_says(bench: RetentionBench) -> None:
    """docs/guides/retention.md: "once no pod of a run is left, release the lock"."""
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.make(**KEEP_TWO)
    await bench.work_until_stage(Stage.RUNNING)
    for job in await bench.jobs():
        await bench.cluster.delete(kube.JOB, bench.key.namespace, job["metadata"]["name"], uid=job["metadata"]["uid"])
    await bench.work_until_async(bench.has_no_job)
    assert await bench.is_read_only()
    name = naming.lock_name(naming.claim_name("main"))
    await bench.cluster.patch(kube.LEASE, bench.key.namespace, name, {"spec": {"holderIdentity": None}})
    await bench.work_until_writable()
    await bench.work_until(lambda status: status["lastRun"]["outcome"] == "Unknown")
