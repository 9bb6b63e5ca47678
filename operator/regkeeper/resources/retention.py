"""The objects of an ImageRetention: the CronJob, its Jobs and their pod, and the ConfigMaps with a run's input.

The CronJob's Jobs are created suspended: the operator unsuspends each once it has the lock. The pod is `restricted` by
the Pod Security Standards, with the registry's ids and no API token. It has two stages: an init container plans on the
volume mounted read-only, while pushes go on; the container that may change something waits until the operator has put
the registry into maintenance, and does nothing at all where nothing has to go.
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention import ImageRetention
from regkeeper.api.v1alpha1.retention_spec import JobSettings
from regkeeper.durations import parse_duration
from regkeeper.naming import MANAGED_BY, REGISTRY_LABEL, RETENTION_LABEL, SNAPSHOT_LABEL, snapshot_name
from regkeeper.resources.config import STORAGE_ROOT
from regkeeper.resources.metadata import owner_reference
from regkeeper.resources.pod import container_security, pod_security
from regkeeper.resources.storage import storage_claim
from regkeeper.settings import Settings
from regkeeper.snapshot import PARTS, Part


def run_labels(registry: str, retention: str) -> dict[str, str]:
    """Labels of CronJob, Jobs and pods; `retention` is empty for a purge that no policy asked for.

    The application's name is not the registry's: its Service and its budget must not find these pods.
    """
    return {
        "app.kubernetes.io/name": "image-retention",
        REGISTRY_LABEL: registry,
        RETENTION_LABEL: retention,
        **MANAGED_BY,
    }


PLAN_CONTAINER = "plan"
RUN_CONTAINER = "run"
STORAGE_VOLUME = "storage"

SNAPSHOT_DIRECTORY = "/var/run/regkeeper/snapshot"
HANDOVER_DIRECTORY = "/run/regkeeper"
"""Where the plan's outcome lies for the second stage."""

STOP_SECONDS = 60
"""What the engine has to end the entry that it is at when it is told to stop."""


def run_pod(registry: Registry, job: JobSettings, settings: Settings, *, labels: dict[str, str]) -> dict[str, Any]:
    """Build the template. The registry has a claim: there are no runs on ephemeral storage."""
    spec = registry.spec
    scheduling = {
        "nodeSelector": job.node_selector,
        "tolerations": [*spec.tolerations, *(each for each in job.tolerations if each not in spec.tolerations)],
        "affinity": job.affinity,
        "priorityClassName": job.priority_class_name,
        "imagePullSecrets": spec.image_pull_secrets,
    }
    return {
        "metadata": {"labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(),
            "terminationGracePeriodSeconds": STOP_SECONDS,
            "initContainers": [_container(PLAN_CONTAINER, job, settings, read_only=True)],
            "containers": [_container(RUN_CONTAINER, job, settings, read_only=False)],
            "volumes": [
                {"name": STORAGE_VOLUME, "persistentVolumeClaim": {"claimName": storage_claim(registry)}},
                {"name": "handover", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                *(
                    {
                        "name": f"snapshot-{part}",
                        "configMap": {"name": snapshot_name(registry.metadata.name, part), "optional": True},
                    }
                    for part in range(PARTS)
                ),
            ],
            **{name: value for name, value in scheduling.items() if value},
        },
    }


def _container(stage: str, job: JobSettings, settings: Settings, *, read_only: bool) -> dict[str, Any]:
    uid = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}}
    return {
        "name": stage,
        "image": settings.image,
        "args": ["job", stage],
        "env": [{"name": "JOB_UID", "valueFrom": uid}],
        "volumeMounts": [
            {"name": STORAGE_VOLUME, "mountPath": STORAGE_ROOT, **({"readOnly": True} if read_only else {})},
            {"name": "handover", "mountPath": HANDOVER_DIRECTORY},
            *(
                {"name": f"snapshot-{part}", "mountPath": f"{SNAPSHOT_DIRECTORY}/{part}", "readOnly": True}
                for part in range(PARTS)
            ),
        ],
        "securityContext": container_security(),
        # An answer, or nothing: the end of a log would be taken for one.
        "terminationMessagePolicy": "File",
        **({} if job.resources is None else {"resources": job.resources}),
    }


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


def snapshot_part(registry: Registry, number: int, part: Part) -> dict[str, Any]:
    """Build it; an empty part empties it. Without the Registry's label, as the operator has no need to watch it."""
    content: dict[str, Any] = {}
    if part.header:
        content = {"data": {"header": part.header}, "binaryData": {"part": b64encode(part.content).decode()}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": snapshot_name(registry.metadata.name, number),
            "namespace": registry.metadata.namespace,
            "labels": {SNAPSHOT_LABEL: registry.metadata.name, **MANAGED_BY},
            "ownerReferences": [owner_reference(registry)],
        },
        **content,
    }
