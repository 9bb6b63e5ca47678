"""A tenant whose Registries may use a directory, and what the operator makes for them by the chart's rights."""

import copy
from typing import Any
from uuid import uuid4

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.settings import LocalStorageRule, Settings
from tests.helm import NAMESPACE, Object
from tests.registry_objects import UID, all_objects

RELEASE = f"policies-{uuid4().hex[:6]}"
"""Another one in each worker of pytest-xdist."""

OPERATOR = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-regkeeper"
TENANT = RELEASE
RULE = {"namespaces": [TENANT], "nodes": ["k8smaster"], "path": "/docker/var/lib/registry"}
SETTINGS = Settings(local_storage=(LocalStorageRule.model_validate(RULE),))

CLAIM = {"storage": {"size": "1Gi"}}
LOCAL = {"storage": {"local": {"node": "k8smaster", "path": RULE["path"]}}}
HOST_PORT = {**CLAIM, "access": {"hostPort": {"port": 443}}, "nodeSelector": {"kubernetes.io/hostname": "k8smaster"}}
NODE_PORT = {**CLAIM, "access": {"nodePort": {"port": 30500}}}
SHARED = {"storage": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}, "replicas": 2}


def registry(spec: dict[str, Any]) -> Registry:
    return Registry.model_validate(
        {
            "apiVersion": "regkeeper.dev/v1alpha1",
            "kind": "Registry",
            "metadata": {"name": "main", "namespace": TENANT, "uid": UID},
            "spec": spec,
        }
    )


def built(spec: dict[str, Any], kind: str) -> Object:
    """The object of that kind, the first of several, that the operator makes for a Registry with that spec."""
    body, *_ = [body for body in all_objects(registry(spec), SETTINGS) if body["kind"] == kind]
    return copy.deepcopy(body)


def pod(body: Object) -> Object:
    spec: Object = body["spec"]["template"]["spec"]
    return spec


def container(body: Object) -> Object:
    first: Object = pod(body)["containers"][0]
    return first


def disown(body: Object) -> None:
    del body["metadata"]["ownerReferences"]
