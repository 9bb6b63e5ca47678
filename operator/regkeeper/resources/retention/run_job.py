"""A Job that the operator makes itself: for a change of a policy, an approval, an undo, a purge."""

from collections.abc import Mapping
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.api.v1alpha1.retention_spec import JobSettings
from regkeeper.resources.metadata import owner_reference
from regkeeper.resources.retention.job_spec import job_spec, policy_job_spec
from regkeeper.resources.retention.metadata import run_labels
from regkeeper.settings import Settings

NO_POLICY_SECONDS = 3600
"""How long a run that no policy asked for may take."""


def policy_job(
    retention: ImageRetention,
    registry: Registry,
    settings: Settings,
    *,
    name: str,
    annotations: Mapping[str, str],
    cron_job_uid: str,
) -> dict[str, Any]:
    """Build a Job of a policy, as `kubectl create job --from=cronjob/…` would: the CronJob's history counts it.

    Args:
        retention: The policy.
        registry: Its Registry.
        settings: The operator's.
        name: Of the Job.
        annotations: What it is for.
        cron_job_uid: UID of the policy's CronJob.
    """
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": retention.metadata.name,
        "uid": cron_job_uid,
        "controller": True,
    }
    return _job(
        registry,
        name=name,
        retention=retention.metadata.name,
        annotations=annotations,
        owner=owner,
        spec=policy_job_spec(retention, registry, settings),
    )


def registry_job(
    registry: Registry, settings: Settings, *, name: str, annotations: Mapping[str, str]
) -> dict[str, Any]:
    """Build a Job about what earlier runs deleted. It is the Registry's: their policies may be gone."""
    spec = job_spec(registry, JobSettings(), settings, retention="", seconds=NO_POLICY_SECONDS)
    owner = owner_reference(registry)
    return _job(registry, name=name, retention="", annotations=annotations, owner=owner, spec=spec)


def _job(
    registry: Registry,
    *,
    name: str,
    retention: str,
    annotations: Mapping[str, str],
    owner: dict[str, Any],
    spec: dict[str, Any],
) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": registry.metadata.namespace,
            "labels": run_labels(registry.metadata.name, retention),
            "annotations": dict(annotations),
            "ownerReferences": [owner],
        },
        "spec": spec,
    }
