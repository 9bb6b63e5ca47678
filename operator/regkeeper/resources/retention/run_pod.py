"""The pod of a run: `restricted` by the Pod Security Standards, with the registry's ids, and no API token.

Two stages: an init container plans on the volume mounted read-only, while pushes go on; the container that may change
something waits until the operator has made the registry quiet, and does nothing at all where nothing has to go.
"""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.api.v1alpha1.retention_spec import JobSettings
from regkeeper.naming import snapshot_name
from regkeeper.resources.config import STORAGE_ROOT
from regkeeper.resources.pod import container_security, pod_security
from regkeeper.resources.storage import storage_claim
from regkeeper.settings import Settings
from regkeeper.snapshot import PARTS

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
