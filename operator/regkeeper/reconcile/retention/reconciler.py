"""One pass over a Registry's ImageRetentions: their CronJobs and Jobs, the run that has the lock, their status.

A pass may be cut off anywhere and be repeated any number of times; it makes no write when nothing has to change.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from regkeeper import kube, naming
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.errors import BlockedError, InvalidSpecError, RegkeeperError, WaitingError
from regkeeper.reconcile import conditions
from regkeeper.reconcile.job_life import is_finished
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.parsing import parse
from regkeeper.reconcile.queue import Key, Verdict
from regkeeper.reconcile.retention import outcome, reports
from regkeeper.reconcile.retention.ending import REFUSALS, Ending
from regkeeper.reconcile.retention.gate import Gate
from regkeeper.reconcile.retention.jobs import Jobs
from regkeeper.reconcile.retention.policies import Policies, read_policies
from regkeeper.reconcile.retention.reports import Subject
from regkeeper.reconcile.retention.requests import (
    Action,
    claim_of,
    created,
    read_request,
    request_of,
    retention_of,
)
from regkeeper.reconcile.retention.run import was_held
from regkeeper.reconcile.retention.scene import RunRefusedError, Scene
from regkeeper.reconcile.retention.statuses import Statuses
from regkeeper.reconcile.retention.waiting import Line, is_waiting, line_up
from regkeeper.reconcile.retention.wanted import due_rescue
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.resources.lease import Holder, Lock, read_lock
from regkeeper.resources.storage import storage_claim
from regkeeper.settings import Settings

logger = logging.getLogger(__name__)

TROUBLED_SECONDS = 60.0
"""Until a policy is looked at again of which the API server refused an object, whose CronJob's name is taken, or that
waits for another Registry's run: of a Lease that somebody deletes only that one hears."""
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
        self._store = store
        self._registries = registries
        self._now = now
        objects = Objects(cluster, store)
        self._jobs = Jobs(cluster, store, objects, settings, now)
        self._statuses = Statuses(cluster, store, registries, status, now)
        self.gate = Gate(
            cluster=cluster,
            store=store,
            objects=objects,
            registries=registries,
            settings=settings,
            now=now,
            changed=changed,
        )
        self._ending = Ending(self.gate, self._jobs, self._statuses, store, now)

    def holder(self, key: Key, claim: str) -> Holder | None:
        """The run that has the lock of a claim, and may ask something of the Registry on it."""
        return read_lock(self._store.get(kube.LEASE, key.namespace, naming.lock_name(claim))).holder

    def follows(self, key: Key) -> bool:
        """Whether a run waits for the objects of a Registry: until it is quiet, or to tell when it served again."""
        locks = self._store.children(key, kube.LEASE)
        return any(read_lock(body).holder is not None for body in locks) or self._statuses.await_pods(key)

    async def look(self, key: Key) -> float | None:
        """Make a pass; return the seconds after which to look again, or None.

        Raises:
            RegkeeperError, ApiError: the pass could not be finished.
        """
        await self._let_claims_go(key)
        policies = read_policies(self._store.children(key, kube.IMAGE_RETENTION))
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
        troubles = _Troubles()
        for name, policy in policies.valid.items():
            with troubles.of(name):
                await self._jobs.ensure(scene, policy)
        idle = await self._run(scene, troubles)
        delays = [await self._wind_down(key, besides=naming.lock_name(claim)), idle.seconds]
        await self._stop_invalid(key, policies, troubles)
        for name in policies.valid:
            if name in troubles.lasting:
                await self._statuses.write(self._live(key, policies, name), troubles.lasting[name])
            else:
                await self._statuses.report(scene, name, self._why_it_waits(scene, name, idle.why))
        delays.append(troubles.delay())
        for name, policy in policies.valid.items():
            delays.append(reports.seconds_until_change(policy, self._statuses.of(key, name), self._now()))
        return _earliest(*delays)

    async def tell(self, key: Key, error: Exception, verdict: Verdict) -> None:
        """Put an error of a pass into the conditions of the Registry's ImageRetentions."""
        message = str(error) if verdict.reason != "InternalError" else f"{type(error).__name__}: {error}"
        for body in self._store.children(key, kube.IMAGE_RETENTION):
            if "deletionTimestamp" not in body["metadata"]:
                await self._statuses.write(body, reports.failing(verdict.reason, message, stalled=_is_stalled(error)))

    async def _without_registry(self, key: Key, policies: Policies, states: reports.States) -> float | None:
        """No run can begin; of one that is under way the end is awaited, and its lock given free."""
        troubles = _Troubles()
        for name in policies.valid:
            with troubles.of(name):
                await self._statuses.write(policies.bodies[name], states)
        delay = await self._wind_down(key)
        if delay is None:
            await self.gate.tidy(key)
        await self._stop_invalid(key, policies, troubles)
        return _earliest(delay, troubles.delay())

    async def _let_claims_go(self, key: Key) -> None:
        """Remove Jobs that have ended, logs and all, whose claim is being deleted: it stays as long as their pods do.

        The next Registry of that name waits for it, and so does the space of one that goes with its Registry.
        """
        for job in self._store.children(key, kube.JOB):
            claim = self._registries.get(kube.CLAIM, key.namespace, claim_of(job))
            is_going = claim is not None and "deletionTimestamp" in claim["metadata"]
            if is_going and is_finished(job) and not was_held(job):
                await self._jobs.remove(job)

    async def _stop_invalid(self, key: Key, policies: Policies, troubles: "_Troubles") -> None:
        """Let no more Jobs be made of policies that mean nothing, and say why."""
        for name, why in policies.invalid.items():
            with troubles.of(name):
                await self._jobs.stop_schedule(key.namespace, name)
            with troubles.of(name):
                await self._statuses.write(self._live(key, policies, name), reports.invalid(why))

    def _live(self, key: Key, policies: Policies, name: str) -> kube.Object:
        """A policy as it is now: this pass may have written the outcome of its run."""
        return self._store.get(kube.IMAGE_RETENTION, key.namespace, name) or policies.bodies[name]

    async def _wind_down(self, key: Key, besides: str = "") -> float | None:
        """Await the ends of runs on volumes that are no longer the Registry's; `besides` is the lock of its own."""
        delays: list[float | None] = []
        for live in self._store.children(key, kube.LEASE):
            lock = read_lock(live)
            if live["metadata"]["name"] == besides or lock.holder is None:
                continue
            turn = await self.gate.wind_down(key, live, lock, lock.holder)
            if turn.ended is None:
                delays.append(turn.seconds)
            else:
                await self._ending.end_elsewhere(key, live, lock, lock.holder, turn.ended)
        return _earliest(*delays)

    async def _run(self, scene: Scene, troubles: "_Troubles") -> "_Idle":
        """Take the run that has the lock as far as it goes, then let the next one in."""
        for _ in range(MOST_STEPS):
            live = self._store.get(kube.LEASE, scene.key.namespace, naming.lock_name(scene.claim))
            lock = read_lock(live)
            if lock.holder is not None and live is not None:
                if (other := self._registry_of_another(scene, live, lock.holder)) is not None:
                    return await self._await_turn(
                        scene, lock.holder, TROUBLED_SECONDS, f" of Registry {other}", troubles
                    )
                turn = await self.gate.take_step(scene, live, lock, lock.holder)
                if turn.ended is not None:
                    await self._ending.end(scene, live, lock, lock.holder, turn.ended)
                elif not turn.again:
                    return await self._await_turn(scene, lock.holder, turn.seconds, "", troubles)
                continue
            if await self.gate.adopt(scene, live, lock):
                continue
            await self.gate.tidy(scene.key)
            refused = None
            for make in (self._jobs.rescue, self._jobs.purge):
                try:
                    await make(scene, self.gate.due(scene, lock))
                except REFUSALS as error:
                    # It may be the Jobs that wait which fill a quota; and each that deletes frees what is due.
                    refused = error
            waiting = await self._let_in(scene, live, lock, troubles)
            if waiting is not None:
                if refused is not None:
                    raise refused
                return waiting
        raise WaitingError("its run needs further steps", reason="Progressing", delay=0.1)

    def _registry_of_another(self, scene: Scene, live: kube.Object, holder: Holder) -> str | None:
        """The Registry whose run it is, where two ask for one volume: that one's passes see its Job, and end it."""
        name: str = (live["metadata"].get("labels") or {}).get(naming.REGISTRY_LABEL, scene.key.name)
        jobs = self._store.children(scene.key, kube.JOB)
        is_own = name == scene.key.name or any(job["metadata"]["uid"] == holder.uid for job in jobs)
        return None if is_own else name

    async def _await_turn(
        self, scene: Scene, holder: Holder, seconds: float | None, whose: str, troubles: "_Troubles"
    ) -> "_Idle":
        line = self._line(scene)
        # While a run is under way, the status of its own policy is about that.
        missed = [job for job in line.missed if retention_of(job) != holder.retention]
        await self._dismiss_missed(scene, missed, troubles)
        return _Idle(_earliest(seconds, line.until), f"Job {holder.job}{whose} has the volume")

    def _why_it_waits(self, scene: Scene, name: str, why: str) -> str:
        jobs = self._store.children(scene.key, kube.JOB)
        waiting = [job["metadata"]["name"] for job in jobs if retention_of(job) == name and is_waiting(job)]
        holder = self._statuses.holder(scene)
        # That the lock was taken for a Job is known at once, that it is unsuspended only a step later.
        waiting = [job for job in waiting if holder is None or holder.job != job]
        return f"Job {waiting[0]} waits: {why}" if waiting and why else ""

    async def _let_in(
        self, scene: Scene, live: kube.Object | None, lock: Lock, troubles: "_Troubles"
    ) -> "_Idle | None":
        """Open the gate for the Job whose turn it is; how long to wait if there is none."""
        line = self._line(scene)
        await self._dismiss_missed(scene, line.missed, troubles)
        for job in line.superseded:
            with troubles.of(retention_of(job)):
                await self._dismiss(scene, job, "", "a newer Job of the same policy runs instead")
        for job, why in line.unfit:
            with troubles.of(retention_of(job)):
                await self._dismiss(scene, job, "Refused", why)
        if line.next is None:
            owed = self.gate.due(scene, lock)
            rescue = due_rescue(scene, owed)
            dues = [due for due in (owed.purge_due, None if rescue is None else rescue.due) if due is not None]
            return _Idle(max(1.0, (min(dues) - self._now()).total_seconds()) if dues else None)
        try:
            holder = await self.gate.open(scene, live, lock, line.next)
        except RunRefusedError as error:
            await self._dismiss(scene, line.next, "Refused", str(error))
            if live is not None:
                await self.gate.postpone(scene, live, lock, line.next, str(error))
            return None
        except WaitingError as error:
            return _Idle(_earliest(error.delay, line.until), str(error))
        subject = Subject(holder.retention, holder.job, read_request(line.next))
        await self._statuses.remember(scene, subject, outcome.began(holder))
        return None

    def _line(self, scene: Scene) -> Line:
        return line_up(self._store.children(scene.key, kube.JOB), scene.policies.valid, self._now())

    async def _dismiss_missed(self, scene: Scene, jobs: Iterable[kube.Object], troubles: "_Troubles") -> None:
        for job in jobs:
            with troubles.of(retention_of(job)):
                await self._dismiss(scene, job, "Missed", "its startingDeadline passed before its turn came")

    async def _dismiss(self, scene: Scene, job: kube.Object, what: str, why: str) -> None:
        """End a Job whose gate never opened."""
        logger.warning("Job %s does not run: %s", job["metadata"]["name"], why)
        name, request = retention_of(job), request_of(job)
        last = self._statuses.of(scene.key, name).get("lastRun") or {}
        # An earlier pass may have told this, and not have removed it.
        if what and (last.get("uid"), last.get("outcome")) != (job["metadata"]["uid"], what):
            fields, event = outcome.not_begun(job, what, why, self._now()), ""
            if request.action is Action.SHOW:
                event = "PlanNotShown"
            elif request.action is Action.RESCUE:
                event = "NotBroughtBack"
            elif what == "Missed" and request.action is Action.RETAIN and outcome.ran_since(last, created(job)):
                # It waited for that run, whose victims and `undoUntil` would be told for no moment.
                fields, event = last, "RunMissed"
            await self._statuses.remember(scene, Subject(name, job["metadata"]["name"], request), fields)
            if event:
                await self._statuses.post(scene, name, conditions.false(event, f"Job {job['metadata']['name']}: {why}"))
        await self._jobs.remove(job)


def _earliest(*delays: float | None) -> float | None:
    """The shortest of some times; None: nothing passes by itself."""
    return min((delay for delay in delays if delay is not None), default=None)


def _is_stalled(error: Exception) -> bool:
    """Whether only a person can help."""
    return isinstance(error, InvalidSpecError | BlockedError | kube.InvalidError)


@dataclass(slots=True)
class _Troubles:
    """What kept a pass from doing what concerns one policy alone: a run of another one must come to its end."""

    lasting: dict[str, reports.States] = field(default_factory=dict)
    """By the name of the policy."""
    _passing: Exception | None = None

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Go on after what fails in here."""
        try:
            yield
        except (kube.ConflictError, kube.TransientError, kube.TerminatingError, WaitingError) as error:
            self._passing = error
        except (kube.ApiError, RegkeeperError) as error:
            logger.warning("ImageRetention %s: %s", name, error)
            self.lasting[name] = reports.failing(error.reason or "ApiError", str(error), stalled=_is_stalled(error))

    def delay(self) -> float | None:
        """Seconds after which to try again.

        Raises:
            ApiError, WaitingError: what passes by itself; everything else was done.
        """
        if self._passing is not None:
            raise self._passing
        return TROUBLED_SECONDS if self.lasting else None


@dataclass(frozen=True, slots=True)
class _Idle:
    """Nothing to do at present."""

    seconds: float | None
    """For how long; None: until something changes."""
    why: str = ""
    """What Jobs wait for that wait."""
