"""One pass over a Registry's ImageRetentions: their CronJobs and Jobs, the run that has the lock, their status.

A pass may be cut off anywhere and be repeated any number of times; it makes no write when nothing has to change.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from regkeeper import kube, naming
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.errors import BlockedError, InvalidSpecError, RegkeeperError, WaitingError
from regkeeper.reconcile import conditions
from regkeeper.reconcile.in_use import InUseUnknownError
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.parsing import parse
from regkeeper.reconcile.queue import Key, Verdict
from regkeeper.reconcile.retention import outcome, reports
from regkeeper.reconcile.retention.gate import Gate
from regkeeper.reconcile.retention.outcome import Conclusion
from regkeeper.reconcile.retention.policies import Policies, read_policies
from regkeeper.reconcile.retention.requests import Action, Request, read_request, retention_of
from regkeeper.reconcile.retention.scene import RunRefusedError, Scene
from regkeeper.reconcile.retention.waiting import is_waiting, line_up
from regkeeper.reconcile.retention.wanted import wanted_jobs
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.resources.retention.cron_job import cron_job
from regkeeper.resources.retention.lock import Holder, Lock, Quiet, read_lock
from regkeeper.resources.retention.run_job import policy_job, purge_job
from regkeeper.resources.storage import storage_claim
from regkeeper.settings import Settings

logger = logging.getLogger(__name__)

TROUBLED_SECONDS = 60.0
"""Until a policy is looked at again of which the API server refused an object, or whose CronJob's name is taken."""
MOST_STEPS = 20
"""Of one pass. A run has eight."""


class RetentionReconciler:
    """Keeps the ImageRetentions of all Registries. `now` is the time of day.

    `store` has ImageRetentions, CronJobs, Jobs, their pods and locks; `registries` the Registries and their objects.
    """

    def __init__(
        self,
        *,
        cluster: kube.Cluster,
        store: Store,
        registries: Store,
        settings: Settings,
        status: StatusWriter,
        now: Callable[[], datetime],
        changed: Callable[[Key], None],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._registries = registries
        self._settings = settings
        self._status = status
        self._now = now
        self._objects = Objects(cluster, store)
        self.gate = Gate(
            cluster=cluster,
            store=store,
            objects=self._objects,
            registries=registries,
            now=now,
            changed=changed,
        )

    def quiet(self, key: Key, claim: str) -> Quiet | None:
        """What the run that has the lock of a claim asks of the Registry on it."""
        holder = read_lock(self._store.get(kube.LEASE, key.namespace, naming.lock_name(claim))).holder
        return None if holder is None else holder.quiet

    def is_under_way(self, key: Key) -> bool:
        """Whether a run has the lock of a Registry."""
        return any(read_lock(body).holder is not None for body in self._store.children(key, kube.LEASE))

    async def look(self, key: Key) -> float | None:
        """Make a pass; return the seconds after which to look again, or None.

        Raises:
            RegkeeperError, ApiError: the pass could not be finished.
        """
        policies = read_policies(self._store.children(key, kube.IMAGE_RETENTION))
        for name, trouble in policies.invalid.items():
            await self._stop_schedule(key, name)
            await self._write(policies.bodies[name], reports.invalid(trouble))
        body = self._registries.registry(key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return await self._without_registry(key, policies, reports.no_registry(key.name))
        try:
            registry = parse(Registry, body)
        except InvalidSpecError as error:
            return await self._without_registry(key, policies, reports.unreadable_registry(key.name, str(error)))
        claim = storage_claim(registry)
        if claim is None:
            return await self._without_registry(key, policies, reports.ephemeral(key.name))
        scene = Scene(key, registry, claim, policies)
        troubles: dict[str, reports.States] = {}
        passing: Exception | None = None
        for name, policy in policies.valid.items():
            # Of this policy alone: a run of another one that has the lock must come to its end.
            try:
                await self._ensure_policy(scene, policy)
            except (kube.ConflictError, kube.TransientError, kube.TerminatingError, WaitingError) as error:
                passing = error
            except (kube.ApiError, RegkeeperError) as error:
                troubles[name] = reports.failing(error.reason or "ApiError", str(error), stalled=_is_stalled(error))
        delays = [await self._wind_down(key, besides=naming.lock_name(claim)), await self._run(scene)]
        for name in policies.valid:
            if name in troubles:
                await self._write(policies.bodies[name], troubles[name])
            else:
                await self._report(scene, name)
        if passing is not None:
            raise passing
        if troubles:
            delays.append(TROUBLED_SECONDS)
        delays += [reports.seconds_until_next_run(policy, self._now()) for policy in policies.valid.values()]
        return min((delay for delay in delays if delay is not None), default=None)

    async def tell(self, key: Key, error: Exception, verdict: Verdict) -> None:
        """Put an error of a pass into the conditions of the Registry's ImageRetentions."""
        message = str(error) if verdict.reason != "InternalError" else f"{type(error).__name__}: {error}"
        for body in self._store.children(key, kube.IMAGE_RETENTION):
            if "deletionTimestamp" not in body["metadata"]:
                await self._write(body, reports.failing(verdict.reason, message, stalled=_is_stalled(error)))

    async def _without_registry(self, key: Key, policies: Policies, states: reports.States) -> float | None:
        """No run can begin; of one that is under way the end is awaited, and its lock given free."""
        for name in policies.valid:
            await self._write(policies.bodies[name], states)
        delay = await self._wind_down(key)
        if delay is None:
            await self.gate.let_all_fall(key)
        return delay

    async def _wind_down(self, key: Key, besides: str = "") -> float | None:
        """Await the ends of runs on volumes that are no longer the Registry's; `besides` is the lock of its own."""
        delays = []
        for live in self._store.children(key, kube.LEASE):
            if live["metadata"]["name"] != besides:
                turn = await self.gate.wind_down(key, live, read_lock(live))
                delays += [] if turn.seconds is None else [turn.seconds]
        return min(delays, default=None)

    async def _stop_schedule(self, key: Key, name: str) -> None:
        live = self._store.get(kube.CRON_JOB, key.namespace, name)
        if live is not None and not live["spec"].get("suspend"):
            await self._objects.merge(live, {"spec": {"suspend": True}})

    async def _ensure_policy(self, scene: Scene, policy: ImageRetention) -> None:
        """Its CronJob, and the Jobs that it asks for besides the schedule."""
        live = await self._objects.ensure(policy, cron_job(policy, scene.registry, self._settings))
        status = scene.policies.bodies[policy.metadata.name].get("status") or {}
        for name, request in wanted_jobs(policy, status, self._now()).items():
            await self._make_job(
                scene,
                name,
                lambda name=name, request=request: policy_job(  # type: ignore[misc]
                    policy,
                    scene.registry,
                    self._settings,
                    name=name,
                    annotations=request.annotations,
                    cron_job_uid=live["metadata"]["uid"],
                ),
            )

    async def _make_job(self, scene: Scene, name: str, build: Callable[[], kube.Object]) -> None:
        if self._store.get(kube.JOB, scene.key.namespace, name) is not None:
            return
        try:
            self._store.put(await self._cluster.create(build()))
        except kube.ConflictError as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            logger.info("made Job %s", name)

    async def _run(self, scene: Scene) -> float | None:
        """Take the run that has the lock as far as it goes, then let the next one in."""
        for _ in range(MOST_STEPS):
            live = self._store.get(kube.LEASE, scene.key.namespace, naming.lock_name(scene.claim))
            lock = read_lock(live)
            if lock.holder is not None and live is not None:
                turn = await self.gate.take_step(scene, live, lock, lock.holder)
                if turn.ended is not None:
                    await self._end(scene, live, lock, lock.holder, turn.ended)
                elif not turn.again:
                    await self._report(scene, lock.holder.retention)
                    return turn.seconds
                continue
            if await self.gate.adopt(scene, live, lock):
                continue
            await self.gate.tidy(scene)
            await self._ensure_purge(scene, lock)
            waiting = await self._let_in(scene, live, lock)
            if waiting is not None:
                return waiting.seconds
        raise WaitingError("its run needs further steps", reason="Progressing", delay=0.1)

    async def _let_in(self, scene: Scene, live: kube.Object | None, lock: Lock) -> "_Idle | None":
        """Open the gate for the Job whose turn it is; how long to wait if there is none."""
        line = line_up(self._store.children(scene.key, kube.JOB), scene.policies.valid, self._now())
        for job in line.missed:
            await self._dismiss(scene, job, "Missed", "its startingDeadline passed before its turn came")
        for job in line.superseded:
            await self._dismiss(scene, job, "", "a newer Job of the same policy runs instead")
        for job, why in line.unfit:
            await self._dismiss(scene, job, "Refused", why)
        if line.next is None:
            return _Idle(self._until_purge(lock))
        try:
            holder = await self.gate.open(scene, live, lock, line.next)
        except RunRefusedError as error:
            await self._dismiss(scene, line.next, "Refused", str(error))
            if live is not None and read_request(line.next).action is Action.PURGE:
                # Else it would be made again at once, and be refused again.
                await self.gate.postpone_purge(scene, live, lock)
            return None
        except WaitingError as error:
            return _Idle(error.delay)
        await self._remember(scene, holder.retention, read_request(line.next), outcome.began(holder))
        return None

    async def _dismiss(self, scene: Scene, job: kube.Object, what: str, why: str) -> None:
        """End a Job whose gate never opened."""
        logger.warning("Job %s does not run: %s", job["metadata"]["name"], why)
        if what:
            fields = outcome.not_begun(job, what, why, self._now())
            await self._remember(scene, retention_of(job), self._request(job), fields)
            if self._request(job).action is Action.SHOW and (body := self._body(scene, retention_of(job))) is not None:
                await self._status.post(body, conditions.false("PlanNotShown", f"Job {job['metadata']['name']}: {why}"))
        await self._objects.remove(job)
        self._store.remove(job)

    async def _end(self, scene: Scene, live: kube.Object, lock: Lock, holder: Holder, conclusion: Conclusion) -> None:
        """A run's containers have stopped: its outcome into the status, then the lock free, in that order."""
        logger.info("Job %s: %s %s", holder.job, conclusion.outcome, conclusion.message)
        job = next(
            (each for each in self._store.children(scene.key, kube.JOB) if each["metadata"]["uid"] == holder.uid), None
        )
        request = self._request_of_holder(scene, holder) if job is None else self._request(job)
        answer = conclusion.answer
        deleted = answer is not None and answer.deleted.tags + answer.deleted.manifests > 0
        deleted_by = answer.run if answer is not None and deleted else None
        fields = outcome.ended(holder, conclusion, self._now())
        if deleted_by is not None and not self._is_known(scene, holder):
            fields["warnings"] = [*fields["warnings"], *await self._look_after_victims(scene, holder, deleted_by)]
        try:
            await self._remember(scene, holder.retention, request, fields, conclusion)
        except kube.InvalidError:
            # No repetition helps, and pushes must not wait for it.
            logger.exception("the status does not take the outcome of Job %s", holder.job)
        await self._report_usage(scene, conclusion)
        due = outcome.purge_due(lock.purge_due, holder, conclusion, self._now())
        lost = holder.uid if conclusion.is_lost else lock.unanswered
        if answer is not None and answer.quarantined is not None:
            # It came from the volume, and with it what an earlier run had answered.
            lost = ""
        try:
            await self.gate.briefing.forget(scene)
        except BlockedError as error:
            logger.warning("what Job %s was told is not taken away: %s", holder.job, error)
        await self.gate.release(scene.key, live, replace(lock, purge_due=due, unanswered=lost))
        if job is not None and is_waiting(job):
            # Its outcome is known, although it never began: it would be let in again.
            await self._objects.remove(job)
            self._store.remove(job)

    async def _report_usage(self, scene: Scene, conclusion: Conclusion) -> None:
        """Tell in the Registry's status what its volume holds. Not worth a repetition: the next run tells it again."""
        body = self._registries.registry(scene.key)
        before = {} if body is None else body.get("status") or {}
        usage = outcome.usage(before.get("usage") or {}, conclusion, self._now())
        if usage is None or usage == before.get("usage"):
            return
        try:
            patched = await self._cluster.patch_status(kube.REGISTRY, *scene.key, {"status": {"usage": usage}})
        except kube.ApiError as error:
            logger.warning("status.usage of Registry %s could not be written: %s", scene.key.name, error)
        else:
            self._registries.put(patched)

    async def _look_after_victims(self, scene: Scene, holder: Holder, run: str) -> list[str]:
        """Bring back what came into use while a run was under way; warnings, where nobody can say what did."""
        try:
            if await self.gate.briefing.came_into_use(scene, holder):
                await self._rescue(scene, holder, run)
        except (InUseUnknownError, kube.ApiError) as error:
            if isinstance(error, kube.ApiError) and self._now() < holder.end:
                raise
            # A run that would bring something back could not ask either; pushes must not wait for that.
            return [f"what came into use meanwhile is not known: {error}"]
        return []

    def _is_known(self, scene: Scene, holder: Holder) -> bool:
        """Whether the outcome of a run stands in the status: then what came into use was asked before."""
        last = ((self._body(scene, holder.retention) or {}).get("status") or {}).get("lastRun") or {}
        return bool(last.get("uid") == holder.uid and last["outcome"] != "Running")

    @staticmethod
    def _request(job: kube.Object) -> Request:
        """What a Job is for, as far as it says so in our words."""
        try:
            return read_request(job)
        except RunRefusedError:
            return Request()

    def _request_of_holder(self, scene: Scene, holder: Holder) -> Request:
        """What a run was for whose Job is gone."""
        undone = ((self._body(scene, holder.retention) or {}).get("status") or {}).get("undone") or {}
        return Request(Action(holder.action), run=undone.get("run", ""), forget=undone.get("forget", False))

    async def _rescue(self, scene: Scene, holder: Holder, run: str) -> None:
        """Bring back what came into use while a run was under way."""
        policy = scene.policies.valid.get(holder.retention)
        cron = self._store.get(kube.CRON_JOB, scene.key.namespace, holder.retention)
        if policy is None or cron is None:
            return
        request = Request(action=Action.RESCUE, run=run)
        name = f"{holder.job}-rescue"
        uid = cron["metadata"]["uid"]
        await self._make_job(
            scene,
            name,
            lambda: policy_job(
                policy, scene.registry, self._settings, name=name, annotations=request.annotations, cron_job_uid=uid
            ),
        )

    async def _ensure_purge(self, scene: Scene, lock: Lock) -> None:
        """Make the Job that frees what can no longer be undone, once its time has come."""
        due = lock.purge_due
        if due is None or due > self._now():
            return
        name = f"{scene.key.name}-purge-{due:%Y%m%d%H%M%S}"
        request = Request(action=Action.PURGE)
        await self._make_job(
            scene,
            name,
            lambda: purge_job(scene.registry, self._settings, name=name, annotations=request.annotations),
        )

    def _until_purge(self, lock: Lock) -> float | None:
        return None if lock.purge_due is None else max(1.0, (lock.purge_due - self._now()).total_seconds())

    async def _remember(
        self,
        scene: Scene,
        name: str,
        request: Request,
        run: dict[str, Any],
        conclusion: Conclusion | None = None,
    ) -> None:
        """Put how a run goes, or went, into the status of its policy, if that is still there."""
        body = self._body(scene, name)
        if body is None:
            return
        before = body.get("status") or {}
        fields = {key: value for key, value in before.items() if key not in ("conditions", "observedGeneration")}
        fields |= reports.after(before, request, run, conclusion, self._now())
        policy = scene.policies.valid.get(name)
        if policy is not None:
            fields = reports.brought_up_to_date(fields, policy, self._now())
            await self._write(body, reports.states(policy, fields, self._holder(scene)), fields)

    def _body(self, scene: Scene, name: str) -> kube.Object | None:
        """The ImageRetention as it is now: this pass may have written its status before."""
        return self._store.get(kube.IMAGE_RETENTION, scene.key.namespace, name) if name else None

    def _holder(self, scene: Scene) -> Holder | None:
        return read_lock(self._store.get(kube.LEASE, scene.key.namespace, naming.lock_name(scene.claim))).holder

    async def _report(self, scene: Scene, name: str) -> None:
        """Write what follows from the rest: conditions, and what has passed."""
        body, policy = self._body(scene, name), scene.policies.valid.get(name)
        if body is None or policy is None:
            return
        before = body.get("status") or {}
        fields = {key: value for key, value in before.items() if key not in ("conditions", "observedGeneration")}
        fields = reports.brought_up_to_date(fields, policy, self._now())
        await self._write(body, reports.states(policy, fields, self._holder(scene)), fields)

    async def _write(self, body: kube.Object, states: reports.States, fields: dict[str, Any] | None = None) -> None:
        with suppress(kube.NotFoundError):
            await self._status.write(body, states, fields)


def _is_stalled(error: Exception) -> bool:
    """Whether only a person can help."""
    return isinstance(error, InvalidSpecError | BlockedError | kube.InvalidError)


class _Idle:
    """Nothing to do for so many seconds; None: until something changes."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
