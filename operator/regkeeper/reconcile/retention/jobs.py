"""Makes the Jobs that no schedule and no user makes, and removes those that do not run. `now` is the time of day.

Their names are made from what asks for them, so that each is made once, whoever dies in between.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from regkeeper import kube
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.reconcile.job_life import is_finished
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.retention.requests import Action, Request, request_of, retention_of
from regkeeper.reconcile.retention.run import was_held
from regkeeper.reconcile.retention.scene import Scene
from regkeeper.reconcile.retention.waiting import is_waiting
from regkeeper.reconcile.retention.wanted import due_name, due_rescue, wanted_jobs
from regkeeper.reconcile.store import Store
from regkeeper.resources.lease import Lock
from regkeeper.resources.retention import cron_job, policy_job, registry_job
from regkeeper.settings import Settings

logger = logging.getLogger(__name__)


class Jobs:
    """The CronJobs of policies, and the Jobs that the operator makes itself."""

    def __init__(
        self, cluster: kube.Cluster, store: Store, objects: Objects, settings: Settings, now: Callable[[], datetime]
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._objects = objects
        self._settings = settings
        self._now = now

    async def ensure(self, scene: Scene, policy: ImageRetention) -> None:
        """A policy's CronJob, and the Jobs that it asks for besides the schedule."""
        live = await self._objects.ensure(policy, cron_job(policy, scene.registry, self._settings))
        status = scene.policies.bodies[policy.metadata.name].get("status") or {}
        for name, request in wanted_jobs(policy, status, self._now()).items():
            await self._make(scene, self._of_policy(scene, policy, live, name, request))

    async def rescue(self, scene: Scene, lock: Lock) -> None:
        """Bring back what came into use, once its time has come.

        By a Job of the policy whose run it was, or of another; where there is none, by one of the Registry's.
        """
        rescue = due_rescue(scene, lock)
        if rescue is None or rescue.due > self._now():
            return
        name, request = due_name(scene.key.name, Action.RESCUE, rescue.due), Request(action=Action.RESCUE)
        policies = sorted(scene.policies.valid, key=lambda policy: (policy != rescue.retention, policy))
        live = self._store.get(kube.CRON_JOB, scene.key.namespace, policies[0]) if policies else None
        if live is None:
            await self._make_anew(scene, self._of_registry(scene, name, request))
        else:
            policy = scene.policies.valid[policies[0]]
            await self._make_anew(scene, self._of_policy(scene, policy, live, name, request))

    async def purge(self, scene: Scene, lock: Lock) -> None:
        """Free what can no longer be undone, once its time has come."""
        due = lock.purge_due
        if due is not None and due <= self._now():
            name = due_name(scene.key.name, Action.PURGE, due)
            await self._make_anew(scene, self._of_registry(scene, name, Request(action=Action.PURGE)))

    async def remove(self, job: kube.Object) -> None:
        """Remove one that does not run, and know so at once."""
        await self._objects.remove(job)
        self._store.remove(job)

    async def stop_schedule(self, namespace: str, name: str) -> None:
        """Let the schedule of a policy that means nothing make no more Jobs."""
        live = self._store.get(kube.CRON_JOB, namespace, name)
        if live is not None and not live["spec"].get("suspend"):
            await self._objects.merge(live, {"spec": {"suspend": True}})

    def _of_registry(self, scene: Scene, name: str, request: Request) -> kube.Object:
        return registry_job(scene.registry, self._settings, name=name, annotations=request.annotations)

    def _of_policy(
        self, scene: Scene, policy: ImageRetention, live: kube.Object, name: str, request: Request
    ) -> kube.Object:
        return policy_job(
            policy,
            scene.registry,
            self._settings,
            name=name,
            annotations=request.annotations,
            cron_job_uid=live["metadata"]["uid"],
        )

    async def _make_anew(self, scene: Scene, body: kube.Object) -> None:
        """Make a Job, also if one of its name has ended that was never let in: it is still due.

        Of the Registry's that have ended no history keeps count: they go when the next one is made. So do those that
        wait for the same: a run that went before them made it due again.
        """
        action = request_of(body).action
        for job in self._store.children(scene.key, kube.JOB):
            is_it = job["metadata"]["name"] == body["metadata"]["name"]
            is_over = is_finished(job) and not was_held(job) and (is_it or not retention_of(job))
            if is_over or (is_waiting(job) and not is_it and request_of(job).action is action):
                await self.remove(job)
        await self._make(scene, body)

    async def _make(self, scene: Scene, body: kube.Object) -> None:
        name = body["metadata"]["name"]
        if self._store.get(kube.JOB, scene.key.namespace, name) is not None:
            return
        try:
            self._store.put(await self._cluster.create(body))
        except kube.ConflictError as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            logger.info("made Job %s", name)
