"""The gate of one volume: one run at a time, from the lock to its release. Every step may be cut off and repeated.

What a run has come to stands in its lock (resources/retention/lock.py), its Job and its pod; nothing that matters is
remembered in here.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from regkeeper import kube, naming
from regkeeper.answer import Outcome
from regkeeper.api.v1alpha1.durations import parse_duration
from regkeeper.reconcile.in_use import InUseUnknownError
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.retention import pods
from regkeeper.reconcile.retention.briefing import Briefing
from regkeeper.reconcile.retention.outcome import Conclusion, conclude
from regkeeper.reconcile.retention.requests import Action, Request, read_request, retention_of
from regkeeper.reconcile.retention.scene import RunRefusedError, Scene
from regkeeper.reconcile.retention.volume import Volume, is_exclusive
from regkeeper.reconcile.retention.waiting import is_finished
from regkeeper.reconcile.store import Store
from regkeeper.resources.persistent_volume import HOSTNAME_LABEL
from regkeeper.resources.retention.cron_job import AFTER_THE_END_SECONDS
from regkeeper.resources.retention.lock import Holder, Lock, Quiet, Stage, change, lease
from regkeeper.resources.retention.run_job import PURGE_SECONDS
from regkeeper.snapshot import SnapshotTooLargeError
from regkeeper.snapshot import Stage as SnapshotStage

logger = logging.getLogger(__name__)

START_TIMEOUT_SECONDS = 120
"""Of a run without a policy."""
GONE_SECONDS = AFTER_THE_END_SECONDS
"""How long after its end time a run that can't be seen any more is taken to have stopped: clocks differ."""


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
        now: Callable[[], datetime],
        changed: Callable[[Key], None],
    ) -> None:
        """`changed` is told of each Registry that has to become quiet, or may cease to be."""
        self._cluster = cluster
        self._store = store
        self._objects = objects
        self._volume = Volume(cluster, store, registries)
        self.briefing = Briefing(cluster, registries)
        self._now = now
        self._changed = changed
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
        await self._volume.check(scene, job)
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
        overdue = await self._overdue(scene, holder, job)
        if overdue:
            return await self._abort(scene, live, lock, holder, overdue)
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

    async def _overdue(self, scene: Scene, holder: Holder, job: kube.Object) -> str:
        """Why a run has had its time, whatever keeps its steps from being made; empty if it has not."""
        if (self._now() - holder.end).total_seconds() >= GONE_SECONDS:
            # The Job controller says that a Job failed only once its pod has stopped, which a lost node never tells.
            return "its activeDeadline passed, and nobody says that its pod has stopped"
        if holder.stage is not Stage.PREPARING or holder.quiet_since is None or not job["spec"].get("suspend"):
            return ""
        late = (self._now() - holder.quiet_since).total_seconds() - self._start_timeout(scene, holder)
        if late < 0:
            return ""
        # The answer to the write that let it go may be what is missing.
        now = await self._cluster.get(kube.JOB, scene.key.namespace, holder.job)
        self._store.put(now)
        return "it could not be let go within startTimeout" if now["spec"].get("suspend") else ""

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
        claim = await self._volume.claim(scene)
        if self._plans_first(scene, request) and not is_exclusive(claim):
            await self.briefing.tell(scene, lock, holder, request, SnapshotStage.PLAN, self._now())
        else:
            if holder.quiet is None:
                mode = Quiet.OFFLINE if is_exclusive(claim) else scene.mode(holder)
                return await self._advance(scene, live, lock, replace(holder, quiet=mode, quiet_since=self._now()))
            if not await self._volume.is_quiet(scene, holder):
                return await self._wait_for_quiet(scene, live, lock, holder)
            await self.briefing.tell(scene, lock, holder, request, SnapshotStage.RUN, self._now())
        await self._let_go(scene, job)
        return AGAIN

    @staticmethod
    def _plans_first(scene: Scene, request: Request) -> bool:
        """Whether the registry is made quiet only once the plan says that something goes."""
        return request.action is Action.RETAIN and not scene.registry.spec.read_only

    async def _let_go(self, scene: Scene, job: kube.Object) -> None:
        """Unsuspend a Job, on the node where the volume is, and hold it until its outcome is known."""
        change: dict[str, Any] = {"spec": {"suspend": False}}
        finalizers = job["metadata"].get("finalizers") or []
        change["metadata"] = {"finalizers": [*finalizers, naming.RUN_FINALIZER]}
        node = await self._volume.node(scene)
        if node is not None:
            change["spec"]["template"] = {"spec": {"nodeSelector": {HOSTNAME_LABEL: node}}}
        await self._objects.merge(job, change)

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
            mode = scene.mode(holder)
            return await self._advance(
                scene, live, lock, replace(holder, stage=Stage.SWITCHING, quiet=mode, quiet_since=self._now())
            )
        return await self._follow(scene, live, lock, holder, job, pod)

    async def _switch(
        self, scene: Scene, live: kube.Object, lock: Lock, holder: Holder, pod: kube.Object | None
    ) -> Turn:
        if pod is None:
            return await self._abort(scene, live, lock, holder, "its pod is gone")
        if not await self._volume.is_quiet(scene, holder):
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
        await self.briefing.tell(scene, lock, holder, read_request(job), SnapshotStage.RUN, self._now())
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

    async def release(self, key: Key, live: kube.Object, lock: Lock) -> None:
        """Give the lock free; with that the registry takes pushes again."""
        if lock.holder is not None:
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
            mode = scene.mode(holder)
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
