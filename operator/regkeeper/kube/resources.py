"""The kinds of objects that regkeeper uses, and where the API server keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from regkeeper import naming

Object = dict[str, Any]
"""A Kubernetes object as JSON has it."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the API server keeps it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """URL path of a collection or, with `name`, of an object."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        if self.namespaced and namespace:
            root += f"/namespaces/{quote(namespace, safe='')}"
        return f"{root}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


REGISTRY = Resource(naming.API_VERSION, "Registry", "registries")
IMAGE_RETENTION = Resource(naming.API_VERSION, "ImageRetention", "imageretentions")
CONFIG_MAP = Resource("v1", "ConfigMap", "configmaps")
SECRET = Resource("v1", "Secret", "secrets")
SERVICE = Resource("v1", "Service", "services")
CLAIM = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
POD = Resource("v1", "Pod", "pods")
EVENT = Resource("v1", "Event", "events")
VOLUME = Resource("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
NODE = Resource("v1", "Node", "nodes", namespaced=False)
NAMESPACE = Resource("v1", "Namespace", "namespaces", namespaced=False)
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
REPLICA_SET = Resource("apps/v1", "ReplicaSet", "replicasets")
STATEFUL_SET = Resource("apps/v1", "StatefulSet", "statefulsets")
DAEMON_SET = Resource("apps/v1", "DaemonSet", "daemonsets")
CONTROLLER_REVISION = Resource("apps/v1", "ControllerRevision", "controllerrevisions")
REPLICATION_CONTROLLER = Resource("v1", "ReplicationController", "replicationcontrollers")
JOB = Resource("batch/v1", "Job", "jobs")
CRON_JOB = Resource("batch/v1", "CronJob", "cronjobs")
LEASE = Resource("coordination.k8s.io/v1", "Lease", "leases")
DISRUPTION_BUDGET = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
STORAGE_CLASS = Resource("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False)

RESOURCES = {
    (resource.api_version, resource.kind): resource
    for resource in (
        REGISTRY,
        IMAGE_RETENTION,
        CONFIG_MAP,
        SECRET,
        SERVICE,
        CLAIM,
        POD,
        EVENT,
        VOLUME,
        NODE,
        NAMESPACE,
        DAEMON_SET,
        DEPLOYMENT,
        JOB,
        CRON_JOB,
        LEASE,
        DISRUPTION_BUDGET,
        STORAGE_CLASS,
    )
}


def resource_of(body: Mapping[str, Any]) -> Resource:
    """The resource of an object that has `apiVersion` and `kind`; KeyError for one that regkeeper does not use."""
    return RESOURCES[body["apiVersion"], body["kind"]]
