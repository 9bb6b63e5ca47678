"""Which Job's turn it is, and which have waited in vain; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from regkeeper import kube, naming
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.durations import parse_duration
from regkeeper.reconcile.job_life import is_finished
from regkeeper.reconcile.retention.requests import Action, created, read_request, require_shape, retention_of
from regkeeper.reconcile.retention.scene import RunRefusedError


@dataclass(slots=True)
class Line:
    """The Jobs that wait for the lock of one volume."""

    next: kube.Object | None = None
    missed: list[kube.Object] = field(default_factory=list)
    """They waited longer than `startingDeadline`."""
    unfit: list[tuple[kube.Object, str]] = field(default_factory=list)
    """They are no Jobs as we make them, and why."""
    superseded: list[kube.Object] = field(default_factory=list)
    """A newer one of the same policy does the same."""
    until: float | None = None
    """Seconds until the next one is missed."""


def is_waiting(job: kube.Object) -> bool:
    """Whether its gate was never opened."""
    metadata = job["metadata"]
    return (
        bool(job["spec"].get("suspend"))
        and "deletionTimestamp" not in metadata
        and naming.RUN_FINALIZER not in (metadata.get("finalizers") or ())
        and not is_finished(job)
    )


def line_up(jobs: Iterable[kube.Object], policies: Mapping[str, ImageRetention], now: datetime) -> Line:
    """Sort the waiting Jobs of one volume.

    The oldest goes first, but one that brings back what came into use before all others; of several that just carry
    out one policy, only the newest does.
    """
    line = Line()
    rest: list[kube.Object] = []
    for job in filter(is_waiting, jobs):
        try:
            require_shape(job)
        except RunRefusedError as error:
            line.unfit.append((job, str(error)))
            continue
        left = _left(job, policies.get(retention_of(job)), now)
        if left is not None and left <= 0:
            line.missed.append(job)
            continue
        if left is not None:
            line.until = min(left, line.until if line.until is not None else left)
        rest.append(job)
    newest: dict[str, kube.Object] = {}
    for job in sorted(rest, key=_age):
        if _is_plain(job):
            newest[retention_of(job)] = job
    line.superseded = [job for job in rest if _is_plain(job) and newest[retention_of(job)] is not job]
    candidates: Sequence[kube.Object] = [job for job in rest if all(job is not other for other in line.superseded)]
    line.next = min(candidates, key=lambda job: (not _is_rescue(job), _age(job)), default=None)
    return line


def _is_plain(job: kube.Object) -> bool:
    request = read_request(job)
    return request.action is Action.RETAIN and not request.approved


def _is_rescue(job: kube.Object) -> bool:
    return read_request(job).action is Action.RESCUE


def _age(job: kube.Object) -> tuple[datetime, str]:
    return created(job), job["metadata"]["name"]


def _left(job: kube.Object, policy: ImageRetention | None, now: datetime) -> float | None:
    """Seconds that it may still wait; None: as long as it takes."""
    if policy is None or policy.spec.starting_deadline is None or _is_rescue(job):
        return None
    deadline = created(job) + timedelta(seconds=parse_duration(policy.spec.starting_deadline))
    return (deadline - now).total_seconds()
