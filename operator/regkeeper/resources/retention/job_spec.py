"""What every Job of a run is, whoever makes it: the CronJob, a person from that, or the operator."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.api.v1alpha1.retention_spec import JobSettings
from regkeeper.durations import parse_duration
from regkeeper.resources.retention.metadata import run_labels
from regkeeper.resources.retention.run_pod import run_pod
from regkeeper.settings import Settings

AFTER_THE_END_SECONDS = 120
"""How long after its last change of the volume a Job may go on: it only has to answer by then."""


def policy_job_spec(retention: ImageRetention, registry: Registry, settings: Settings) -> dict[str, Any]:
    """That of the Jobs of a policy."""
    spec = retention.spec
    seconds = parse_duration(spec.active_deadline)
    return job_spec(registry, spec.job, settings, retention=retention.metadata.name, seconds=seconds)


def job_spec(
    registry: Registry, job: JobSettings, settings: Settings, *, retention: str, seconds: int
) -> dict[str, Any]:
    """One pod, never a second one, suspended.

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
