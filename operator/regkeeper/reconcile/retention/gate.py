"""The gate of one volume: one run at a time, from the lock to its release. Every step may be cut off and repeated.

What a run has come to stands in its lock (resources/retention/lock.py), its Job and its pod; nothing that matters is
remembered in here.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from regkeeper import kube, naming
from regkeeper.answer import Outcome
from regkeeper.api.v1alpha1.durations import parse_duration
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.errors import RegkeeperError, WaitingError
from regkeeper.reconcile import conditions, readiness
from regkeeper.reconcile.in_use import InUseUnknownError, Uses, images_in_use
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.retention import pods
from regkeeper.reconcile.retention.outcome import Conclusion, conclude
from regkeeper.reconcile.retention.policies import Policies, manifest
from regkeeper.reconcile.retention.requests import Action, Request, read_request, retention_of
from regkeeper.reconcile.retention.snapshots import Snapshots
from regkeeper.reconcile.retention.waiting import is_finished
from regkeeper.reconcile.store import Store
from regkeeper.resources.config import REGISTRY_PORT, config_file
from regkeeper.resources.persistent_volume import HOSTNAME_LABEL
from regkeeper.resources.retention.cron_job import AFTER_THE_END_SECONDS
from regkeeper.resources.retention.lock import Holder, Lock, Quiet, Stage, change, lease
from regkeeper.resources.retention.run_job import PURGE_SECONDS
from regkeeper.resources.storage import is_shared
from regkeeper.snapshot import Document, SnapshotTooLargeError, Undo
from regkeeper.snapshot import Stage as SnapshotStage

logger = logging.getLogger(__name__)

START_TIMEOUT_SECONDS = 120
"""Of a run without a policy."""
GONE_SECONDS = AFTER_THE_END_SECONDS
"""How long after its end time a run that can't be seen any more is taken to have stopped: clocks differ."""


class RunRefusedError(RegkeeperError):
    """A run that may not take place. The message names who is in the way, and the remedy."""

    reason = "Refused"


@dataclass(slots=True)
class Scene:
    """What a pass over one Registry knows."""

    key: Key
    registry: Registry
    claim: str
    policies: Policies


@dataclass(slots=True)
class Turn:
    """What a step has come to."""

    seconds: float | None = None
    """Until it should be looked at again; None: when something changes."""
    again: bool = False
    """The next step may be taken at once."""
    ended: Conclusion | None = None
    """The run has ended; the lock is still held."""


AGAIN = Turn(again=True)


class Gate:
    """Opens Jobs one after the other, and follows each to its end. `now` is the time of day."""

    def __init__(
        self,
        *,
        cluster: kube.Cluster,
        store: Store,
        objects: Objects,
        registries: Store,
        snapshots: Snapshots,
        now: Callable[[], datetime],
        changed: Callable[[Key], None],
    ) -> None:
        """`changed` is told of each Registry that has to become quiet, or may cease to be."""
        self._cluster = cluster
        self._store = store
        self._objects = objects
        self._registries = registries
        self._snapshots = snapshots
        self._now = now
        self._changed = changed
        self._asked: dict[str, frozenset[str]] = {}
        """References that were in use when a run was told, by its uid. Can be lost."""
        self._gone: dict[str, kube.Object] = {}
        """The last that was seen of pods that are gone, by the uid of their Job. Can be lost."""

    def saw_the_end(self, pod: kube.Object) -> None:
        """A pod is gone; this is how it was at last."""
        for owner in pod["metadata"].get("ownerReferences") or ():
            if owner["kind"] == "Job" and pods.has_stopped(pod):
                self._gone[owner["uid"]] = pod

    async def open(self, scene: Scene, live: kube.Object | None, lock: Lock, job: kube.Object) -> Holder:
        """Take the lock for a Job.

        Raises:
            RunRefusedError: it may not run.
            WaitingError: its time has not come.
        """
        await self._check(scene, job)
        policy = scene.policies.valid.get(retention_of(job))
        seconds = PURGE_SECONDS if policy is None else parse_duration(policy.spec.active_deadline)
        now = self._now()
        holder = Holder(
            uid=job["metadata"]["uid"],
            job=job["metadata"]["name"],
            retention=retention_of(job),
            action=read_request(job).action,
            since=now,
            end=now + timedelta(seconds=seconds),
        )
        await self._lock(scene, live, replace(lock, holder=holder))
        logger.info("opening the gate for Job %s", holder.job)
        return holder

    async def _check(self, scene: Scene, job: kube.Object) -> None:
        registry, name = scene.registry, scene.registry.metadata.name
        if registry.metadata.annotations.get(naming.PAUSED_ANNOTATION) == "true":
            raise RunRefusedError(f"Registry {name} is paused: remove its annotation {naming.PAUSED_ANNOTATION}")
        body = self._registries.registry(scene.key) or {}
        ready = conditions.find((body.get("status") or {}).get("conditions") or (), conditions.READY)
        if ready is not None and ready["reason"] == "VolumeInUse":
            raise RunRefusedError(f"Registry {name}: {ready['message']}")
        for other, trouble in scene.policies.invalid.items():
            raise RunRefusedError(f"ImageRetention {other} of the same Registry is invalid: {trouble}")
        request = read_request(job)
        if request.action is not Action.PURGE and retention_of(job) not in scene.policies.valid:
            raise RunRefusedError(f"there is no ImageRetention {retention_of(job)}")
        claim = await self._registries_claim(scene)
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            raise WaitingError(f"PersistentVolumeClaim {scene.claim} is not bound", reason="ClaimPending", delay=10)
        if self._registries.get(kube.DEPLOYMENT, *scene.key) is None:
            raise WaitingError(f"Registry {name} has no Deployment yet", reason="RegistryNotReady", delay=10)
        policy = scene.policies.valid.get(retention_of(job))
        if _is_exclusive(claim) and policy is not None and policy.spec.mode != "Offline":
            raise RunRefusedError(
                f"PersistentVolumeClaim {scene.claim} is for one pod alone, the registry's (ReadWriteOncePod): set mode "
                "to Offline"
            )
        found = await self._namespace_pods(scene)
        strangers = pods.writers(
            found, scene.claim, may=lambda pod: pods.is_of_registry(pod, name) or self._is_a_run(scene, pod)
        )
        if strangers:
            raise RunRefusedError(
                f"Pod {strangers[0]} mounts PersistentVolumeClaim {scene.claim} for writing, and may be writing while "
                "a run deletes: end it, or mount the claim read-only there"
            )

    def _is_a_run(self, scene: Scene, pod: Any) -> bool:
        return any(pods.belongs_to(pod, job["metadata"]["uid"]) for job in self._store.children(scene.key, kube.JOB))

    async def _registries_claim(self, scene: Scene) -> kube.Object | None:
        known = self._registries.get(kube.CLAIM, scene.key.namespace, scene.claim)
        if known is not None:
            return known
        try:
            return await self._cluster.get(kube.CLAIM, scene.key.namespace, scene.claim)
        except kube.NotFoundError:
            return None

    async def _namespace_pods(self, scene: Scene) -> Sequence[kube.Object]:
        return [pod async for pod in self._cluster.list(kube.POD, scene.key.namespace)]

    async def _lock(self, scene: Scene, live: kube.Object | None, lock: Lock) -> None:
        if live is None:
            body = lease(lock, claim=scene.claim, namespace=scene.key.namespace, registry=scene.registry.metadata.name)
            self._store.put(await self._cluster.create(body))
        else:
            await self._objects.merge(live, change(lock))

    async def take_step(self, scene: Scene, live: kube.Object, lock: Lock) -> Turn:
        """Bring the run that has the lock one step further.

        Raises:
            RegkeeperError, ApiError: the step could not be made; it is to be repeated.
        """
        holder = lock.holder
        if holder is None:
            raise AssertionError("nobody has the lock")
        job, pod = await self._observe(scene.key, holder)
        if job is None or is_finished(job) or "deletionTimestamp" in job["metadata"] or holder.aborted:
            return await self._await_end(holder, job, pod)
        try:
            match holder.stage:
                case Stage.PREPARING:
                    turn = await self._prepare(scene, live, lock, holder, job)
                case Stage.PLANNING:
                    turn = await self._plan(scene, live, lock, holder, job, pod)
                case Stage.SWITCHING:
                    turn = await self._switch(scene, live, lock, holder, pod)
                case Stage.TELLING:
                    turn = await self._tell(scene, live, lock, holder, job, pod)
                case Stage.RUNNING:
                    turn = await self._follow(scene, live, lock, holder, job, pod)
        except (RunRefusedError, InUseUnknownError, SnapshotTooLargeError) as error:
            return await self._abort(scene, live, lock, holder, str(error))
        return turn

    async def wind_down(self, key: Key, live: kube.Object, lock: Lock) -> Turn:
        """Await the end of a run whose Registry is gone, and give its lock free; there is nothing to go on with."""
        holder = lock.holder
        if holder is not None:
            job, pod = await self._observe(key, holder)
            turn = await self._await_end(replace(holder, aborted="its Registry is gone"), job, pod)
            if turn.ended is None:
                return turn
            logger.warning("Job %s: %s %s", holder.job, turn.ended.outcome, turn.ended.message)
            await self.release(key, live, lock)
        for job in self._store.children(key, kube.JOB):
            await self._let_fall(job)
        return Turn()

    async def _observe(self, key: Key, holder: Holder) -> tuple[kube.Object | None, kube.Object | None]:
        """Job and pod of the run that has the lock, as they were seen last."""
        jobs = self._store.children(key, kube.JOB)
        job = next((each for each in jobs if each["metadata"]["uid"] == holder.uid), None)
        pod = pods.newest(self._store.children(key, kube.POD), holder.uid) or self._gone.get(holder.uid)
        if pod is None and job is not None and is_finished(job):
            # The watch of pods may be behind that of Jobs.
            selector = f"batch.kubernetes.io/controller-uid={holder.uid}"
            found = [each async for each in self._cluster.list(kube.POD, key.namespace, label_selector=selector)]
            pod = pods.newest(found, holder.uid)
        return job, pod

    async def _await_end(self, holder: Holder, job: kube.Object | None, pod: kube.Object | None) -> Turn:
        """The run is to end, or has: until its containers are known to have stopped, the registry stays quiet."""
        if job is not None and not is_finished(job):
            if "deletionTimestamp" in job["metadata"]:
                # Only once it is gone the garbage collector ends its pod.
                await self._let_fall(job)
            elif holder.aborted and not job["spec"].get("suspend"):
                # Which makes the Job controller end the pod.
                await self._objects.merge(job, {"spec": {"suspend": True}})
        if not _is_over(holder, job, pod):
            left = (holder.end - self._now()).total_seconds() + GONE_SECONDS
            if left > 0:
                return Turn(seconds=left)
        return Turn(ended=conclude(holder, job, pod))

    async def _abort(self, scene: Scene, live: kube.Object, lock: Lock, holder: Holder, reason: str) -> Turn:
        logger.warning("ending Job %s: %s", holder.job, reason)
        await self._lock(scene, live, replace(lock, holder=replace(holder, aborted=reason)))
        return AGAIN

    async def _advance(self, scene: Scene, live: kube.Object, lock: Lock, holder: Holder) -> Turn:
        await self._lock(scene, live, replace(lock, holder=holder))
        if holder.quiet is not None:
            self._changed(scene.key)
        return AGAIN

    async def _prepare(self, scene: Scene, live: kube.Object, lock: Lock, holder: Holder, job: kube.Object) -> Turn:
        if not job["spec"].get("suspend"):
            stage = Stage.PLANNING if holder.quiet is None else Stage.RUNNING
            return await self._advance(scene, live, lock, replace(holder, stage=stage))
        request = read_request(job)
        claim = await self._registries_claim(scene)
        if self._plans_first(scene, request) and not _is_exclusive(claim):
            await self._publish(scene, lock, holder, request, SnapshotStage.PLAN)
        else:
            if holder.quiet is None:
                mode = Quiet.OFFLINE if _is_exclusive(claim) else self._mode(scene, holder)
                return await self._advance(scene, live, lock, replace(holder, quiet=mode, quiet_since=self._now()))
            if not await self._is_quiet(scene, holder):
                return await self._wait_for_quiet(scene, live, lock, holder)
            await self._publish(scene, lock, holder, request, SnapshotStage.RUN)
        await self._let_go(scene, job)
        return AGAIN

    @staticmethod
    def _plans_first(scene: Scene, request: Request) -> bool:
        """Whether the registry is made quiet only once the plan says that something goes."""
        return request.action is Action.RETAIN and not scene.registry.spec.read_only

    @staticmethod
    def _mode(scene: Scene, holder: Holder) -> Quiet:
        """What a run's policy asks of its registry; a purge that no policy asked for wants no more than it must."""
        policy = scene.policies.valid.get(holder.retention)
        return Quiet.READ_ONLY if policy is None else Quiet(policy.spec.mode)

    async def _let_go(self, scene: Scene, job: kube.Object) -> None:
        """Unsuspend a Job, on the node where the volume is, and hold it until its outcome is known."""
        change: dict[str, Any] = {"spec": {"suspend": False}}
        finalizers = job["metadata"].get("finalizers") or []
        change["metadata"] = {"finalizers": [*finalizers, naming.RUN_FINALIZER]}
        node = await self._node(scene)
        if node is not None:
            change["spec"]["template"] = {"spec": {"nodeSelector": {HOSTNAME_LABEL: node}}}
        await self._objects.merge(job, change)

    async def _node(self, scene: Scene) -> str | None:
        """Label of the node that has the volume attached; None: any node will do, or the volume itself says which."""
        claim = await self._registries_claim(scene)
        modes = None if claim is None else claim["spec"]["accessModes"]
        if scene.registry.spec.storage.local is not None or is_shared(scene.registry, modes):
            return None
        for pod in self._registries.children(scene.key, kube.POD):
            name = pod["spec"].get("nodeName")
            if name:
                node = await self._cluster.get(kube.NODE, None, name)
                label: str = (node["metadata"].get("labels") or {}).get(HOSTNAME_LABEL, name)
                return label
        return None

    async def _plan(
        self,
        scene: Scene,
        live: kube.Object,
        lock: Lock,
        holder: Holder,
        job: kube.Object,
        pod: kube.Object | None,
    ) -> Turn:
        said = None if pod is None else pods.plan_said(pod)
        if said is not None and said.answer is not None and said.answer.outcome is Outcome.SWITCH:
            mode = self._mode(scene, holder)
            return await self._advance(
                scene, live, lock, replace(holder, stage=Stage.SWITCHING, quiet=mode, quiet_since=self._now())
            )
        return await self._follow(scene, live, lock, holder, job, pod)

    async def _switch(
        self, scene: Scene, live: kube.Object, lock: Lock, holder: Holder, pod: kube.Object | None
    ) -> Turn:
        if pod is None:
            return await self._abort(scene, live, lock, holder, "its pod is gone")
        if not await self._is_quiet(scene, holder):
            return await self._wait_for_quiet(scene, live, lock, holder)
        return await self._advance(scene, live, lock, replace(holder, stage=Stage.TELLING))

    async def _tell(
        self,
        scene: Scene,
        live: kube.Object,
        lock: Lock,
        holder: Holder,
        job: kube.Object,
        pod: kube.Object | None,
    ) -> Turn:
        """Tell the run, as the last step, what is in use now; after a crash once more, which harms nobody."""
        if pod is None:
            return await self._abort(scene, live, lock, holder, "its pod is gone")
        await self._publish(scene, lock, holder, read_request(job), SnapshotStage.RUN)
        # kubelet then looks at the ConfigMaps at once, and not within a minute.
        nudge = {"metadata": {"annotations": {naming.NUDGE_ANNOTATION: self._now().isoformat()}}}
        metadata = pod["metadata"]
        await self._cluster.patch(kube.POD, metadata["namespace"], metadata["name"], nudge)
        return await self._advance(scene, live, lock, replace(holder, stage=Stage.RUNNING))

    async def _wait_for_quiet(self, scene: Scene, live: kube.Object, lock: Lock, holder: Holder) -> Turn:
        since = holder.quiet_since or holder.since
        left = self._start_timeout(scene, holder) - (self._now() - since).total_seconds()
        if left <= 0:
            what = "stop" if holder.quiet is Quiet.OFFLINE else "become read-only"
            return await self._abort(scene, live, lock, holder, f"the registry did not {what} within startTimeout")
        return Turn(seconds=min(left, 1.0))

    @staticmethod
    def _start_timeout(scene: Scene, holder: Holder) -> int:
        policy = scene.policies.valid.get(holder.retention)
        return START_TIMEOUT_SECONDS if policy is None else parse_duration(policy.spec.start_timeout)

    async def _follow(
        self,
        scene: Scene,
        live: kube.Object,
        lock: Lock,
        holder: Holder,
        job: kube.Object,
        pod: kube.Object | None,
    ) -> Turn:
        if job["spec"].get("suspend"):
            return await self._abort(scene, live, lock, holder, "its Job was suspended")
        started = (job.get("status") or {}).get("startTime")
        if pod is None or not pods.has_begun(pod):
            since = datetime.fromisoformat(started) if started else holder.since
            left = self._start_timeout(scene, holder) - (self._now() - since).total_seconds()
            if left <= 0:
                reason = f"its pod did not start within startTimeout: {pods.waiting_reason(pod)}"
                return await self._abort(scene, live, lock, holder, reason)
            return Turn(seconds=left)
        return Turn(seconds=max(1.0, (holder.end - self._now()).total_seconds() + GONE_SECONDS))

    async def _is_quiet(self, scene: Scene, holder: Holder) -> bool:
        """Whether no pod that takes pushes, or could, is left: asked of the API server itself, not of a watch."""
        deployment = self._registries.get(kube.DEPLOYMENT, *scene.key)
        if deployment is None:
            return False
        offline = holder.quiet is Quiet.OFFLINE
        digest = config_file(scene.registry, read_only=True).digest
        if not offline:
            annotations = deployment["spec"]["template"]["metadata"].get("annotations") or {}
            if annotations.get(naming.CONFIG_HASH_ANNOTATION) != digest or readiness.progress(deployment) is not None:
                return False
        elif deployment["spec"].get("replicas") != 0:
            return False
        name = scene.registry.metadata.name
        found = await self._namespace_pods(scene)

        def may(pod: Any) -> bool:
            if pods.belongs_to(pod, holder.uid):
                return True
            return not offline and pods.is_of_registry(pod, name) and pods.config_digest(pod) == digest

        others = pods.writers(found, scene.claim, may=may)
        strangers = [
            pod["metadata"]["name"]
            for pod in found
            if pod["metadata"]["name"] in others and not pods.is_of_registry(pod, name)
        ]
        if strangers:
            raise RunRefusedError(f"Pod {strangers[0]} began to mount PersistentVolumeClaim {scene.claim} for writing")
        return not others

    async def _publish(self, scene: Scene, lock: Lock, holder: Holder, request: Request, stage: SnapshotStage) -> None:
        uses = await self._uses(scene)
        policy = scene.policies.valid.get(holder.retention)
        await self._snapshots.publish(
            scene.registry,
            self._document(scene, lock, holder, request, policy, uses),
            run=holder.uid,
            stage=stage,
            now=self._now(),
        )
        self._asked[holder.uid] = frozenset(uses or ())

    async def _uses(self, scene: Scene) -> Uses | None:
        if not scene.policies.in_use_matters and scene.policies.valid:
            return None
        elsewhere = [
            (scene.key.namespace, entry.name)
            for policy in scene.policies.valid.values()
            for entry in policy.spec.protect.references
        ]
        return await images_in_use(self._cluster, elsewhere)

    def _document(
        self,
        scene: Scene,
        lock: Lock,
        holder: Holder,
        request: Request,
        policy: ImageRetention | None,
        uses: Uses | None,
    ) -> Document:
        bodies = scene.policies.bodies
        own = bodies.get(holder.retention) if policy is not None else None
        restore = Undo(run=request.undo, forget=request.forget, in_use=request.action is Action.RESCUE)
        return Document(
            action=request.action.told,
            name=holder.retention,
            end_time=holder.end.isoformat(),
            policy=None if own is None else manifest(own),
            others=[manifest(body) for name, body in sorted(bodies.items()) if name != holder.retention],
            in_use=None if uses is None else sorted(uses.items()),
            hosts=self._hosts(scene),
            dry_run=policy is not None and policy.spec.dry_run and request.action is Action.RETAIN,
            mode="Offline" if (holder.quiet or self._mode(scene, holder)) is Quiet.OFFLINE else "ReadOnly",
            registry=self._url(scene),
            approved=request.approved or None,
            restore=restore if request.undo else None,
            unanswered=lock.unanswered or None,
        )

    def _hosts(self, scene: Scene) -> list[str]:
        body = self._registries.registry(scene.key) or {}
        return [address["host"] for address in (body.get("status") or {}).get("addresses") or ()]

    def _url(self, scene: Scene) -> str | None:
        """Where the run asks whether the registry is quiet: by address, which needs no DNS."""
        service = self._registries.get(kube.SERVICE, *scene.key)
        address = ((service or {}).get("spec") or {}).get("clusterIP")
        if not address or address == "None":
            return None
        return f"http://[{address}]:{REGISTRY_PORT}" if ":" in address else f"http://{address}:{REGISTRY_PORT}"

    async def came_into_use(self, scene: Scene, holder: Holder) -> bool:
        """Whether something is in use now that was not when the run was told, or nobody can say."""
        before = self._asked.pop(holder.uid, None)
        try:
            uses = await self._uses(scene)
        except InUseUnknownError as error:
            # A run that would bring something back could not ask either; pushes must not wait for that.
            logger.warning("what came into use while Job %s ran is not known: %s", holder.job, error)
            return False
        return uses is not None and (before is None or not uses.keys() <= before)

    async def forget(self, scene: Scene) -> None:
        """Leave nothing of what a run was told."""
        await self._snapshots.empty(scene.registry)

    async def release(self, key: Key, live: kube.Object, lock: Lock) -> None:
        """Give the lock free; with that the registry takes pushes again."""
        if lock.holder is not None:
            self._asked.pop(lock.holder.uid, None)
            self._gone.pop(lock.holder.uid, None)
        await self._objects.merge(live, change(replace(lock, holder=None)))
        self._changed(key)

    async def adopt(self, scene: Scene, live: kube.Object | None, lock: Lock) -> bool:
        """Take the lock back for a run that lost it, as when somebody deleted the Lease, and end that run."""
        for job in self._held(scene):
            if job["spec"].get("suspend") or "deletionTimestamp" in job["metadata"] or is_finished(job):
                continue
            started = (job.get("status") or {}).get("startTime")
            since = datetime.fromisoformat(started) if started else self._now()
            holder = Holder(
                uid=job["metadata"]["uid"],
                job=job["metadata"]["name"],
                retention=retention_of(job),
                action=read_request(job).action,
                since=since,
                end=since + timedelta(seconds=job["spec"]["activeDeadlineSeconds"]),
                stage=Stage.RUNNING,
                aborted="the Lease that is its lock was taken away",
            )
            mode = self._mode(scene, holder)
            holder = replace(holder, quiet=mode, quiet_since=self._now())
            await self._lock(scene, live, replace(lock, holder=holder))
            self._changed(scene.key)
            return True
        return False

    def _held(self, scene: Scene) -> list[kube.Object]:
        """Jobs whose gate was opened, and whose outcome may not be known yet."""
        return [
            job
            for job in self._store.children(scene.key, kube.JOB)
            if naming.RUN_FINALIZER in (job["metadata"].get("finalizers") or ())
        ]

    async def tidy(self, scene: Scene) -> None:
        """After a run: its Job is held no longer."""
        for job in self._held(scene):
            if job["spec"].get("suspend") and "deletionTimestamp" not in job["metadata"]:
                # The operator ended it; it must not begin again.
                await self._objects.remove(job)
                continue
            await self._let_fall(job)

    async def _let_fall(self, job: kube.Object) -> None:
        """Hold a Job no longer."""
        finalizers = job["metadata"].get("finalizers") or []
        if naming.RUN_FINALIZER in finalizers:
            left = [each for each in finalizers if each != naming.RUN_FINALIZER]
            with suppress(kube.NotFoundError):
                await self._objects.merge(job, {"metadata": {"finalizers": left}})


def _is_exclusive(claim: kube.Object | None) -> bool:
    """Whether one pod alone may mount a claim."""
    return claim is not None and "ReadWriteOncePod" in claim["spec"]["accessModes"]


def _may_change(holder: Holder) -> bool:
    """Whether a run may have been told that it may change the volume."""
    if holder.stage is Stage.PREPARING:
        return holder.quiet is not None
    return holder.stage in (Stage.TELLING, Stage.RUNNING)


def _is_over(holder: Holder, job: kube.Object | None, pod: kube.Object | None) -> bool:
    """Whether a run that is to end can change nothing more."""
    if pod is not None and (_may_change(holder) or (job is not None and is_finished(job))):
        return pods.has_stopped(pod)
    if not _may_change(holder):
        return True
    # Its pod was never made, or is gone without having been seen to stop.
    return holder.stage is Stage.PREPARING and job is not None and bool(job["spec"].get("suspend"))
