"""A run that has the lock of a volume, as a step finds it, and what the step comes to."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from regkeeper import kube, naming
from regkeeper.durations import parse_duration
from regkeeper.reconcile.job_life import is_finished
from regkeeper.reconcile.retention import pods
from regkeeper.reconcile.retention.outcome import Conclusion
from regkeeper.reconcile.retention.scene import Scene
from regkeeper.resources.lease import Holder, Lock, Stage
from regkeeper.resources.retention import STOP_SECONDS

START_TIMEOUT_SECONDS = 120
"""Of a run without a policy."""
OVERDUE_SECONDS = 30
"""How long after its end time a run may still go on: it only has to answer."""
GONE_SECONDS = STOP_SECONDS + 30
"""How long after it was told to stop a run that can't be seen any more is taken to have stopped. That is at least two
minutes after its end time, as clocks differ, and none at all after a jump of ours: kubelet has killed it by then."""


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


@dataclass(frozen=True, slots=True)
class Run:
    """A run whose Job is there and has not ended."""

    scene: Scene
    live: kube.Object
    """Its Lease."""
    lock: Lock
    holder: Holder
    """Of that lock."""
    job: kube.Object
    pod: kube.Object | None
    now: datetime

    @property
    def is_suspended(self) -> bool:
        """Whether its Job has, or is to have, no pod."""
        return seems_to_wait(self.job)

    @property
    def start_timeout(self) -> timedelta:
        """How long a pod may take to start, and a registry to become quiet."""
        policy = self.scene.policies.valid.get(self.holder.retention)
        seconds = START_TIMEOUT_SECONDS if policy is None else parse_duration(policy.spec.start_timeout)
        return timedelta(seconds=seconds)

    def left_to_start(self, since: datetime) -> float:
        """Seconds that are left of it."""
        return (since + self.start_timeout - self.now).total_seconds()

    @property
    def has_waited_in_vain(self) -> bool:
        """Whether it should long have begun, and has not: pushes must not wait for what does not pass by itself."""
        waits = self.holder.stage in (Stage.PREPARING, Stage.SWITCHING, Stage.TELLING)
        return waits and self.left_to_start(self.holder.quiet_since or self.holder.since) <= 0

    @property
    def left(self) -> float:
        """Seconds until it is overdue."""
        return left(self.holder, self.now)


def left(holder: Holder, now: datetime) -> float:
    """Seconds until a run is overdue."""
    return (holder.end - now).total_seconds() + OVERDUE_SECONDS


def left_to_stop(holder: Holder, now: datetime) -> float | None:
    """Seconds until an overdue run is taken to have stopped; None: that it is overdue is not noted yet."""
    since = holder.overdue_since
    if since is None or since > now:  # our clock was ahead when it was noted
        return None
    return (since - now).total_seconds() + GONE_SECONDS


def is_over(holder: Holder, job: kube.Object | None, pod: kube.Object | None) -> bool:
    """Whether a run that is to end can change nothing more."""
    if pod is not None and (_may_change(holder) or (job is not None and is_finished(job))):
        return pods.has_stopped(pod)
    if not _may_change(holder):
        return True
    # Its pod was never made, or is gone without having been seen to stop.
    # One that was let go, and suspended again to end it, has a pod that may not have been seen yet.
    # That it was let go is noted ahead of letting it fall, so one that is gone was not.
    return holder.stage is Stage.PREPARING and (job is None or (seems_to_wait(job) and not was_held(job)))


def seems_to_wait(job: kube.Object) -> bool:
    """Whether a Job has, or is to have, no pod."""
    return bool(job["spec"].get("suspend"))


def was_held(job: kube.Object) -> bool:
    """Whether its gate was opened: the write that does holds it."""
    return naming.RUN_FINALIZER in (job["metadata"].get("finalizers") or ())


def _may_change(holder: Holder) -> bool:
    """Whether a run may have been told that it may change the volume."""
    if holder.stage is Stage.PREPARING:
        return holder.quiet is not None
    return holder.stage in (Stage.TELLING, Stage.RUNNING)
