"""Passes over a run that meets what does not pass by itself: its lock comes free all the same."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from regkeeper import kube, naming
from regkeeper.answer import Answer, Deleted, Outcome, encode
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.reconcile.retention.outcome import REPEATED_AFTER
from regkeeper.reconcile.retention.reconciler import TROUBLED_SECONDS
from regkeeper.resources.lease import Lock, Quiet, Stage
from regkeeper.resources.retention import snapshot_part
from regkeeper.snapshot import Part
from tests.registry_objects import registry_object
from tests.retention_objects import retention_object
from tests.retention_passes import (
    CLAIM,
    DONE,
    HOLDER,
    KEY,
    NOON,
    RetentionPasses,
    a_claim,
    a_deployment,
    a_pod,
    a_stranger,
)


async def test_a_status_that_is_not_taken_holds_no_lock() -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(DONE)
    bench.cluster.refused["status ImageRetention"] = kube.InvalidError("status.undone.outcome", code=422)
    with pytest.raises(kube.InvalidError):
        # The next write of the status in the same pass.
        await bench.reconciler.look(KEY)
    assert not bench.is_held()


@pytest.mark.parametrize(
    "error",
    [
        kube.InvalidError("field is immutable when `immutable` is set", code=422, reason="Invalid"),
        kube.ForbiddenError("a webhook forbids it", code=403, reason="Forbidden"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("refused", ["apply ConfigMap", "status ImageRetention"])
async def test_what_refuses_the_last_words_of_a_run_for_good_holds_no_lock(error: kube.ApiError, refused: str) -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(DONE)
    ours = {"apiVersion": "regkeeper.dev/v1alpha1", "kind": "Registry", "name": KEY.name, "controller": True}
    metadata = {
        "name": naming.snapshot_name(KEY.name, 0),
        "labels": {naming.SNAPSHOT_LABEL: KEY.name, naming.REGISTRY_LABEL: KEY.name},
        "ownerReferences": [ours | {"uid": bench.cluster.objects["Registry", KEY.name]["metadata"]["uid"]}],
    }
    bench.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    bench.cluster.refused[refused] = error
    with suppress(type(error)):
        # The next write of the status in the same pass.
        await bench.reconciler.look(KEY)
    assert not bench.is_held()


async def test_a_run_whose_answer_the_status_refuses_is_not_adopted_after_its_end() -> None:
    bench = RetentionPasses(HOLDER)
    status = {"lastRun": {"job": "job", "uid": "job-uid", "outcome": "Running", "message": ""}}
    bench.put({**bench.cluster.objects["ImageRetention", "keep-last"], "status": status})
    bench.finish(msgspec.structs.replace(DONE, undo_until="2026-01-02T12:00:00Z"))
    write, patches = bench.cluster.patch_status, list[str]()

    async def strict(resource: kube.Resource, _namespace: str | None, name: str, body: kube.Object) -> kube.Object:
        patches.append(resource.kind)
        if (body["status"].get("lastRun") or {}).get("undoUntil") == "2026-01-02T12:00:00Z":
            raise kube.InvalidError("status.lastRun.undoUntil", code=422)
        return await write(resource, _namespace, name, body)

    bench.cluster.patch_status = strict  # type: ignore[method-assign]
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Done"
    assert patches.count("ImageRetention") <= 3


async def test_a_missed_job_that_cannot_be_removed_holds_up_no_other_policys_run() -> None:
    bench = RetentionPasses(HOLDER, pod=a_pod(None, phase="Running", running={}))
    rules = [{"name": "all", "keep": {"last": 2}}]
    bench.put(retention_object("other", rules=rules, schedule="@daily", startingDeadline="1m"))
    waiting = bench.job(suspend=True)
    waiting["metadata"] |= {
        "name": "other-1",
        "labels": {**waiting["metadata"]["labels"], naming.RETENTION_LABEL: "other"},
    }
    bench.put(waiting)
    bench.now += timedelta(minutes=2)
    bench.cluster.refused["delete Job"] = kube.ForbiddenError("a policy forbids it", code=403, reason="Forbidden")
    delay = await bench.reconciler.look(KEY)
    assert delay is not None
    assert delay <= TROUBLED_SECONDS
    bench.finish(DONE)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Done"
    told = bench.cluster.objects["ImageRetention", "other"]
    said = {each["type"]: each for each in told["status"]["conditions"]}
    assert (said["Ready"]["reason"], said["Ready"]["message"]) == ("Forbidden", "a policy forbids it")
    bench.now += timedelta(minutes=1)
    await bench.reconciler.look(KEY)
    assert bench.cluster.objects["ImageRetention", "other"] == told


async def test_a_run_of_which_the_status_takes_nothing_is_not_adopted_after_its_end() -> None:
    bench = RetentionPasses(HOLDER)
    status = {"lastRun": {"job": "job", "uid": "job-uid", "outcome": "Running", "message": ""}}
    bench.put({**bench.cluster.objects["ImageRetention", "keep-last"], "status": status})
    bench.finish(DONE)
    bench.cluster.refused["status ImageRetention"] = kube.InvalidError("status", code=422)
    with pytest.raises(kube.InvalidError):
        await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert not bench.cluster.objects["Job", "job"]["metadata"]["finalizers"]


async def test_a_status_that_is_not_taken_holds_no_lock_of_a_registry_that_is_gone() -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(DONE)
    bench.registries.remove(bench.cluster.objects["Registry", "main"])
    bench.cluster.refused["status ImageRetention"] = kube.InvalidError("lastRun", code=422)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()


@pytest.mark.parametrize(
    "error",
    [
        kube.ForbiddenError("a policy forbids it", code=403, reason="Forbidden"),
        kube.TransientError("a webhook does not answer", code=500),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_run_that_another_policys_trouble_does_not_concern_is_released(error: kube.ApiError) -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(DONE)
    bench.cluster.refused["apply CronJob"] = error
    if isinstance(error, kube.TransientError):
        with pytest.raises(kube.TransientError):
            await bench.reconciler.look(KEY)
    else:
        await bench.reconciler.look(KEY)
        assert bench.status["conditions"][0]["message"] == "a policy forbids it"
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Done"


@pytest.mark.parametrize("refused", ["patch CronJob", "status ImageRetention"])
@pytest.mark.parametrize("has_registry", [True, False])
async def test_an_invalid_policy_that_can_not_be_stopped_or_told_so_holds_no_lock_of_another(
    refused: str, has_registry: bool
) -> None:
    bench = RetentionPasses(replace(HOLDER, retention="gone"))
    bench.finish(DONE)
    bench.put(retention_object("keep-last", rules=[{"name": "bad", "keep": {"semver": {"constraint": "none"}}}]))
    cron_job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "keep-last"}, "spec": {}}
    bench.put(cron_job)
    bench.cluster.refused[refused] = kube.ForbiddenError("a policy forbids it", code=403, reason="Forbidden")
    if not has_registry:
        bench.registries.remove(bench.cluster.objects["Registry", "main"])
    assert await bench.reconciler.look(KEY) == TROUBLED_SECONDS
    assert not bench.is_held()
    if refused == "patch CronJob":
        assert {each["type"]: each["reason"] for each in bench.status["conditions"]}["Stalled"] == "InvalidSpec"
    else:
        assert bench.cluster.objects["CronJob", "keep-last"]["spec"]["suspend"]


async def test_a_job_that_can_never_be_let_go_keeps_the_registry_quiet_no_longer_than_its_start_may_take() -> None:
    bench = RetentionPasses(replace(HOLDER, stage=Stage.PREPARING))
    bench.cluster.refused["apply ConfigMap"] = kube.ForbiddenError("exceeded quota", code=403, reason="Forbidden")
    bench.now = NOON + timedelta(minutes=30)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Failed"
    assert "could not be let go within startTimeout" in bench.status["lastRun"]["message"]
    assert ("Job", "job") not in bench.cluster.objects, "it would be let in again"


async def test_a_job_that_was_let_go_without_our_knowing_is_not_taken_for_one_that_never_began() -> None:
    bench = RetentionPasses(replace(HOLDER, stage=Stage.PREPARING), pod=a_pod(None, phase="Running", running={}))
    bench.cluster.put(bench.job(suspend=False))  # its watch event does not come
    bench.now = NOON + timedelta(minutes=30)
    with suppress(kube.ConflictError):
        await bench.reconciler.look(KEY)
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is not None
    assert (bench.lock.holder.stage, bench.lock.holder.aborted) == (Stage.RUNNING, "")


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_job_that_was_let_go_without_our_knowing_and_is_to_end_is_waited_for(*, is_there: bool) -> None:
    """It may delete by now; the answer to the write that let it go was lost, and its watch event has not come yet."""
    bench = RetentionPasses(replace(HOLDER, stage=Stage.PREPARING))
    bench.cluster.put(bench.job(suspend=False))
    if is_there:
        bench.put(retention_object("other", rules=[{"name": "bad", "keep": {"semver": {"constraint": "none"}}}]))
    else:
        bench.registries.remove(bench.cluster.objects["Registry", "main"])
    with suppress(kube.ConflictError):
        await bench.reconciler.look(KEY)
    await bench.reconciler.look(KEY)
    assert bench.is_held(), "the registry would take pushes"
    assert bench.cluster.objects["Job", "job"]["spec"]["suspend"], "which ends its pod"
    bench.put(a_pod(None, phase="Failed"))
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Unknown"


async def test_what_is_told_of_a_run_is_told_once_though_its_end_is_repeated_and_holds_no_lock_beyond_its_time() -> (
    None
):
    bench = RetentionPasses(HOLDER)
    deleted = Answer(outcome=Outcome.DONE, run="20260101T120000Z", deleted=Deleted(tags=1), texts=["one"], warnings=1)
    bench.finish(deleted)
    registry = Registry.model_validate(bench.cluster.objects["Registry", "main"])
    bench.cluster.put(snapshot_part(registry, 0, Part("of a run", b"")))
    bench.cluster.refused["apply ConfigMap"] = kube.TransientError("failed calling webhook", code=500)
    for _ in range(3):
        with suppress(kube.TransientError):
            await bench.reconciler.look(KEY)
    assert bench.status["lastRun"]["warnings"] == ["one"]
    assert bench.is_held()
    bench.now = HOLDER.end
    with suppress(kube.TransientError):  # the run after it can't be told anything
        await bench.reconciler.look(KEY)
    assert not bench.is_held()


WRONG = [{"name": "REGISTRY_STORAGE_DELETE_ENABLED", "value": "false"}]


@pytest.mark.parametrize("stage", [Stage.SWITCHING, Stage.RUNNING])
async def test_a_registry_whose_configuration_is_wrong_by_now_holds_no_lock(stage: Stage) -> None:
    """How long its pods took to be replaced can't be said then, and the run was never ended."""
    bench = RetentionPasses(replace(HOLDER, stage=stage), pod=a_pod(None, phase="Running", running={}))
    alone = a_deployment()
    alone["spec"]["strategy"] = {"type": "Recreate"}
    bench.registries.put(bench.cluster.put(alone))
    wrong = registry_object("main", storage={"size": "1Gi"}, extraEnv=WRONG)
    bench.registries.put(bench.cluster.put({**bench.cluster.objects["Registry", "main"], "spec": wrong["spec"]}))
    await bench.reconciler.look(KEY)
    if stage is Stage.RUNNING:
        bench.finish(DONE)
        await bench.reconciler.look(KEY)
    assert not bench.is_held()
    last = bench.status["lastRun"]
    assert last["outcome"] == ("Failed" if stage is Stage.SWITCHING else "Done")
    assert ("REGISTRY_STORAGE_DELETE_ENABLED" in last["message"]) == (stage is Stage.SWITCHING)


async def test_a_strangers_config_map_holds_no_lock() -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(DONE)
    labels = {naming.SNAPSHOT_LABEL: KEY.name}
    name = naming.snapshot_name(KEY.name, 0)
    bench.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}})
    await bench.reconciler.look(KEY)
    assert not bench.is_held()


async def test_a_purge_that_is_refused_is_tried_again_later_and_not_at_once() -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(None)
    bench.write_lock(Lock(purge_due=NOON))
    bench.cluster.put(a_stranger())
    made: list[str] = []
    create = bench.cluster.create

    async def counted(body: kube.Object) -> kube.Object:
        made.append(body["kind"])
        return await create(body)

    bench.cluster.create = counted  # type: ignore[method-assign]
    await bench.reconciler.look(KEY)
    assert made.count("Job") == 1
    assert bench.lock.purge_due == NOON + REPEATED_AFTER


async def test_a_run_waits_for_a_pod_that_ends_and_has_the_volume() -> None:
    """Of a run whose Job was deleted, say. A change of a policy without a schedule is carried out by one Job alone."""
    bench = RetentionPasses(HOLDER)
    bench.finish(None)
    bench.write_lock(Lock())
    bench.put(bench.job(suspend=True))
    pod = a_stranger()
    pod["metadata"]["deletionTimestamp"] = NOON.isoformat()
    bench.cluster.put(pod)
    assert await bench.reconciler.look(KEY) is not None
    assert not bench.is_held()
    assert "Pod backup mounts" in str(bench.status["conditions"])
    bench.cluster.objects.pop(("Pod", "backup"))
    await bench.reconciler.look(KEY)
    assert bench.is_held()


@pytest.mark.parametrize("deadline", ["999999d", "99999999h"])
async def test_a_deadline_beyond_all_calendars_is_told_and_is_no_error_of_the_operator(deadline: str) -> None:
    bench = RetentionPasses(HOLDER)
    bench.write_lock(Lock())
    rules = [{"name": "all", "keep": {"last": 2}}]
    bench.put(retention_object("keep-last", schedule="@daily", rules=rules, activeDeadline=deadline))
    bench.put(bench.job(suspend=True))
    await bench.reconciler.look(KEY)
    reasons = {each["type"]: each["reason"] for each in bench.status["conditions"]}
    assert (bench.is_held(), reasons.get("Stalled")) == (
        (True, None) if deadline == "999999d" else (False, "InvalidSpec")
    )


QUOTA = kube.ForbiddenError("exceeded quota: jobs", code=403, reason="Forbidden")


async def test_a_purge_of_which_a_quota_takes_no_job_holds_up_none_that_waits_and_fills_it() -> None:
    bench = RetentionPasses(HOLDER)
    bench.write_lock(Lock(purge_due=NOON))
    bench.put(bench.job(suspend=True))
    bench.cluster.refused["create Job"] = QUOTA
    await bench.reconciler.look(KEY)
    assert bench.is_held()


async def test_a_purge_of_which_a_quota_takes_no_job_is_told_where_none_waits() -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(DONE)
    bench.write_lock(Lock(purge_due=NOON))
    bench.cluster.refused["create Job"] = QUOTA
    with pytest.raises(kube.ForbiddenError, match="exceeded quota"):
        await bench.reconciler.look(KEY)
    assert bench.lock.purge_due == NOON


async def test_what_keeps_a_run_from_beginning_keeps_pushes_waiting_no_longer_than_its_start_may_take() -> None:
    bench = RetentionPasses(replace(HOLDER, stage=Stage.TELLING), pod=a_pod(None, phase="Running", running={}))
    bench.cluster.refused["apply ConfigMap"] = kube.ForbiddenError("exceeded quota", code=403, reason="Forbidden")
    bench.now = NOON + timedelta(seconds=119)
    with pytest.raises(kube.ForbiddenError):
        await bench.reconciler.look(KEY)
    assert not bench.aborted()
    bench.now = NOON + timedelta(seconds=121)
    await bench.reconciler.look(KEY)
    assert bench.aborted() == "it could not begin within startTimeout: exceeded quota"
    assert bench.cluster.objects["Job", "job"]["spec"]["suspend"], "which makes the Job controller end its pod"


async def test_a_policy_that_is_gone_before_its_run_was_let_go_gives_the_lock_back() -> None:
    bench = RetentionPasses(replace(HOLDER, stage=Stage.PREPARING, quiet=None, quiet_since=None, retention="other"))
    bench.put(
        bench.job(suspend=True)
        | {
            "metadata": {
                **bench.job(suspend=True)["metadata"],
                "labels": {naming.REGISTRY_LABEL: KEY.name, naming.RETENTION_LABEL: "other"},
            }
        }
    )
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert ("Job", "job") not in bench.cluster.objects


NODE: kube.Object = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "k8sworker1", "labels": {"kubernetes.io/hostname": "worker-1"}},
}


@pytest.mark.parametrize(("modes", "node"), [(["ReadWriteOnce"], "worker-1"), (["ReadWriteMany"], "")])
async def test_a_run_keeps_the_registry_at_its_node_where_the_volume_is_attached_to_one(
    modes: list[str], node: str
) -> None:
    pod = a_pod(None)
    pod["status"]["initContainerStatuses"] = [
        {
            "name": "plan",
            "state": {"terminated": {"exitCode": 0, "message": encode(Answer(outcome=Outcome.SWITCH)).decode()}},
        }
    ]
    pod["status"]["containerStatuses"] = [{"name": "run", "state": {"running": {}}}]
    bench = RetentionPasses(replace(HOLDER, stage=Stage.PLANNING, quiet=None, quiet_since=None), pod=pod)
    bench.cluster.put(NODE)
    claim = a_claim()
    claim["spec"]["accessModes"] = modes
    bench.registries.put(bench.cluster.put(claim))
    await bench.reconciler.look(KEY)
    holder = bench.lock.holder
    assert holder is not None
    assert (holder.stage, holder.quiet, holder.node) == (Stage.SWITCHING, Quiet.READ_ONLY, node)
    assert bench.reconciler.holder(KEY, CLAIM) == holder
