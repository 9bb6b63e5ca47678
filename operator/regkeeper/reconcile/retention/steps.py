"""The steps of a run, one method a stage. Each may be cut off anywhere and be made again."""

from contextlib import suppress
from datetime import datetime
from typing import Any

from regkeeper import kube, naming
from regkeeper.answer import Outcome
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.registry.diagnosis import event_problem
from regkeeper.reconcile.retention import pods
from regkeeper.reconcile.retention.briefing import Briefing
from regkeeper.reconcile.retention.locks import Locks
from regkeeper.reconcile.retention.requests import Action, read_request
from regkeeper.reconcile.retention.run import AGAIN, Run, Turn
from regkeeper.reconcile.retention.volume import Volume, is_exclusive
from regkeeper.resources.lease import Quiet, Stage
from regkeeper.resources.storage import HOSTNAME_LABEL
from regkeeper.snapshot import Stage as SnapshotStage


class Steps:
    """Takes a run from one stage to the next."""

    def __init__(
        self, cluster: kube.Cluster, objects: Objects, locks: Locks, volume: Volume, briefing: Briefing
    ) -> None:
        self._cluster = cluster
        self._objects = objects
        self._locks = locks
        self._volume = volume
        self._briefing = briefing

    async def take(self, run: Run) -> Turn:
        """Take one.

        Raises:
            RunRefusedError, InUseUnknownError, SnapshotTooLargeError: the run has to end.
            RegkeeperError, ApiError: the step could not be made; it is to be repeated.
        """
        match run.holder.stage:
            case Stage.PREPARING:
                return await self._prepare(run)
            case Stage.PLANNING:
                return await self._plan(run)
            case Stage.SWITCHING:
                return await self._switch(run)
            case Stage.TELLING:
                return await self._tell(run)
            case Stage.RUNNING:
                return await self._follow(run)

    async def _prepare(self, run: Run) -> Turn:
        holder = run.holder
        if not run.is_suspended:
            stage = Stage.PLANNING if holder.quiet is None else Stage.RUNNING
            return await self._locks.advance(run, stage=stage)
        self._volume.check_policies(run.scene, run.job)
        exclusive = is_exclusive(await self._volume.claim(run.scene))
        # Once it is to begin with the switch it does, though the spec no longer asks for read-only: what was told to
        # plan only would wait for the switch to its end, and pushes with it.
        if holder.quiet is None and _plans_first(run) and not exclusive:
            await self._tell_stage(run, SnapshotStage.PLAN)
        else:
            if holder.quiet is None:
                mode = Quiet.OFFLINE if exclusive else run.scene.mode(holder)
                return await self._locks.advance(run, quiet=mode, quiet_since=run.now)
            if not await self._volume.is_quiet(run.scene, holder):
                return await self._wait_for_quiet(run)
            await self._tell_stage(run, SnapshotStage.RUN)
        await self._let_go(run)
        return AGAIN

    async def _let_go(self, run: Run) -> None:
        """Unsuspend a Job, on the node where the volume is, and hold it until its outcome is known."""
        change: dict[str, Any] = {"spec": {"suspend": False}}
        finalizers = run.job["metadata"].get("finalizers") or []
        change["metadata"] = {"finalizers": [*finalizers, naming.RUN_FINALIZER]}
        node = await self._volume.node(run.scene)
        if node is not None:
            change["spec"]["template"] = {"spec": {"nodeSelector": {HOSTNAME_LABEL: node}}}
        await self._objects.merge(run.job, change)

    async def _plan(self, run: Run) -> Turn:
        said = None if run.pod is None else pods.plan_said(run.pod)
        wants_quiet = said is not None and said.answer is not None and said.answer.outcome is Outcome.SWITCH
        if run.pod is not None and wants_quiet:
            self._volume.check_switch(run.scene)
            mode, node = run.scene.mode(run.holder), await self._volume.node_of(run.scene, run.pod)
            return await self._locks.advance(run, stage=Stage.SWITCHING, quiet=mode, quiet_since=run.now, node=node)
        return await self._follow(run)

    async def _switch(self, run: Run) -> Turn:
        if run.pod is None:
            return await self._locks.abort(run, "its pod is gone")
        if not await self._volume.is_quiet(run.scene, run.holder):
            return await self._wait_for_quiet(run)
        return await self._locks.advance(run, stage=Stage.TELLING)

    async def _tell(self, run: Run) -> Turn:
        """Tell the run, as the last step, what is in use now; after a crash once more.

        It may have begun by then: its answer names what it went by.
        """
        if run.pod is None:
            return await self._locks.abort(run, "its pod is gone")
        await self._tell_stage(run, SnapshotStage.RUN)
        # kubelet then looks at the ConfigMaps at once, and not within a minute.
        nudge = {"metadata": {"annotations": {naming.NUDGE_ANNOTATION: run.now.isoformat()}}}
        metadata = run.pod["metadata"]
        await self._cluster.patch(kube.POD, metadata["namespace"], metadata["name"], nudge)
        return await self._locks.advance(run, stage=Stage.RUNNING)

    async def _tell_stage(self, run: Run, stage: SnapshotStage) -> None:
        await self._briefing.tell(run.scene, run.lock, run.holder, read_request(run.job), stage, run.now)

    async def _wait_for_quiet(self, run: Run) -> Turn:
        self._volume.check_switch(run.scene)
        left = run.left_to_start(run.holder.quiet_since or run.holder.since)
        if left <= 0:
            what = "stop" if run.holder.quiet is Quiet.OFFLINE else "become read-only"
            return await self._locks.abort(run, f"the registry did not {what} within startTimeout")
        return Turn(seconds=min(left, 1.0))

    async def _follow(self, run: Run) -> Turn:
        if run.is_suspended:
            return await self._locks.abort(run, "its Job was suspended")
        started = (run.job.get("status") or {}).get("startTime")
        if run.pod is None or not pods.has_begun(run.pod):
            left = run.left_to_start(datetime.fromisoformat(started) if started else run.holder.since)
            if left <= 0:
                why = await self._why_it_does_not_start(run)
                return await self._locks.abort(run, f"its pod did not start within startTimeout: {why}")
            return Turn(seconds=left)
        return Turn(seconds=max(1.0, run.left))

    async def _why_it_does_not_start(self, run: Run) -> str:
        """In the words of the scheduler, of kubelet, or of whoever refuses the pod."""
        if run.pod is not None and (said := pods.waiting_reason(run.pod)):
            return said
        about = run.job if run.pod is None else run.pod
        metadata = about["metadata"]
        problem = None
        with suppress(kube.ApiError):  # to know why is not worth that the run goes on
            listed = self._cluster.list(
                kube.EVENT, metadata["namespace"], field_selector=f"involvedObject.uid={metadata['uid']}"
            )
            name = f"{about['kind'].lower()} {metadata['name']}"
            problem = event_problem([event async for event in listed], name)
        if problem is not None:
            return f"{problem.reason}: {problem.message}"
        return "the Job controller has made no pod" if run.pod is None else "kubelet has not started its containers"


def _plans_first(run: Run) -> bool:
    """Whether the registry is made quiet only once the plan says that there is something to do, or never."""
    return read_request(run.job).action is Action.SHOW or not run.scene.registry.spec.read_only
