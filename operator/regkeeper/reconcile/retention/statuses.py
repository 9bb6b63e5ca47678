"""Writes what ImageRetentions and Registries say about runs. `now` is the time of day."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from regkeeper import kube, naming
from regkeeper.answer import Answer
from regkeeper.errors import InvalidSpecError
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import READY, State
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.retention import outcome, reports
from regkeeper.reconcile.retention.outages import LONGEST, is_alone, is_awaited, replaced_within
from regkeeper.reconcile.retention.outcome import Conclusion
from regkeeper.reconcile.retention.reports import Subject
from regkeeper.reconcile.retention.scene import Scene
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.resources.config import config_file
from regkeeper.resources.lease import Holder, Lock, Quiet, read_lock

logger = logging.getLogger(__name__)


class Statuses:
    """The statuses. `store` has the ImageRetentions and the locks, `registries` the Registries."""

    def __init__(
        self,
        cluster: kube.Cluster,
        store: Store,
        registries: Store,
        status: StatusWriter,
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._registries = registries
        self._status = status
        self._now = now

    def of(self, key: Key, name: str) -> Mapping[str, Any]:
        """What an ImageRetention says now: this pass may have written it before. Empty if it is not there."""
        return (self._body(key, name) or {}).get("status") or {}

    async def remember(
        self, scene: Scene, subject: Subject, run: dict[str, Any], conclusion: Conclusion | None = None
    ) -> None:
        """Put how a run goes, or went, into the status of its policy, if that is still there."""
        change = reports.after(self.of(scene.key, subject.policy), subject, run, conclusion, self._now())
        await self._update(scene, subject.policy, change)

    async def remember_elsewhere(self, key: Key, subject: Subject, run: dict[str, Any], conclusion: Conclusion) -> None:
        """The same of a run that is none of the Registry's any more: the conditions say why."""
        body = self._body(key, subject.policy)
        if body is None:
            return
        before = body.get("status") or {}
        states = {READY: conditions.false(f"Run{run['outcome']}", f"Job {run['job']}: {run['message']}")}
        for each in before.get("conditions") or ():
            states[each["type"]] = State(each["status"], each["reason"], each["message"])
        await self.write(body, states, _fields(before, reports.after(before, subject, run, conclusion, self._now())))

    async def report(self, scene: Scene, name: str, waits: str = "") -> None:
        """Write what follows from the rest: conditions, and what has passed. `waits`: why a Job of it does."""
        await self._update(scene, name, {**self._resumed(scene, name), **self._forgotten(scene, name)}, waits)

    def became_read_only_within(self, scene: Scene, holder: Holder) -> timedelta | None:
        """How long the only pod of a registry took to be replaced by one that is read-only; None: nobody noticed."""
        live = self._registries.get(kube.DEPLOYMENT, *scene.key)
        if live is None or holder.quiet is not Quiet.READ_ONLY or holder.quiet_since is None or not is_alone(live):
            return None
        if scene.registry.spec.read_only:
            return None  # It was so before.
        return self._replaced_within(scene, read_only=True, since=holder.quiet_since)

    def await_pods(self, key: Key) -> bool:
        """Whether a run of a Registry that has ended has yet to tell when its pods served as before."""
        runs = [
            (body.get("status") or {}).get("lastRun") or {} for body in self._store.children(key, kube.IMAGE_RETENTION)
        ]
        earliest = self._now() - LONGEST
        return any(is_awaited(last) and datetime.fromisoformat(last["finished"]) >= earliest for last in runs)

    def _resumed(self, scene: Scene, name: str) -> dict[str, Any]:
        """What to add to a run that has ended, once its registry serves as before."""
        last = self.of(scene.key, name).get("lastRun") or {}
        if not is_awaited(last) or self.holder(scene) is not None:
            return {}
        if scene.registry.spec.read_only and "pullsWaited" not in last:
            return {}  # It was read-only before, and was not stopped: its pod went for another reason than the run.
        finished = datetime.fromisoformat(last["finished"])
        took = self._replaced_within(scene, read_only=scene.registry.spec.read_only, since=finished)
        return {} if took is None else {"lastRun": outcome.resumed(last, took)}

    def _forgotten(self, scene: Scene, name: str) -> dict[str, Any]:
        """What to say of a run of which nobody tells any more, as it has no lock: that was released by hand, say."""
        locks = [read_lock(live) for live in self._store.children(scene.key, kube.LEASE)]
        running = {lock.holder.uid for lock in (*locks, self._lock(scene)) if lock.holder is not None}
        return outcome.forgotten(self.of(scene.key, name), running, self._now())

    def _replaced_within(self, scene: Scene, *, read_only: bool, since: datetime) -> timedelta | None:
        live = self._registries.get(kube.DEPLOYMENT, *scene.key)
        if live is None:
            return None
        try:
            config = config_file(scene.registry, read_only=read_only).digest
        except InvalidSpecError:
            return None  # it was changed meanwhile, and its pods are still as before
        return replaced_within(live, self._registries.children(scene.key, kube.POD), config=config, since=since)

    async def _update(self, scene: Scene, name: str, change: Mapping[str, Any], waits: str = "") -> None:
        body, policy = self._body(scene.key, name), scene.policies.valid.get(name)
        if body is None or name not in scene.policies.bodies:
            return  # it is gone, or about to go
        fields = _fields(body.get("status") or {}, change)
        if policy is None:
            # It was edited while its run was under way, whose outcome it has to tell all the same.
            await self.write(body, reports.invalid(scene.policies.invalid[name]), fields)
            return
        fields = reports.brought_up_to_date(fields, policy, self._now())
        lock = self._lock(scene)
        if not scene.policies.in_use_matters:
            lock = replace(lock, rescue=None)
        await self.write(body, reports.states(policy, fields, lock, waits), fields)

    async def tell_of_earlier(self, scene: Scene, answer: Answer) -> None:
        """Put into the status of whatever policy they were of what a run tells of earlier ones.

        That is how an undo ended which was stopped, and what a run did whose answer was lost.
        """
        for name in scene.policies.bodies:
            before = self.of(scene.key, name)
            change = reports.finished_undo(before, answer, self._now()) | reports.repeated(before, answer)
            if change:
                await self._update(scene, name, change)

    async def usage(self, scene: Scene, conclusion: Conclusion) -> None:
        """Tell in the Registry's status what its volume holds. Not worth a repetition: the next run tells it again."""
        before = (self._registries.registry(scene.key) or {}).get("status") or {}
        usage = outcome.usage(before.get("usage") or {}, conclusion, self._now())
        if usage is None or usage == before.get("usage"):
            return
        try:
            patched = await self._cluster.patch_status(kube.REGISTRY, *scene.key, {"status": {"usage": usage}})
        except kube.ApiError as error:
            logger.warning("status.usage of Registry %s could not be written: %s", scene.key.name, error)
        else:
            self._registries.put(patched)

    async def post(self, scene: Scene, name: str, state: State) -> None:
        """Post an Event about an ImageRetention."""
        body = self._body(scene.key, name)
        if body is not None:
            await self._status.post(body, state)

    async def write(self, body: kube.Object, states: reports.States, fields: dict[str, Any] | None = None) -> None:
        """Write conditions and, if given, all other fields."""
        with suppress(kube.NotFoundError):
            await self._status.write(body, states, fields)

    def holder(self, scene: Scene) -> Holder | None:
        """The run that has the lock."""
        return self._lock(scene).holder

    def _lock(self, scene: Scene) -> Lock:
        return read_lock(self._store.get(kube.LEASE, scene.key.namespace, naming.lock_name(scene.claim)))

    def _body(self, key: Key, name: str) -> kube.Object | None:
        return self._store.get(kube.IMAGE_RETENTION, key.namespace, name) if name else None


def _fields(before: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A status without conditions, changed."""
    rest = {key: value for key, value in before.items() if key not in ("conditions", "observedGeneration")}
    return {**rest, **change}
