"""Passes over the runs of one Registry on an API server that is played, so that each write can be refused for good.

tests/e2e/retention_bench.py has a real one.
"""

import json
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from regkeeper import kube, naming
from regkeeper.answer import Answer, Outcome, encode
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.retention.reconciler import RetentionReconciler
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.resources.lease import Holder, Lock, Quiet, Stage, lease, read_lock
from regkeeper.settings import Settings
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

    def _merge(self, what: str, there: kube.Object, body: kube.Object) -> kube.Object:
        version = there["metadata"]["resourceVersion"]
        if body.get("metadata", {}).get("resourceVersion", version) != version:
            raise kube.ConflictError(there["metadata"]["name"], code=409, reason="Conflict")
        return self._write(what, merged(there, body))

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
        return self._merge(f"patch {resource.kind}", self.objects[resource.kind, name], body)

    async def patch_status(
        self, resource: kube.Resource, _namespace: str | None, name: str, body: kube.Object
    ) -> kube.Object:
        return self._merge(f"status {resource.kind}", self.objects[resource.kind, name], body)

    async def delete(self, resource: kube.Resource, _namespace: str | None, name: str, *, uid: str) -> None:
        if (resource.kind, name) not in self.objects:
            raise kube.NotFoundError(name, code=404)
        assert self.objects[resource.kind, name]["metadata"]["uid"] == uid
        if f"delete {resource.kind}" in self.refused:
            raise self.refused[f"delete {resource.kind}"]
        del self.objects[resource.kind, name]


class RetentionPasses:
    """A Registry, its policy `keep-last`, the Job `job` and a lock that this Job has."""

    def __init__(self, holder: Holder, *, lock: Lock | None = None, pod: kube.Object | None = None) -> None:
        self.cluster = PlayedCluster()
        self.now = NOON
        self.store, self.registries = Store(), Store()
        self.changed: set[Key] = set()
        """Registries that have to become quiet, or may cease to be."""
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
            changed=self.changed.add,
        )

    def write_lock(self, lock: Lock) -> None:
        self.put(lease(lock, claim=CLAIM, namespace=KEY.namespace, registry=KEY.name))

    def put(self, body: kube.Object) -> None:
        self.store.put(self.cluster.put(body))

    @staticmethod
    def job(*, suspend: bool, claim: str = CLAIM, **annotations: str) -> kube.Object:
        labels = {naming.REGISTRY_LABEL: KEY.name, naming.RETENTION_LABEL: "keep-last"}
        metadata: dict[str, Any] = {"name": "job", "labels": labels, "annotations": annotations}
        if not suspend:
            metadata["finalizers"] = [naming.RUN_FINALIZER]
        spec = {
            "suspend": suspend,
            "activeDeadlineSeconds": 3600,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {"spec": {"volumes": [{"name": "storage", "persistentVolumeClaim": {"claimName": claim}}]}},
        }
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}

    @property
    def lock(self) -> Lock:
        return read_lock(self.cluster.objects["Lease", naming.lock_name(CLAIM)])

    def is_held(self) -> bool:
        """Whether the run has the lock, and not the purge that comes after one whose answer was lost."""
        return self.lock.holder is not None and self.lock.holder.uid == HOLDER.uid

    def stage(self) -> Stage | None:
        """How far the run has come; None: no run has the lock."""
        return None if self.lock.holder is None else self.lock.holder.stage

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


def a_stranger() -> kube.Object:
    mount = {"name": "v", "mountPath": "/v"}
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": CLAIM}}
    spec = {"containers": [{"name": "c", "image": "x", "volumeMounts": [mount]}], "volumes": [volume]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "backup"}, "spec": spec}


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


def use(bench: RetentionPasses, *images: str) -> None:
    """Let a pod run them."""
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": containers}}
    bench.cluster.put(pod)


def rescues(bench: RetentionPasses) -> list[str]:
    """Jobs that are to bring something back."""
    return [name for kind, name in bench.cluster.objects if kind == "Job" and name != "job"]
