"""The gate of one volume: one run at a time, from the lock to its release. Every step may be cut off and repeated.

What a run has come to stands in its lock (resources/retention/lock.py), its Job and its pod; nothing that matters is
remembered in here.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from regkeeper import kube, naming
from regkeeper.durations import parse_duration
from regkeeper.errors import BlockedError, InvalidSpecError
from regkeeper.reconcile.in_use import InUseUnknownError
from regkeeper.reconcile.job_life import is_finished
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.retention import pods
from regkeeper.reconcile.retention.briefing import Briefing
from regkeeper.reconcile.retention.locks import Locks
from regkeeper.reconcile.retention.outcome import REPEATED_AFTER, conclude, put_off
from regkeeper.reconcile.retention.requests import Action, claim_of, read_request, require_shape, retention_of
from regkeeper.reconcile.retention.run import (
    AGAIN,
    GONE_SECONDS,
    Run,
    Turn,
    is_over,
    left,
    left_to_stop,
    seems_to_wait,
    was_held,
)
from regkeeper.reconcile.retention.scene import RunRefusedError, Scene
from regkeeper.reconcile.retention.steps import Steps
from regkeeper.reconcile.retention.volume import Volume
from regkeeper.reconcile.store import Store, owner_key
from regkeeper.resources.lease import Holder, Lock, Stage, read_lock
from regkeeper.resources.retention import NO_POLICY_SECONDS
from regkeeper.settings import Settings
from regkeeper.snapshot import SnapshotTooLargeError

logger = logging.getLogger(__name__)


class Gate:
    """Opens Jobs one after the other, and follows each to its end. `now` is the time of day."""

    def __init__(
        self,
        *,
        cluster: kube.Cluster,
        store: Store,
        objects: Objects,
        registries: Store,
        settings: Settings,
        now: Callable[[], datetime],
        changed: Callable[[Key], None],
    ) -> None:
        """`changed` is told of each Registry that has to become quiet, or may cease to be."""
        self._cluster = cluster
        self._store = store
        self._objects = objects
        self._volume = Volume(cluster, store, registries)
        self.briefing = Briefing(cluster, registries, settings.in_use)
        self._locks = Locks(cluster, store, registries, objects, changed)
        self._steps = Steps(cluster, objects, self._locks, self._volume, self.briefing)
        self._now = now
        self._gone: dict[str, kube.Object] = {}
        """The last that was seen of pods that are gone, by the uid of their Job. Can be lost."""

    @property
    def remembered(self) -> int:
        """How many pods that are gone are remembered."""
        return len(self._gone)

    def saw_the_end(self, pod: kube.Object) -> None:
        """A pod is gone; this is how it was at last."""
        key = owner_key(pod)
        for live in () if key is None else self._store.children(key, kube.LEASE):
            holder = read_lock(live).holder
            if holder is not None and pods.belongs_to(pod, holder.uid) and pods.has_stopped(pod):
                self._gone[holder.uid] = pod

    def due(self, scene: Scene, lock: Lock) -> Lock:
        """What of a lock a Registry has to see to at present: nothing where every Job for it would be refused.

        Refused, it would be put off, and wait on when it no longer is: for an hour after a pause, say.
        """
        return Lock() if self._volume.refusal_of_all(scene) else lock

    async def open(self, scene: Scene, live: kube.Object | None, lock: Lock, job: kube.Object) -> Holder:
        """Take the lock for a Job.

        Raises:
            RunRefusedError: it may not run.
            WaitingError: its time has not come.
        """
        await self._volume.check(scene, job)
        policy = scene.policies.valid.get(retention_of(job))
        seconds = NO_POLICY_SECONDS if policy is None else parse_duration(policy.spec.active_deadline)
        now = self._now()
        holder = Holder(
            uid=job["metadata"]["uid"],
            job=job["metadata"]["name"],
            retention=retention_of(job),
            action=read_request(job).action,
            since=now,
            end=now + timedelta(seconds=seconds),
        )
        await self._locks.write(scene, live, replace(lock, holder=holder))
        logger.info("opening the gate for Job %s", holder.job)
        return holder

    async def take_step(self, scene: Scene, live: kube.Object, lock: Lock, holder: Holder) -> Turn:
        """Bring the run that has the lock one step further.

        Raises:
            RegkeeperError, ApiError: the step could not be made; it is to be repeated.
        """
        job, pod = await self._observe(scene.key, holder)
        if job is None or is_finished(job) or "deletionTimestamp" in job["metadata"] or holder.aborted:
            return await self._await_end(live, lock, holder, job, pod)
        run = Run(scene, live, lock, holder, job, pod, self._now())
        if run.left <= 0:
            # The Job controller says that a Job failed only once its pod has stopped, which a lost node never tells.
            why = "its activeDeadline passed, and nobody says that its pod has stopped"
            return await self._locks.abort(run, why)
        is_preparing = holder.stage is Stage.PREPARING and run.is_suspended
        if is_preparing and holder.quiet is not None and run.has_waited_in_vain:
            if await self._was_let_go(run):
                return AGAIN  # with the Job as it is now
            return await self._locks.abort(run, "it could not be let go within startTimeout")
        try:
            return await self._steps.take(run)
        except (RunRefusedError, InUseUnknownError, SnapshotTooLargeError, InvalidSpecError) as error:
            return await self._locks.abort(run, str(error))
        except (BlockedError, kube.ApiError) as error:
            if isinstance(error, kube.ConflictError) or not run.has_waited_in_vain or await self._was_let_go(run):
                raise
            return await self._locks.abort(run, f"it could not begin within startTimeout: {error}")

    async def _was_let_go(self, run: Run) -> bool:
        """Whether a Job that seems to wait does not: the answer to the write that let it go may be what is missing."""
        if run.holder.stage is not Stage.PREPARING:
            return False
        now = await self._job_now(run.scene.key.namespace, run.holder)
        return now is not None and not seems_to_wait(now)

    async def _job_now(self, namespace: str, holder: Holder) -> kube.Object | None:
        """The Job of a run as the API server has it; None if it is gone."""
        try:
            now = await self._cluster.get(kube.JOB, namespace, holder.job)
        except kube.NotFoundError:
            return None
        self._store.put(now)
        return now if now["metadata"]["uid"] == holder.uid else None

    async def wind_down(self, key: Key, live: kube.Object, lock: Lock, holder: Holder) -> Turn:
        """Await the end of a run whose Registry is gone, or has another volume."""
        job, pod = await self._observe(key, holder)
        ending = replace(holder, aborted="its Registry is gone, or has another volume")
        return await self._await_end(live, lock, ending, job, pod)

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

    async def _await_end(
        self, live: kube.Object, lock: Lock, holder: Holder, job: kube.Object | None, pod: kube.Object | None
    ) -> Turn:
        """The run is to end, or has: until its containers are known to have stopped, the registry stays quiet."""
        if holder.stage is Stage.PREPARING and (job is None or seems_to_wait(job)):
            job = await self._job_now(live["metadata"]["namespace"], holder)
        if job is not None and not is_finished(job):
            if "deletionTimestamp" in job["metadata"]:
                if holder.stage is Stage.PREPARING and was_held(job):
                    # Once it is gone, nobody can tell any more that it was let go.
                    stage = Stage.PLANNING if holder.quiet is None else Stage.RUNNING
                    await self._locks.note(live, replace(lock, holder=replace(holder, stage=stage)))
                    return AGAIN
                # Only once it is gone the garbage collector ends its pod.
                await self.let_fall(job)
            elif holder.aborted and not seems_to_wait(job):
                # Which makes the Job controller end the pod.
                await self._objects.merge(job, {"spec": {"suspend": True}})
        if is_over(holder, job, pod):
            return Turn(ended=conclude(holder, job, pod))
        now = self._now()
        if (seconds := left(holder, now)) > 0:
            return Turn(seconds=seconds)
        rest = left_to_stop(holder, now)
        if rest is None:
            await self._locks.note(live, replace(lock, holder=replace(holder, overdue_since=now)))
            return Turn(seconds=GONE_SECONDS)
        return Turn(seconds=rest) if rest > 0 else Turn(ended=conclude(holder, job, pod))

    async def release(self, key: Key, live: kube.Object, lock: Lock) -> None:
        """Give the lock free; with that the registry takes pushes again."""
        if lock.holder is not None:
            self._gone.pop(lock.holder.uid, None)
        await self._locks.release(key, live, lock)

    async def postpone(self, scene: Scene, live: kube.Object, lock: Lock, job: kube.Object, why: str) -> None:
        """A Job was refused that is due: it is tried again later, under another name. Else it would be made at once."""
        if self._volume.refusal_of_all(scene):
            return  # It is made again as soon as that has passed (`due`).
        match read_request(job).action:
            case Action.PURGE:
                lock = replace(lock, purge_due=self._now() + REPEATED_AFTER)
            case Action.RESCUE if lock.rescue is not None:
                rescue = put_off(lock.rescue, job["metadata"]["name"], f"Refused: {why}", self._now())
                lock = replace(lock, rescue=rescue)
            case _:
                return
        await self._locks.write(scene, live, lock)

    async def adopt(self, scene: Scene, live: kube.Object | None, lock: Lock) -> bool:
        """Take the lock back for a run that lost it, as when somebody deleted the Lease, and end that run."""
        for job in self._held(scene.key):
            if claim_of(job) != scene.claim:
                continue  # What it had was the lock of another volume.
            gone = "deletionTimestamp" in job["metadata"]
            if job["spec"].get("suspend") or gone or (is_finished(job) and not self._runs_in_status(scene, job)):
                continue
            try:
                require_shape(job)
            except RunRefusedError:
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
                quiet_since=self._now(),
                aborted="the Lease that is its lock was taken away",
            )
            holder = replace(holder, quiet=scene.mode(holder))
            await self._locks.write(scene, live, replace(lock, holder=holder))
            return True
        return False

    def _runs_in_status(self, scene: Scene, job: kube.Object) -> bool:
        """Whether the status of its policy still says that a Job runs."""
        body = self._store.get(kube.IMAGE_RETENTION, scene.key.namespace, retention_of(job)) or {}
        last = (body.get("status") or {}).get("lastRun") or {}
        return last.get("uid") == job["metadata"]["uid"] and last.get("outcome") == "Running"

    def _held(self, key: Key) -> list[kube.Object]:
        """Jobs whose gate was opened, that have the lock of no volume, and whose outcome may not be known yet."""
        holders = [read_lock(live).holder for live in self._store.children(key, kube.LEASE)]
        running = {holder.uid for holder in holders if holder is not None}
        return [
            job
            for job in self._store.children(key, kube.JOB)
            if naming.RUN_FINALIZER in (job["metadata"].get("finalizers") or ())
            and job["metadata"]["uid"] not in running
        ]

    async def tidy(self, key: Key) -> None:
        """After a run: its Job is held no longer."""
        for job in self._held(key):
            if job["spec"].get("suspend") and "deletionTimestamp" not in job["metadata"]:
                # The operator ended it; it must not begin again.
                await self._objects.remove(job)
                continue
            await self.let_fall(job)

    async def let_fall(self, job: kube.Object) -> None:
        """Hold a Job no longer."""
        finalizers = job["metadata"].get("finalizers") or []
        if naming.RUN_FINALIZER in finalizers:
            kept = [each for each in finalizers if each != naming.RUN_FINALIZER]
            with suppress(kube.NotFoundError):
                await self._objects.merge(job, {"metadata": {"finalizers": kept}})
