"""Passes over a run that meets what does not pass by itself: its lock comes free all the same.

The API server is played, so that it can refuse one kind of write for good; tests/e2e/retention_bench.py has a real one.
"""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest

from regkeeper import kube, naming
from regkeeper.answer import Answer, Deleted, Outcome, encode
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.errors import BlockedError
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.retention.outcome import REPEATED_AFTER
from regkeeper.reconcile.retention.reconciler import TROUBLED_SECONDS, RetentionReconciler
from regkeeper.reconcile.retention.run import GONE_SECONDS, OVERDUE_SECONDS
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.resources.config import config_file
from regkeeper.resources.retention.lock import Holder, Lock, Quiet, Stage, lease, read_lock
from regkeeper.settings import Settings
from regkeeper.sketch import name_of_tag, sketch
from regkeeper.snapshot import Part, decode
from tests.registry_objects import registry_object
from tests.retention_objects import retention_object

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOLDER = Holder(
    "job-uid",
    "job",
    "keep-last",
    "retain",
    NOON,
    NOON + timedelta(hours=1),
    Stage.RUNNING,
    quiet=Quiet.READ_ONLY,
    quiet_since=NOON,
)
KEY = Key("images", "main")
CLAIM = naming.claim_name("main")
DONE = Answer(outcome=Outcome.DONE, message="well", quarantined=0)


def merged(there: Any, change: Any) -> Any:
    """RFC 7396."""
    if not isinstance(change, dict):
        return change
    after = dict(there) if isinstance(there, dict) else {}
    for key, value in change.items():
        after[key] = merged(after.get(key), value)
        if value is None:
            del after[key]
    return after


class PlayedCluster:
    """Objects, and the writes that are refused, as `patch Job`, each for good."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], kube.Object] = {}
        self.refused: dict[str, kube.ApiError] = {}
        self._version = 0

    def put(self, body: kube.Object) -> kube.Object:
        self._version += 1
        metadata = {"uid": f"{body['metadata']['name']}-uid", "generation": 1, **body["metadata"]}
        metadata |= {"namespace": KEY.namespace, "resourceVersion": str(self._version)}
        metadata.setdefault("creationTimestamp", NOON.isoformat())
        body = json.loads(json.dumps({**body, "metadata": metadata}))
        self.objects[body["kind"], metadata["name"]] = body
        return deepcopy(body)

    def _write(self, what: str, body: kube.Object) -> kube.Object:
        if what in self.refused:
            raise self.refused[what]
        return self.put(body)

    async def get(self, resource: kube.Resource, _namespace: str | None, name: str) -> kube.Object:
        try:
            return deepcopy(self.objects[resource.kind, name])
        except KeyError:
            raise kube.NotFoundError(name, code=404) from None

    async def list(self, resource: kube.Resource, *_: Any, **__: Any) -> AsyncIterator[kube.Object]:
        for (kind, _name), body in list(self.objects.items()):
            if kind == resource.kind:
                yield deepcopy(body)

    async def apply(self, body: kube.Object, *, force: bool) -> kube.Object:
        there = self.objects.get((body["kind"], body["metadata"]["name"]), {})
        return self._write(f"apply {body['kind']}", merged(there, body) if force else body)

    async def create(self, body: kube.Object) -> kube.Object:
        metadata = body["metadata"]
        if (body["kind"], metadata["name"]) in self.objects:
            raise kube.ConflictError(metadata["name"], code=409, reason="AlreadyExists")
        return self._write(f"create {body['kind']}", body)

    async def patch(self, resource: kube.Resource, _namespace: str | None, name: str, body: kube.Object) -> kube.Object:
        there = self.objects[resource.kind, name]
        version = there["metadata"]["resourceVersion"]
        if body["metadata"].get("resourceVersion", version) != version:
            raise kube.ConflictError(name, code=409, reason="Conflict")
        return self._write(f"patch {resource.kind}", merged(there, body))

    async def patch_status(
        self, resource: kube.Resource, _namespace: str | None, name: str, body: kube.Object
    ) -> kube.Object:
        return self._write(f"status {resource.kind}", merged(self.objects[resource.kind, name], body))

    async def delete(self, resource: kube.Resource, _namespace: str | None, name: str, *, uid: str) -> None:
        assert self.objects[resource.kind, name]["metadata"]["uid"] == uid
        del self.objects[resource.kind, name]


class Bench:
    """A Registry, its policy `keep-last`, the Job `job` and a lock that this Job has."""

    def __init__(self, holder: Holder, *, lock: Lock | None = None, pod: kube.Object | None = None) -> None:
        self.cluster = PlayedCluster()
        self.now = NOON
        self.store, self.registries = Store(), Store()
        lock = replace(lock or Lock(), holder=holder)
        spec: dict[str, Any] = {"rules": [{"name": "all", "keep": {"last": 2}}], "schedule": "@daily"}
        self.put(retention_object("keep-last", **spec))
        self.write_lock(lock)
        self.put(self.job(suspend=holder.stage is Stage.PREPARING))
        if pod is not None:
            self.put(pod)
        for body in (registry_object("main", storage={"size": "1Gi"}), a_deployment(), a_claim()):
            self.registries.put(self.cluster.put(body))
        self.reconciler = RetentionReconciler(
            cluster=cast(kube.Cluster, self.cluster),
            store=self.store,
            registries=self.registries,
            settings=Settings(),
            status=StatusWriter(cast(kube.Cluster, self.cluster), self.store, lambda: self.now),
            now=lambda: self.now,
            changed=lambda _: None,
        )

    def write_lock(self, lock: Lock) -> None:
        self.put(lease(lock, claim=CLAIM, namespace=KEY.namespace, registry=KEY.name))

    def put(self, body: kube.Object) -> None:
        self.store.put(self.cluster.put(body))

    @staticmethod
    def job(*, suspend: bool, **annotations: str) -> kube.Object:
        labels = {naming.REGISTRY_LABEL: KEY.name, naming.RETENTION_LABEL: "keep-last"}
        metadata: dict[str, Any] = {"name": "job", "labels": labels, "annotations": annotations}
        if not suspend:
            metadata["finalizers"] = [naming.RUN_FINALIZER]
        spec = {
            "suspend": suspend,
            "activeDeadlineSeconds": 3600,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
        }
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}

    @property
    def lock(self) -> Lock:
        return read_lock(self.cluster.objects["Lease", naming.lock_name(CLAIM)])

    def is_held(self) -> bool:
        """Whether the run has the lock, and not the purge that comes after one whose answer was lost."""
        return self.lock.holder is not None and self.lock.holder.uid == HOLDER.uid

    def aborted(self) -> str | None:
        return None if self.lock.holder is None else self.lock.holder.aborted

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.objects["ImageRetention", "keep-last"].get("status") or {}
        return status

    def finish(self, answer: Answer | None) -> None:
        """The Job's pod ends, and with it the Job."""
        self.put(a_pod(answer))
        conditions = [{"type": "Complete" if answer else "Failed", "status": "True"}]
        self.put({**self.job(suspend=False), "status": {"conditions": conditions}})


def a_claim() -> kube.Object:
    spec = {"accessModes": ["ReadWriteOnce"]}
    metadata = {"name": CLAIM, "labels": {naming.REGISTRY_LABEL: KEY.name}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec} | {
        "status": {"phase": "Bound"}
    }


def a_deployment() -> kube.Object:
    metadata = {"name": KEY.name, "labels": {naming.REGISTRY_LABEL: KEY.name}}
    spec = {"replicas": 1, "template": {"metadata": {}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec, "status": {}}


def a_pod(answer: Answer | None, *, phase: str = "Succeeded", **state: Any) -> kube.Object:
    ended = {"terminated": {"exitCode": 0, "message": "" if answer is None else encode(answer).decode()}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "pod",
            "labels": {naming.REGISTRY_LABEL: KEY.name, naming.RETENTION_LABEL: "keep-last"},
            "ownerReferences": [{"kind": "Job", "uid": "job-uid", "apiVersion": "batch/v1", "name": "job"}],
        },
        "spec": {"nodeName": "k8sworker1"},
        "status": {"phase": phase, "containerStatuses": [{"name": "run", "state": state or ended}]},
    }


async def test_a_status_that_is_not_taken_holds_no_lock() -> None:
    bench = Bench(HOLDER)
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
    bench = Bench(HOLDER)
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
    bench = Bench(HOLDER)
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


async def test_a_run_of_which_the_status_takes_nothing_is_not_adopted_after_its_end() -> None:
    bench = Bench(HOLDER)
    status = {"lastRun": {"job": "job", "uid": "job-uid", "outcome": "Running", "message": ""}}
    bench.put({**bench.cluster.objects["ImageRetention", "keep-last"], "status": status})
    bench.finish(DONE)
    bench.cluster.refused["status ImageRetention"] = kube.InvalidError("status", code=422)
    with pytest.raises(kube.InvalidError):
        await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert not bench.cluster.objects["Job", "job"]["metadata"]["finalizers"]


async def test_a_status_that_is_not_taken_holds_no_lock_of_a_registry_that_is_gone() -> None:
    bench = Bench(HOLDER)
    bench.finish(DONE)
    bench.registries.remove(bench.cluster.objects["Registry", "main"])
    bench.cluster.refused["status ImageRetention"] = kube.InvalidError("lastRun", code=422)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()


async def test_a_node_that_is_lost_holds_no_lock_beyond_the_end_of_the_run() -> None:
    bench = Bench(HOLDER, pod=a_pod(None, phase="Running", running={}))
    bench.now = HOLDER.end + timedelta(seconds=OVERDUE_SECONDS - 1)
    await bench.reconciler.look(KEY)
    assert not bench.aborted()
    bench.now = HOLDER.end + timedelta(seconds=OVERDUE_SECONDS)
    await bench.reconciler.look(KEY)
    assert bench.cluster.objects["Job", "job"]["spec"]["suspend"], "nobody tells its pod to stop"
    bench.now += timedelta(seconds=GONE_SECONDS - 1)
    await bench.reconciler.look(KEY)
    assert bench.is_held()
    bench.now += timedelta(seconds=1)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Unknown"
    assert "nobody says that its pod has stopped" in bench.status["lastRun"]["message"]


@pytest.mark.parametrize("jump", [timedelta(hours=2), timedelta(days=365)])
async def test_a_clock_that_jumps_beyond_the_end_of_a_run_releases_no_lock_of_one_that_goes_on(jump: timedelta) -> None:
    bench = Bench(HOLDER, pod=a_pod(None, phase="Running", running={}))
    bench.now = NOON + jump
    for _ in range(3):
        await bench.reconciler.look(KEY)
    assert bench.is_held()
    assert bench.cluster.objects["Job", "job"]["spec"]["suspend"], "nobody tells its pod to stop"
    bench.finish(DONE)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Done"


async def test_a_clock_that_was_ahead_for_a_while_keeps_no_lock_for_as_long() -> None:
    bench = Bench(HOLDER, pod=a_pod(None, phase="Running", running={}))
    bench.now = NOON + timedelta(days=365)
    await bench.reconciler.look(KEY)
    for bench.now in (HOLDER.end + timedelta(seconds=seconds) for seconds in (OVERDUE_SECONDS, 60)):
        await bench.reconciler.look(KEY)
        assert bench.is_held()
    bench.now = HOLDER.end + timedelta(seconds=OVERDUE_SECONDS + GONE_SECONDS)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_run_of_which_nothing_is_left_to_see_is_waited_for_as_long(is_deleted: bool) -> None:
    """Its Job and pod were deleted by force, or with the Registry."""
    bench = Bench(HOLDER)
    bench.store.remove(bench.cluster.objects.pop(("Job", "job")))
    if is_deleted:
        bench.registries.remove(bench.cluster.objects["Registry", "main"])
    bench.now = HOLDER.end + timedelta(hours=1)
    for seconds in (0, GONE_SECONDS - 1):
        bench.now += timedelta(seconds=seconds)
        await bench.reconciler.look(KEY)
        assert bench.is_held()
    bench.now += timedelta(seconds=1)
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
    bench = Bench(HOLDER)
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
    bench = Bench(replace(HOLDER, retention="gone"))
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
    bench = Bench(replace(HOLDER, stage=Stage.PREPARING))
    bench.cluster.refused["apply ConfigMap"] = kube.ForbiddenError("exceeded quota", code=403, reason="Forbidden")
    bench.now = NOON + timedelta(minutes=30)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Failed"
    assert "could not be let go within startTimeout" in bench.status["lastRun"]["message"]
    assert ("Job", "job") not in bench.cluster.objects, "it would be let in again"


async def test_a_registry_whose_names_are_not_known_is_waited_for_and_ends_a_run_that_has_begun() -> None:
    narrowed = retention_object("keep-last", schedule="@daily", protect={"hosts": ["mirror.example"]})
    begun = Bench(replace(HOLDER, stage=Stage.TELLING), pod=a_pod(None, phase="Running", running={}))
    begun.put(narrowed)
    await begun.reconciler.look(KEY)
    assert "no address of type ClusterIP" in (begun.aborted() or "")
    waiting = Bench(HOLDER)
    waiting.write_lock(Lock())
    waiting.put(narrowed)
    waiting.put(waiting.job(suspend=True))
    await waiting.reconciler.look(KEY)
    assert waiting.lock.holder is None
    assert "no address of type ClusterIP" in json.dumps(waiting.status["conditions"])


async def test_a_run_is_told_of_all_other_policies_also_of_those_that_do_not_run() -> None:
    """retention.md: "the others only keep, suspended and dry-run ones included"."""
    bench = Bench(replace(HOLDER, stage=Stage.TELLING), pod=a_pod(None, phase="Running", running={}))
    for name, does_not in (("paused", "suspend"), ("trial", "dryRun")):
        spec: dict[str, Any] = {"schedule": "@daily", "rules": [{"name": "all", "keep": {"last": 9}}], does_not: True}
        bench.put(retention_object(name, **spec))
    await bench.reconciler.look(KEY)
    part = bench.cluster.objects["ConfigMap", naming.snapshot_name(KEY.name, 0)]
    told = decode([Part(part["data"]["header"], b64decode(part["binaryData"]["part"]))], HOLDER.uid)
    assert told is not None
    assert [other["metadata"]["name"] for other in told.others] == ["paused", "trial"]


async def test_a_registry_without_a_volume_has_no_runs() -> None:
    bench = Bench(HOLDER)
    bench.write_lock(Lock())
    bench.registries.put(bench.cluster.put(registry_object("main", storage={"ephemeral": {}})))
    await bench.reconciler.look(KEY)
    conditions = {each["type"]: each for each in bench.status["conditions"]}
    assert conditions["Stalled"]["reason"] == "StorageEphemeral"
    assert "make a Registry with storage.size" in conditions["Ready"]["message"]
    assert bench.lock.holder is None


async def test_a_job_that_was_let_go_without_our_knowing_is_not_taken_for_one_that_never_began() -> None:
    bench = Bench(replace(HOLDER, stage=Stage.PREPARING), pod=a_pod(None, phase="Running", running={}))
    bench.cluster.put(bench.job(suspend=False))  # its watch event does not come
    bench.now = NOON + timedelta(minutes=30)
    with suppress(kube.ConflictError):
        await bench.reconciler.look(KEY)
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is not None
    assert (bench.lock.holder.stage, bench.lock.holder.aborted) == (Stage.RUNNING, "")


async def test_a_strangers_config_map_holds_no_lock() -> None:
    bench = Bench(HOLDER)
    bench.finish(DONE)
    labels = {naming.SNAPSHOT_LABEL: KEY.name}
    name = naming.snapshot_name(KEY.name, 0)
    bench.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}})
    await bench.reconciler.look(KEY)
    assert not bench.is_held()


def a_stranger() -> kube.Object:
    mount = {"name": "v", "mountPath": "/v"}
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": CLAIM}}
    spec = {"containers": [{"name": "c", "image": "x", "volumeMounts": [mount]}], "volumes": [volume]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "backup"}, "spec": spec}


async def test_a_purge_that_is_refused_is_tried_again_later_and_not_at_once() -> None:
    bench = Bench(HOLDER)
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


async def test_what_keeps_a_run_from_beginning_keeps_pushes_waiting_no_longer_than_its_start_may_take() -> None:
    bench = Bench(replace(HOLDER, stage=Stage.TELLING), pod=a_pod(None, phase="Running", running={}))
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
    bench = Bench(replace(HOLDER, stage=Stage.PREPARING, quiet=None, quiet_since=None, retention="other"))
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


async def test_a_lock_on_a_volume_that_is_no_longer_the_registrys_is_given_back_when_its_run_has_ended() -> None:
    bench = Bench(HOLDER)
    bench.finish(DONE)
    bench.write_lock(Lock())
    other = lease(Lock(holder=HOLDER), claim="old-claim", namespace=KEY.namespace, registry=KEY.name)
    bench.put(other)
    await bench.reconciler.look(KEY)
    assert read_lock(bench.cluster.objects["Lease", naming.lock_name("old-claim")]).holder is None
    assert bench.status["lastRun"]["outcome"] == "Done"


async def test_an_outcome_is_read_although_somebody_deleted_the_lock_after_the_run_had_ended() -> None:
    bench = Bench(HOLDER)
    await bench.reconciler.look(KEY)
    status = {"lastRun": {"job": "job", "uid": "job-uid", "outcome": "Running", "message": ""}}
    bench.put({**bench.cluster.objects["ImageRetention", "keep-last"], "status": status})
    bench.finish(DONE)
    bench.write_lock(Lock())
    await bench.reconciler.look(KEY)
    assert bench.status["lastRun"]["outcome"] == "Done"
    assert not bench.is_held()


async def test_pods_of_runs_that_are_long_over_are_not_remembered() -> None:
    bench = Bench(HOLDER)
    ended = a_pod(DONE)
    ended["metadata"]["namespace"] = KEY.namespace
    ended["metadata"]["ownerReferences"][0]["uid"] = "long-ago"
    bench.reconciler.gate.saw_the_end(ended)
    assert bench.reconciler.gate.remembered == 0
    ended["metadata"]["ownerReferences"][0]["uid"] = HOLDER.uid
    bench.reconciler.gate.saw_the_end(ended)
    assert bench.reconciler.gate.remembered == 1
    bench.finish(DONE)
    await bench.reconciler.look(KEY)
    assert bench.reconciler.gate.remembered == 0


async def test_a_policy_says_for_whom_its_job_waits() -> None:
    bench = Bench(HOLDER, pod=a_pod(None, phase="Running", running={}))
    bench.put(retention_object("other", rules=[{"name": "all", "keep": {"last": 2}}], schedule="@daily"))
    waiting = bench.job(suspend=True)
    waiting["metadata"] |= {
        "name": "other-1",
        "labels": {naming.REGISTRY_LABEL: KEY.name, naming.RETENTION_LABEL: "other"},
    }
    bench.put(waiting)
    await bench.reconciler.look(KEY)
    listed = bench.cluster.objects["ImageRetention", "other"]["status"]["conditions"]
    (said,) = [each for each in listed if each["type"] == "Reconciling"]
    assert (said["reason"], said["message"]) == ("Queued", "Job other-1 waits: Job job has the volume.")


async def test_a_policy_that_became_invalid_meanwhile_tells_the_outcome_of_its_run() -> None:
    bench = Bench(HOLDER)
    bench.finish(DONE)
    bench.put(retention_object("keep-last", rules=[{"name": "bad", "keep": {"semver": {"constraint": "none"}}}]))
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert bench.status["lastRun"]["outcome"] == "Done"
    assert {each["type"]: each["reason"] for each in bench.status["conditions"]}["Stalled"] == "InvalidSpec"


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
    bench = Bench(replace(HOLDER, stage=Stage.PLANNING, quiet=None, quiet_since=None), pod=pod)
    bench.cluster.put(NODE)
    claim = a_claim()
    claim["spec"]["accessModes"] = modes
    bench.registries.put(bench.cluster.put(claim))
    await bench.reconciler.look(KEY)
    holder = bench.lock.holder
    assert holder is not None
    assert (holder.stage, holder.quiet, holder.node) == (Stage.SWITCHING, Quiet.READ_ONLY, node)
    assert bench.reconciler.holder(KEY, CLAIM) == holder


async def test_a_run_whose_registry_is_deleted_has_its_outcome_and_does_not_begin_again_under_the_next() -> None:
    bench = Bench(HOLDER, pod=a_pod(None))
    registry = bench.cluster.objects.pop(("Registry", "main"))
    bench.registries.remove(registry)
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is None
    assert bench.lock.unanswered == HOLDER.uid
    assert bench.lock.purge_due == NOON, "nobody puts back what it moved"
    assert bench.status["lastRun"]["outcome"] == "Unknown"
    assert "its Registry is gone" in bench.status["lastRun"]["message"]
    conditions = {each["type"]: each["reason"] for each in bench.status["conditions"]}
    assert conditions["Stalled"] == "RegistryNotFound"
    assert ("Job", "job") not in bench.cluster.objects


async def test_a_run_on_the_volume_of_a_former_registry_is_not_ended_as_that_ones() -> None:
    holder = replace(HOLDER, stage=Stage.PREPARING, quiet=None, quiet_since=None)
    bench = Bench(holder, pod=a_pod(None, phase="Running", running={}))
    bench.put(bench.job(suspend=False))
    former = lease(bench.lock, claim=CLAIM, namespace=KEY.namespace, registry="former")
    bench.put(former)
    await bench.reconciler.look(KEY)
    assert bench.lock.holder is not None
    assert bench.lock.holder.stage is Stage.PLANNING
    await bench.reconciler.look(Key(KEY.namespace, "former"))
    assert bench.is_held()


def a_registry_pod(served: datetime) -> kube.Object:
    labels = {**naming.selector_labels(KEY.name), "pod-template-hash": "5d9"}
    owner = {"kind": "ReplicaSet", "apiVersion": "apps/v1", "name": "main-5d9", "controller": True, "uid": "x"}
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": served.isoformat()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "main-5d9-x", "labels": labels, "ownerReferences": [owner]},
        "spec": {"nodeName": "k8sworker1"},
        "status": {"phase": "Running", "conditions": [ready]},
    }


async def test_how_long_pulls_and_pushes_waited_is_told_and_again_once_the_registry_serves_as_before() -> None:
    bench = Bench(HOLDER)
    registry = Registry.model_validate(bench.cluster.objects["Registry", "main"])

    def replace_pod(*, read_only: bool, served: datetime) -> None:
        config = config_file(registry, read_only=read_only)
        live = a_deployment()
        live["spec"]["strategy"] = {"type": "Recreate"}
        live["spec"]["template"]["metadata"]["annotations"] = {naming.CONFIG_HASH_ANNOTATION: config.digest}
        counts = dict.fromkeys(("observedGeneration", "replicas", "updatedReplicas", "availableReplicas"), 1)
        for body in (live | {"status": counts}, a_registry_pod(served)):
            bench.registries.put(bench.cluster.put(body))

    replace_pod(read_only=True, served=NOON + timedelta(seconds=4))
    bench.finish(DONE)
    bench.now = NOON + timedelta(seconds=20)
    await bench.reconciler.look(KEY)
    last = bench.status["lastRun"]
    assert (last["pushesWaited"], last["pullsWaited"]) == ("20s", "4s")
    assert "resumedAfter" not in last, "it is still read-only"
    replace_pod(read_only=False, served=bench.now + timedelta(seconds=7))
    bench.now += timedelta(minutes=1)
    await bench.reconciler.look(KEY)
    assert bench.status["lastRun"] == {**last, "resumedAfter": "7s"}


def use(bench: Bench, *images: str) -> None:
    """Let a pod run them."""
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": containers}}
    bench.cluster.put(pod)


def rescues(bench: Bench) -> list[str]:
    """Jobs that are to bring something back."""
    return [name for kind, name in bench.cluster.objects if kind == "Job" and name != "job"]


DELETED = msgspec.structs.replace(DONE, run="20260101T120000Z", deleted=Deleted(tags=1))


@pytest.mark.parametrize("is_valid", [True, False])
async def test_what_came_into_use_and_is_not_brought_back_is_told(is_valid: bool) -> None:
    bench = Bench(HOLDER)
    bench.finish(DELETED)
    use(bench, "k8smaster:5000/app:v1")
    if not is_valid:
        bench.put(retention_object("keep-last", rules=[{"name": "bad", "keep": {"semver": {"constraint": "none"}}}]))
        bench.put({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "keep-last"}, "spec": {}})
    # Nothing says any more what the run was told.
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    warnings = bench.status["lastRun"].get("warnings", [])
    if is_valid:
        assert warnings == []
        assert len(rescues(bench)) == 1
    else:
        (warning,) = warnings
        assert "regkeeper restore 20260101T120000Z" in warning
        assert rescues(bench) == []


VICTIM = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("image", "rescued"),
    [
        ("k8smaster:5000/app:v1", True),
        ("mirror.example/app:v1", True),
        (f"docker-pullable://other/name@{VICTIM}", True),
        (VICTIM.partition(":")[2], True),
        ("k8smaster:5000/app:v2", False),
        ("k8smaster:5000/app", False),
        ("k8smaster:5000/app@sha256:" + "cd" * 32, False),
        ("nginx:1.27", False),
    ],
)
async def test_a_job_brings_back_what_came_into_use_only_where_it_may_have_gone(image: str, rescued: bool) -> None:
    bench = Bench(HOLDER)
    touched = sketch([name_of_tag("app", "v1"), b"\x01" + b"\xab" * 32])
    bench.finish(msgspec.structs.replace(DELETED, touched=touched))
    use(bench, "k8smaster:5000/db:v1", image)
    await bench.reconciler.look(KEY)
    assert not bench.is_held()
    assert len(rescues(bench)) == rescued


LABELS = (naming.REGISTRY_LABEL, naming.RETENTION_LABEL)


@pytest.mark.parametrize("lost", [LABELS[:1], LABELS[1:], LABELS])
async def test_a_lock_that_lost_its_labels_is_found_again_with_its_holder(lost: tuple[str, ...]) -> None:
    bench = Bench(HOLDER, pod=a_pod(None, phase="Running", running={}))
    stripped = lease(bench.lock, claim=CLAIM, namespace=KEY.namespace, registry=KEY.name)
    stripped["metadata"]["managedFields"] = [{"manager": naming.FIELD_MANAGER, "operation": "Update"}]
    for label in lost:
        del stripped["metadata"]["labels"][label]
    bench.store.remove(bench.cluster.put(stripped))  # the watch says that it is gone
    assert bench.reconciler.holder(KEY, CLAIM) is None
    with pytest.raises(kube.ConflictError):
        await bench.reconciler.look(KEY)
    await bench.reconciler.look(KEY)
    holder = bench.reconciler.holder(KEY, CLAIM)
    assert holder is not None
    assert (holder.uid, holder.stage, holder.quiet, bool(holder.aborted)) == (
        HOLDER.uid,
        Stage.RUNNING,
        Quiet.READ_ONLY,
        False,
    )


async def test_a_strangers_lease_is_not_labelled_but_named() -> None:
    bench = Bench(HOLDER, pod=a_pod(None, phase="Running", running={}))
    theirs = lease(Lock(), claim=CLAIM, namespace=KEY.namespace, registry=KEY.name)
    theirs["metadata"] |= {"labels": {}, "managedFields": [{"manager": "kubectl-create", "operation": "Update"}]}
    bench.store.remove(bench.cluster.put(theirs))
    with pytest.raises(BlockedError, match=f"Lease {naming.lock_name(CLAIM)} exists and is not the operator's"):
        await bench.reconciler.look(KEY)
    assert bench.cluster.objects["Lease", naming.lock_name(CLAIM)]["metadata"]["labels"] == {}
