"""The CronJob of an ImageRetention. Its Jobs are born suspended: the operator opens their gate."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.durations import parse_duration
from regkeeper.resources.metadata import owner_reference
from regkeeper.resources.retention.job_spec import policy_job_spec
from regkeeper.resources.retention.metadata import run_labels
from regkeeper.settings import Settings

NEVER = "0 0 1 1 *"
"""The schedule of a CronJob that is always suspended, from which Jobs are made by hand."""


def cron_job(
    retention: ImageRetention, registry: Registry, settings: Settings, *, suspended: bool = False
) -> dict[str, Any]:
    """Build the CronJob; `suspended` where the policy can't be carried out, whatever its spec says."""
    spec = retention.spec
    deadline = spec.starting_deadline
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": retention.metadata.name,
            "namespace": retention.metadata.namespace,
            "labels": run_labels(registry.metadata.name, retention.metadata.name),
            "ownerReferences": [owner_reference(retention)],
        },
        "spec": {
            "schedule": spec.schedule or NEVER,
            **({} if spec.time_zone is None else {"timeZone": spec.time_zone}),
            "suspend": suspended or spec.suspend or spec.schedule is None,
            "concurrencyPolicy": "Forbid",
            **({} if deadline is None else {"startingDeadlineSeconds": parse_duration(deadline)}),
            "successfulJobsHistoryLimit": spec.history,
            "failedJobsHistoryLimit": spec.history,
            "jobTemplate": {
                "metadata": {"labels": run_labels(registry.metadata.name, retention.metadata.name)},
                "spec": policy_job_spec(retention, registry, settings),
            },
        },
    }
