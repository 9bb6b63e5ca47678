"""The end of a run whose containers have stopped: its outcome into the status, then the lock free, in that order."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from regkeeper import kube
from regkeeper.answer import Answer, Previous
from regkeeper.errors import RegkeeperError
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
from regkeeper.resources.retention.lock import Holder, Lock

logger = logging.getLogger(__name__)

REFUSALS = (kube.InvalidError, kube.ForbiddenError)
"""Which last, as that of an admission policy."""

_NO_RESCUE = "nothing brings back what of run %s came into use: it has no valid policy"


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
        if answer is not None:
            warnings = [*fields["warnings"], *await self._look_after_victims(scene, holder, answer)]
            fields["warnings"] = list(dict.fromkeys(warnings))  # an earlier pass may have told them
            await self._look_after_earlier_victims(scene, holder, answer)
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
        await self._gate.release(scene.key, live, self._after(lock, holder, conclusion))
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
        after = self._after(lock, holder, conclusion)
        if (answer := conclusion.answer) is not None and answer.run and _has_victims(answer):
            # Nobody can bring back now what came into use meanwhile: the next run here is told of it, which is soon.
            after = replace(after, unanswered=holder.uid, purge_due=self._now())
        await self._gate.release(key, live, after)

    def _after(self, lock: Lock, holder: Holder, conclusion: Conclusion) -> Lock:
        """What the lock tells the runs that follow."""
        due = outcome.purge_due(lock.purge_due, holder, conclusion, self._now())
        lost = holder.uid if conclusion.is_lost else lock.unanswered
        if conclusion.answer is not None and conclusion.answer.quarantined is not None:
            # It came from the volume, and with it what an earlier run had answered.
            lost = ""
        return replace(lock, purge_due=due, unanswered=lost)

    async def _look_after_victims(self, scene: Scene, holder: Holder, answer: Answer) -> list[str]:
        """Bring back what came into use while a run was under way; warnings, where nobody can say what did."""
        run = answer.run
        if not run or not _has_victims(answer):
            return []
        last = self._statuses.of(scene.key, holder.retention).get("lastRun") or {}
        if last.get("uid") == holder.uid and last["outcome"] != "Running":
            return list(last.get("warnings", ()))  # an operator that died since has asked
        try:
            in_use = await self._gate.briefing.came_into_use(scene, holder, answer)
            if in_use and not await self._jobs.rescue(scene, holder.retention, holder.uid, run):
                logger.warning(_NO_RESCUE, run)
                remedy = f"`regkeeper restore {run}` on the volume does, until a purge frees it"
                return [f"what came into use meanwhile is not brought back, as no valid policy asks for it: {remedy}"]
        except (InUseUnknownError, kube.ApiError) as error:
            if isinstance(error, kube.ApiError) and self._now() < holder.end:
                raise
            # A run that would bring something back could not ask either; pushes must not wait for that.
            return [f"what came into use meanwhile is not known: {error}"]
        return []

    async def _look_after_earlier_victims(self, scene: Scene, holder: Holder, answer: Answer) -> None:
        """Bring back what came into use since a run was told whose answer was lost: nobody knew then what to ask for.

        Its policy may have another run by now, or be gone. Any other's Job brings back the same.
        """
        lost = answer.previous
        if lost is None or lost.run is None or not _has_victims(lost):
            return
        if not scene.policies.in_use_matters:
            return
        try:
            names = sorted(scene.policies.valid, key=lambda name: (not self._told_last(scene.key, name, lost), name))
            for name in names:
                if await self._jobs.rescue(scene, name, lost.job, lost.run):
                    return
        except kube.ApiError as error:
            if self._now() < holder.end:
                raise
            # As above: pushes must not wait for what lets no Job be made, as a quota.
            logger.warning("nothing brings back what of run %s came into use: %s", lost.run, error)
            return
        logger.warning(_NO_RESCUE, lost.run)

    def _told_last(self, key: Key, name: str, lost: Previous) -> bool:
        return bool((self._statuses.of(key, name).get("lastRun") or {}).get("uid") == lost.job)

    def _job(self, key: Key, holder: Holder) -> tuple[kube.Object | None, Subject]:
        """The Job of a run, if it is still there, and what it was for."""
        jobs = self._store.children(key, kube.JOB)
        job = next((each for each in jobs if each["metadata"]["uid"] == holder.uid), None)
        if job is not None:
            return job, Subject(holder.retention, holder.job, request_of(job))
        undone = self._statuses.of(key, holder.retention).get("undone") or {}
        request = Request(Action(holder.action), run=undone.get("run", ""), forget=undone.get("forget", False))
        return None, Subject(holder.retention, holder.job, request)


def _has_victims(answer: Answer | Previous) -> bool:
    """Whether a run deleted what somebody may use."""
    return answer.deleted.tags + answer.deleted.manifests > 0
