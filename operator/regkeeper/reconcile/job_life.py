"""Whether a Job has ended; pure. One that has stays listed as long as its CronJob's history has room for it."""

from collections.abc import Mapping
from typing import Any


def is_finished(job: Mapping[str, Any]) -> bool:
    """Whether the Job controller is done with it."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)
