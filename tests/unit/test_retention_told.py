"""What runs are told, and what statuses tell of them."""

import json
from base64 import b64decode
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from regkeeper import naming
from regkeeper.answer import Deleted, Outcome, Previous
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.reconcile.retention.requests import Action, Request
from regkeeper.resources.config import config_file
from regkeeper.resources.lease import Lock, Quiet, Stage
from regkeeper.snapshot import Part, decode
from tests.registry_objects import registry_object
from tests.retention_objects import retention_object
from tests.retention_passes import (
    DONE,
    HOLDER,
    KEY,
    NOON,
    RetentionPasses,
    a_deployment,
    a_pod,
    a_registry_pod,
    rescues,
)

EARLIER = {"uid": "earlier", "outcome": "Done", "message": "", "run": "20260101T000000Z"}


async def test_a_registry_whose_names_are_not_known_is_waited_for_and_ends_a_run_that_has_begun() -> None:
    narrowed = retention_object("keep-last", schedule="@daily", protect={"hosts": ["mirror.example"]})
    begun = RetentionPasses(replace(HOLDER, stage=Stage.TELLING), pod=a_pod(None, phase="Running", running={}))
    begun.put(narrowed)
    await begun.reconciler.look(KEY)
    assert "no address of type ClusterIP" in (begun.aborted() or "")
    waiting = RetentionPasses(HOLDER)
    waiting.write_lock(Lock())
    waiting.put(narrowed)
    waiting.put(waiting.job(suspend=True))
    await waiting.reconciler.look(KEY)
    assert waiting.lock.holder is None
    assert "no address of type ClusterIP" in json.dumps(waiting.status["conditions"])


@pytest.mark.parametrize("host", ["k8sworker1:30500", "k8sworker2:30500"])
async def test_mode_offline_stops_no_registry_from_which_its_job_is_pulled_by_whatever_node(host: str) -> None:
    bench = RetentionPasses(HOLDER)
    bench.write_lock(Lock())
    bench.put(retention_object("keep-last", schedule="@daily", mode="Offline"))
    addresses = [{"type": "NodePort", "host": "k8sworker1:30500"}]
    registry = registry_object("main", storage={"size": "1Gi"}, access={"nodePort": {}})
    bench.registries.put(bench.cluster.put({**registry, "status": {"addresses": addresses}}))
    job = bench.job(suspend=True)
    job["spec"]["template"]["spec"]["containers"] = [{"name": "plan", "image": f"{host}/regkeeper:v1"}]
    bench.put(job)
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is None
    assert "comes from this very registry" in json.dumps(bench.status["conditions"])


@pytest.mark.parametrize("reason", ["VolumeInUse", "VolumeNotWritable"])
async def test_a_volume_that_is_anothers_or_of_which_files_are_roots_refuses_the_run_in_its_registrys_words(
    reason: str,
) -> None:
    bench = RetentionPasses(HOLDER)
    bench.write_lock(Lock())
    bench.put(bench.job(suspend=True))
    condition = {"type": "StorageReady", "status": "False", "reason": reason, "message": "chown -R 65532:65532 /data"}
    registry = bench.cluster.objects["Registry", KEY.name]
    bench.registries.put(bench.cluster.put({**registry, "status": {"conditions": [condition]}}))
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is None
    assert bench.status["lastRun"]["outcome"] == "Refused"
    assert bench.status["lastRun"]["message"] == "Registry main: chown -R 65532:65532 /data"
    assert ("Job", "job") not in bench.cluster.objects


async def test_a_run_is_told_of_all_other_policies_also_of_those_that_do_not_run() -> None:
    """retention.md: "the others only keep, suspended and dry-run ones included"."""
    bench = RetentionPasses(replace(HOLDER, stage=Stage.TELLING), pod=a_pod(None, phase="Running", running={}))
    for name, does_not in (("paused", "suspend"), ("trial", "dryRun")):
        spec: dict[str, Any] = {"schedule": "@daily", "rules": [{"name": "all", "keep": {"last": 9}}], does_not: True}
        bench.put(retention_object(name, **spec))
    await bench.reconciler.look(KEY)
    part = bench.cluster.objects["ConfigMap", naming.snapshot_name(KEY.name, 0)]
    told = decode([Part(part["data"]["header"], b64decode(part["binaryData"]["part"]))], HOLDER.uid)
    assert told is not None
    assert [other["metadata"]["name"] for other in told.others] == ["paused", "trial"]


async def test_a_purge_that_finishes_a_stopped_undo_tells_whoever_asked_for_it() -> None:
    """It is the Registry's, and the same undo is not made again: its policy said for ever that it failed."""
    bench = RetentionPasses(replace(HOLDER, retention="", action="purge"))
    undone = {"run": "20260101T000000Z", "uid": "u", "outcome": "Failed", "message": "SIGTERM"}
    bench.put({**bench.cluster.objects["ImageRetention", "keep-last"], "status": {"undone": undone}})
    bench.finish(msgspec.structs.replace(DONE, undone=["20260101T000000Z"]))
    await bench.reconciler.look(KEY)
    assert bench.status["undone"]["outcome"] == "Done"
    assert not bench.is_held()


async def test_a_purge_that_repeats_a_lost_answer_tells_the_policy_whose_run_it_was() -> None:
    """retention.md: "A lost answer is repeated by the next Job …; until then the outcome is Unknown". The next one is a
    purge, which the operator makes at once and which changes no policy's status otherwise.
    """
    bench = RetentionPasses(replace(HOLDER, retention="", action="purge"))
    lost = {"job": "earlier-job", "uid": "earlier", "outcome": "Unknown", "message": "?", "finished": NOON.isoformat()}
    mine = {**bench.cluster.objects["ImageRetention", "keep-last"], "status": {"lastRun": lost}}
    other = retention_object("other", schedule="@daily", rules=[{"name": "all", "keep": {"last": 2}}])
    for body in (mine, {**other, "status": {"lastRun": {**lost, "uid": "another"}}}):
        bench.put(body)
    said = Previous(
        job="earlier",
        outcome=Outcome.DONE,
        message="deleted 3 tags",
        run=EARLIER["run"],
        undo_until="2026-01-02T12:00:00Z",
        deleted=Deleted(tags=3),
    )
    bench.finish(msgspec.structs.replace(DONE, previous=said))
    await bench.reconciler.look(KEY)
    last = bench.status["lastRun"]
    assert (last["job"], last["outcome"], last["run"], last["tagsDeleted"]) == (
        "earlier-job",
        "Done",
        EARLIER["run"],
        3,
    )
    assert last["undoUntil"] == "2026-01-02T12:00:00Z"
    assert last["message"] == "deleted 3 tags (its answer was lost, and repeated later)"
    assert bench.status["lastSuccessfulRun"] == lost["finished"]
    assert {each["type"]: each["reason"] for each in bench.status["conditions"]}["Ready"] == "Done"
    assert bench.cluster.objects["ImageRetention", "other"]["status"]["lastRun"]["outcome"] == "Unknown"
    assert not bench.is_held()


async def test_a_registry_without_a_volume_has_no_runs() -> None:
    bench = RetentionPasses(HOLDER)
    bench.write_lock(Lock())
    bench.registries.put(bench.cluster.put(registry_object("main", storage={"ephemeral": {}})))
    await bench.reconciler.look(KEY)
    conditions = {each["type"]: each for each in bench.status["conditions"]}
    assert conditions["Stalled"]["reason"] == "StorageEphemeral"
    assert "make a Registry with storage.size" in conditions["Ready"]["message"]
    assert bench.lock.holder is None


async def test_a_policy_says_for_whom_its_job_waits_and_when_that_was_in_vain() -> None:
    """retention.md: "A Job still suspended after startingDeadline ends as missed", however long that run takes."""
    bench = RetentionPasses(HOLDER, pod=a_pod(None, phase="Running", running={}))
    spec: dict[str, Any] = {"schedule": "@daily", "startingDeadline": "1m"}
    for name, more in (("other", spec), ("keep-last", {**spec, "startingDeadline": "2m"})):
        bench.put(retention_object(name, rules=[{"name": "all", "keep": {"last": 2}}], **more))
        waiting = bench.job(suspend=True)
        labels = {naming.REGISTRY_LABEL: KEY.name, naming.RETENTION_LABEL: name}
        waiting["metadata"] |= {"name": f"{name}-1", "labels": labels}
        bench.put(waiting)
    assert await bench.reconciler.look(KEY) == 60
    other = bench.cluster.objects["ImageRetention", "other"]["status"]
    (said,) = [each for each in other["conditions"] if each["type"] == "Reconciling"]
    assert (said["reason"], said["message"]) == ("Queued", "Job other-1 waits: Job job has the volume.")
    bench.now += timedelta(minutes=3)
    await bench.reconciler.look(KEY)
    assert bench.cluster.objects["ImageRetention", "other"]["status"]["lastRun"]["outcome"] == "Missed"
    assert ("Job", "other-1") not in bench.cluster.objects
    assert bench.is_held()
    assert "lastRun" not in bench.status, "the run under way is what it is about"
    bench.finish(msgspec.structs.replace(DONE, run=EARLIER["run"], undo_until="2026-01-02T12:00:00Z"))
    await bench.reconciler.look(KEY)
    assert ("Job", "keep-last-1") not in bench.cluster.objects
    assert bench.status["lastRun"].items() >= {"outcome": "Done", "undoUntil": "2026-01-02T12:00:00Z"}.items()
    events = [body for (kind, _), body in bench.cluster.objects.items() if kind == "Event"]
    said = "Job keep-last-1: its startingDeadline passed before its turn came"
    assert ("keep-last", "RunMissed", said) in [
        (event["involvedObject"]["name"], event["reason"], event["message"]) for event in events
    ]


async def test_a_missed_approval_leaves_the_plan_that_a_run_before_it_has_made_since() -> None:
    """It waited while that run was under way, and its deadline passed meanwhile."""
    bench = RetentionPasses(replace(HOLDER, quiet=None, quiet_since=None, stage=Stage.PLANNING))
    late = bench.job(suspend=True, **Request(approved="c" * 64).annotations)
    late["metadata"]["name"] = "keep-last-approved"
    bench.put(late)
    spec: dict[str, Any] = {"schedule": "@daily", "startingDeadline": "1m", "approve": "c" * 64}
    bench.put(retention_object("keep-last", rules=[{"name": "all", "keep": {"last": 2}}], **spec))
    bench.now += timedelta(minutes=3)
    waits = {"outcome": Outcome.AWAITING_APPROVAL, "hash": "d" * 64, "now": NOON.isoformat(), "limits": ["too many"]}
    bench.finish(msgspec.structs.replace(DONE, **waits))
    await bench.reconciler.look(KEY)
    assert ("Job", "keep-last-approved") not in bench.cluster.objects
    assert bench.status["lastRun"]["outcome"] == "AwaitingApproval"
    assert bench.status["awaiting"]["hash"] == "d" * 64
    said = {each["type"]: each["message"] for each in bench.status["conditions"]}
    assert "regkeeper approve keep-last" in said["AwaitingApproval"]


async def test_nothing_of_an_earlier_run_is_told_as_of_the_last_one() -> None:
    """`regkeeper undo` without a name brings back what `lastRun.run` says."""
    bench = RetentionPasses(replace(HOLDER, quiet=None, quiet_since=None, stage=Stage.PLANNING))
    policy = bench.cluster.objects["ImageRetention", "keep-last"]
    more = {"job": "earlier", "undoUntil": "2026-01-02T00:00:00Z", "pushesWaited": "9s", "resumedAfter": "4s"}
    bench.put({**policy, "status": {"lastRun": {**EARLIER, **more}}})
    bench.finish(msgspec.structs.replace(DONE, outcome=Outcome.NOTHING_TO_DO))
    await bench.reconciler.look(KEY)
    last = bench.status["lastRun"]
    assert last["outcome"] == "NothingToDo"
    assert last.keys().isdisjoint({"run", "undoUntil", "pushesWaited", "resumedAfter"})


async def test_an_undo_that_forgets_nothing_is_not_made_again_after_one_that_did() -> None:
    bench = RetentionPasses(replace(HOLDER, action="restore"))
    policy = bench.cluster.objects["ImageRetention", "keep-last"]
    bench.put({**policy, "status": {"undone": {**EARLIER, "forget": True}}})
    bench.finish(DONE)
    undo = "20260102T000000Z"
    job = bench.job(suspend=False, **Request(action=Action.RESTORE, run=undo).annotations)
    bench.put({**bench.cluster.objects["Job", "job"], "metadata": job["metadata"]})
    await bench.reconciler.look(KEY)
    assert bench.status["undone"]["run"] == undo
    policy = bench.cluster.objects["ImageRetention", "keep-last"]
    bench.put({**policy, "spec": {**policy["spec"], "undo": {"run": undo}}})
    await bench.reconciler.look(KEY)
    assert rescues(bench) == []


async def test_an_approval_that_can_no_longer_be_given_is_not_asked_for_any_more() -> None:
    """retention.md: "It ends after 7 days", also where no schedule brings a pass."""
    bench = RetentionPasses(HOLDER)
    bench.finish(DONE)
    await bench.reconciler.look(KEY)
    expires = (NOON + timedelta(hours=2)).isoformat()
    awaiting = {"hash": "c" * 64, "now": NOON.isoformat(), "expires": expires, "tags": 9, "bytes": 9}
    policy = retention_object("keep-last", suspend=True, rules=[{"name": "all", "keep": {"last": 2}}])
    bench.put({**policy, "status": {"awaiting": awaiting}})
    delay = await bench.reconciler.look(KEY)
    assert "awaiting" in bench.status
    assert delay is not None
    bench.now += timedelta(seconds=delay)
    await bench.reconciler.look(KEY)
    assert "awaiting" not in bench.status


async def test_a_policy_that_became_invalid_meanwhile_tells_the_outcome_of_its_run() -> None:
    bench = RetentionPasses(HOLDER)
    bench.finish(DONE)
    bench.put(retention_object("keep-last", rules=[{"name": "bad", "keep": {"semver": {"constraint": "none"}}}]))
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Done"
    assert {each["type"]: each["reason"] for each in bench.status["conditions"]}["Stalled"] == "InvalidSpec"


def replace_pod(bench: RetentionPasses, *, read_only: bool, served: datetime) -> None:
    """Let the registry have one pod, which serves since then."""
    registry = Registry.model_validate(bench.cluster.objects["Registry", "main"])
    config = {naming.CONFIG_HASH_ANNOTATION: config_file(registry, read_only=read_only).digest}
    live, pod = a_deployment(), a_registry_pod(served)
    live["spec"]["strategy"] = {"type": "Recreate"}
    live["spec"]["template"]["metadata"]["annotations"] = pod["metadata"]["annotations"] = config
    counts = dict.fromkeys(("observedGeneration", "replicas", "updatedReplicas", "availableReplicas"), 1)
    for body in (live | {"status": counts}, pod):
        bench.registries.put(bench.cluster.put(body))


async def test_what_is_in_use_is_asked_for_once_the_registry_is_quiet_and_not_before() -> None:
    """retention.md: "read-only; **then** the snapshot"."""
    bench = RetentionPasses(replace(HOLDER, stage=Stage.SWITCHING), pod=a_pod(None, phase="Running", running={}))
    replace_pod(bench, read_only=False, served=NOON)
    for _ in range(2):
        await bench.reconciler.look(KEY)
    assert bench.stage() is Stage.SWITCHING
    assert ("ConfigMap", naming.snapshot_name(KEY.name, 0)) not in bench.cluster.objects
    replace_pod(bench, read_only=True, served=NOON)
    await bench.reconciler.look(KEY)
    assert bench.stage() is Stage.RUNNING
    part = bench.cluster.objects["ConfigMap", naming.snapshot_name(KEY.name, 0)]
    assert json.loads(part["data"]["header"])["stage"] == "run"


async def test_a_run_that_began_with_the_switch_is_not_told_to_plan_only_once_the_spec_wants_pushes_again() -> None:
    """`spec.readOnly` was taken back as its pods were being replaced: pushes waited to the end of the run, an hour."""
    bench = RetentionPasses(replace(HOLDER, stage=Stage.PREPARING))
    replace_pod(bench, read_only=True, served=NOON)
    bench.cluster.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "k8sworker1"}})
    await bench.reconciler.look(KEY)
    assert bench.stage() is Stage.RUNNING
    part = bench.cluster.objects["ConfigMap", naming.snapshot_name(KEY.name, 0)]
    assert json.loads(part["data"]["header"])["stage"] == "run"


async def test_how_long_pulls_and_pushes_waited_is_told_and_again_once_the_registry_serves_as_before() -> None:
    bench = RetentionPasses(HOLDER)
    replace_pod(bench, read_only=True, served=NOON + timedelta(seconds=4))
    bench.finish(DONE)
    bench.now = NOON + timedelta(seconds=20)
    await bench.reconciler.look(KEY)
    last = bench.status["lastRun"]
    assert (last["pushesWaited"], last["pullsWaited"]) == ("20s", "4s")
    assert "resumedAfter" not in last, "it is still read-only"
    replace_pod(bench, read_only=False, served=bench.now + timedelta(seconds=7))
    bench.now += timedelta(minutes=1)
    await bench.reconciler.look(KEY)
    assert bench.status["lastRun"] == {**last, "resumedAfter": "7s"}


@pytest.mark.parametrize(("quiet", "resumed"), [(Quiet.READ_ONLY, None), (Quiet.OFFLINE, "480s")])
async def test_a_registry_that_is_read_only_anyway_resumes_only_where_it_was_stopped(
    quiet: Quiet, resumed: str | None
) -> None:
    bench = RetentionPasses(replace(HOLDER, quiet=quiet))
    bench.registries.put(bench.cluster.put(registry_object("main", storage={"size": "1Gi"}, readOnly=True)))
    replace_pod(bench, read_only=True, served=NOON + timedelta(seconds=5))
    bench.finish(DONE)
    bench.now = NOON + timedelta(seconds=20)
    await bench.reconciler.look(KEY)
    last = bench.status["lastRun"]
    assert last.get("pullsWaited") == (None if resumed is None else "20s")
    replace_pod(bench, read_only=True, served=bench.now + timedelta(minutes=8))
    bench.now += timedelta(minutes=9)
    await bench.reconciler.look(KEY)
    assert bench.status["lastRun"].get("resumedAfter") == resumed


@pytest.mark.parametrize(("uid", "last", "undone"), [("job-uid", "Running", "Running"), ("x", "Unknown", "Failed")])
async def test_a_run_whose_lock_was_released_by_hand_is_not_told_to_run_for_ever(
    uid: str, last: str, undone: str
) -> None:
    bench = RetentionPasses(HOLDER, pod=a_pod(None, phase="Running", running={}))
    run = {"uid": uid, "outcome": "Running", "message": ""}
    status = {"lastRun": {**run, "job": "j"}, "undone": {**run, "run": EARLIER["run"]}}
    bench.put({**bench.cluster.objects["ImageRetention", "keep-last"], "status": status})
    await bench.reconciler.look(KEY)
    assert (bench.status["lastRun"]["outcome"], bench.status["undone"]["outcome"]) == (last, undone)
