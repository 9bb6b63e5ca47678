"""When a schedule makes its next run; pure. The CronJob controller decides: this only tells people."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from regkeeper.api.v1alpha1.retention import ImageRetention

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def next_run(policy: ImageRetention, now: datetime) -> datetime | None:
    """When the next run is due, in UTC; None: never, or nobody can say.

    Without `timeZone` the CronJob controller takes its own, which is UTC in a pod.
    """
    spec = policy.spec
    if spec.schedule is None or spec.suspend:
        return None
    # robfig/cron, which the controller has, takes `?` for `*`.
    expression = _MACROS.get(spec.schedule, spec.schedule).replace("?", "*")
    try:
        return next(CronSim(expression, now.astimezone(ZoneInfo(spec.time_zone or "UTC")))).astimezone(UTC)
    except (CronSimError, ZoneInfoNotFoundError, ValueError, OSError, StopIteration):
        # A day that does not come (February 31st), or a zone that only the controller knows.
        return None
