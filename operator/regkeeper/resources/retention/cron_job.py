"""The CronJob of an ImageRetention. Its Jobs are born suspended: the operator opens their gate."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.api.v1alpha1.retention_spec import JobSettings
from regkeeper.durations import parse_duration
from regkeeper.resources.metadata import owner_reference
from regkeeper.resources.retention.metadata import run_labels
from regkeeper.resources.retention.run_pod import run_pod
from regkeeper.settings import Settings

NEVER = "0 0 1 1 *"
"""The schedule of a CronJob that is always suspended, from which Jobs are made by hand."""

AFTER_THE_END_SECONDS = 120
"""How long after its last change of the volume a Job may go on: it only has to answer by then."""


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
                "spec": job_spec(
                    registry,
                    spec.job,
                    settings,
                    retention=retention.metadata.name,
                    seconds=parse_duration(spec.active_deadline),
                ),
            },
        },
    }


def job_spec(
    registry: Registry, job: JobSettings, settings: Settings, *, retention: str, seconds: int
) -> dict[str, Any]:
    """What every Job of a run is: one pod, never a second one, suspended.

    Args:
        registry: On whose volume it runs.
        job: Placement and resources.
        settings: The operator's.
        retention: Name of the ImageRetention; empty for a purge that no policy asked for.
        seconds: How long it may change something, from when its gate opens.
    """
    return {
        "suspend": True,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "activeDeadlineSeconds": seconds + AFTER_THE_END_SECONDS,
        "template": run_pod(registry, job, settings, labels=run_labels(registry.metadata.name, retention)),
    }
