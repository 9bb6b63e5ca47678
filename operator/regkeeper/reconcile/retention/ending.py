"""The end of a run whose containers have stopped: its outcome into the status, then the lock free, in that order."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from regkeeper import kube
from regkeeper.answer import Answer
from regkeeper.errors import RegkeeperError
from regkeeper.reconcile import conditions
from regkeeper.reconcile.in_use import InUseUnknownError
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.retention import outcome
from regkeeper.reconcile.retention.gate import Gate
from regkeeper.reconcile.retention.jobs import Jobs
from regkeeper.reconcile.retention.outcome import Conclusion
from regkeeper.reconcile.retention.reports import Subject
from regkeeper.reconcile.retention.requests import Action, Request, request_of
from regkeeper.reconcile.retention.scene import Scene
from regkeeper.reconcile.retention.statuses import Statuses
from regkeeper.reconcile.retention.waiting import is_waiting
from regkeeper.reconcile.store import Store
from regkeeper.resources.lease import Holder, Lock

logger = logging.getLogger(__name__)

REFUSALS = (kube.InvalidError, kube.ForbiddenError)
"""Which last, as that of an admission policy."""

MOST_UNANSWERED = 10
"""As many lost answers are repeated. The volume has the last twenty."""


class Ending:
    """Ends runs. `now` is the time of day."""

    def __init__(self, gate: Gate, jobs: Jobs, statuses: Statuses, store: Store, now: Callable[[], datetime]) -> None:
        self._gate = gate
        self._jobs = jobs
        self._statuses = statuses
        self._store = store
        self._now = now

    async def end(self, scene: Scene, live: kube.Object, lock: Lock, holder: Holder, conclusion: Conclusion) -> None:
        """End the run that has the lock.

        Raises:
            ApiError: it is to be done again, and harms nobody.
        """
        logger.info("Job %s: %s %s", holder.job, conclusion.outcome, conclusion.message)
        job, subject = self._job(scene.key, holder)
        replaced = self._statuses.became_read_only_within(scene, holder)
        fields = outcome.ended(holder, conclusion, self._now(), replaced)
        answer = conclusion.answer
        missed = await self._may_miss_victims(scene, holder, conclusion)
        if missed and answer is not None and answer.run is not None and scene.policies.invalid:
            remedy = f"`regkeeper restore {answer.run}` on the volume does at once"
            fields["warnings"].append(f"what came into use meanwhile comes back once all policies are valid: {remedy}")
        after = self._after(lock, holder, conclusion, missed=missed)
        taken = True
        try:
            await self._statuses.remember(scene, subject, fields, conclusion)
        except REFUSALS:
            # No repetition helps, and pushes must not wait for it.
            logger.exception("the status does not take the outcome of Job %s", holder.job)
            taken = False
            with suppress(*REFUSALS):
                silent = replace(conclusion, answer=None)
                fields = outcome.ended(holder, silent, self._now(), replaced)
                await self._statuses.remember(scene, subject, fields, silent)
        if answer is not None:
            with suppress(*REFUSALS):
                await self._statuses.tell_of_earlier(scene, answer)
        await self._statuses.usage(scene, conclusion)
        try:
            await self._gate.briefing.forget(scene)
        except (RegkeeperError, kube.ApiError) as error:
            if isinstance(error, kube.ApiError) and not isinstance(error, REFUSALS) and self._now() < holder.end:
                raise
            # It stays, and is of no use: it names the run by its uid.
            logger.warning("what Job %s was told is not taken away: %s", holder.job, error)
        await self._gate.release(scene.key, live, after)
        if holder.action == Action.RESCUE:
            state = conditions.false("NotBroughtBack", after.rescue.trouble) if after.rescue is not None else None
            await self._statuses.post(
                scene, holder.retention, state or conditions.true("BroughtBack", conclusion.message)
            )
        if job is not None and is_waiting(job):
            # Its outcome is known, although it never began: it would be let in again.
            await self._jobs.remove(job)
        elif job is not None and not taken:
            # A run that has ended and that a status still calls running is one that lost its lock, and gets it again.
            await self._gate.let_fall(job)

    async def end_elsewhere(
        self, key: Key, live: kube.Object, lock: Lock, holder: Holder, conclusion: Conclusion
    ) -> None:
        """End a run whose Registry is gone, or has another volume. The one that gets this volume reads the lock."""
        logger.warning("Job %s: %s %s", holder.job, conclusion.outcome, conclusion.message)
        _, subject = self._job(key, holder)
        fields = outcome.ended(holder, conclusion, self._now())
        try:
            await self._statuses.remember_elsewhere(key, subject, fields, conclusion)
        except REFUSALS:
            logger.exception("the status does not take the outcome of Job %s", holder.job)
        # Nobody can say now what came into use meanwhile: that is looked for as soon as there is a Registry again.
        missed = conclusion.is_half_done or (conclusion.answer is not None and _has_victims(conclusion.answer))
        missed = missed and holder.action == Action.RETAIN
        await self._gate.release(key, live, self._after(lock, holder, conclusion, missed=missed))

    def _after(self, lock: Lock, holder: Holder, conclusion: Conclusion, *, missed: bool) -> Lock:
        """What the lock tells the runs that follow."""
        now, unanswered = self._now(), lock.unanswered
        if conclusion.answer is not None and conclusion.answer.quarantined is not None:
            # It came from the volume, and with it what the earliest of these runs had answered.
            unanswered = unanswered[1:]
        if conclusion.is_lost:
            unanswered = (*unanswered, holder.uid)[-MOST_UNANSWERED:]
        return replace(
            lock,
            purge_due=outcome.purge_due(lock.purge_due, holder, conclusion, now),
            unanswered=unanswered,
            rescue=outcome.rescue_due(lock, holder, conclusion, now, missed=missed),
        )

    async def _may_miss_victims(self, scene: Scene, holder: Holder, conclusion: Conclusion) -> bool:
        """Whether something that a run deleted came into use while it was under way, or may have.

        A Job then looks, and brings it back; it finds out, too, where nobody can say now.
        """
        if holder.action != Action.RETAIN or not scene.policies.in_use_matters:
            return False
        answer = conclusion.answer
        if answer is None or conclusion.is_half_done:
            return conclusion.is_half_done
        if not _has_victims(answer):
            return False
        try:
            return await self._gate.briefing.came_into_use(scene, holder, answer)
        except (InUseUnknownError, kube.ApiError) as error:
            logger.warning("what came into use while Job %s ran is not known: %s", holder.job, error)
            return True

    def _job(self, key: Key, holder: Holder) -> tuple[kube.Object | None, Subject]:
        """The Job of a run, if it is still there, and what it was for."""
        jobs = self._store.children(key, kube.JOB)
        job = next((each for each in jobs if each["metadata"]["uid"] == holder.uid), None)
        if job is not None:
            return job, Subject(holder.retention, holder.job, request_of(job))
        undone = self._statuses.of(key, holder.retention).get("undone") or {}
        request = Request(Action(holder.action), run=undone.get("run", ""), forget=undone.get("forget", False))
        return None, Subject(holder.retention, holder.job, request)


def _has_victims(answer: Answer) -> bool:
    """Whether a run deleted what somebody may use."""
    return answer.run is not None and answer.deleted.tags + answer.deleted.manifests > 0
