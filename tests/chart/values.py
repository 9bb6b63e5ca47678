"""Values for the chart, every one of them among them, and what the operator is told by them."""

from typing import Any

from tests.helm import Object, only

RULE = {"namespaces": ["default"], "nodes": ["k8smaster"], "path": "/docker/var/lib/registry"}
KIND = {"group": "argoproj.io", "version": "v1alpha1", "resource": "rollouts", "path": "spec.template.spec"}
DIGEST = "sha256:" + "a" * 64
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example.com/regkeeper", "digest": DIGEST, "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "pull"}],
    "registryImage": "registry:2.8",
    "watchNamespaces": ["one", "two"],
    "localStorage": [RULE],
    "inUse": {"furtherKinds": [KIND]},
    "trust": {
        "namespaces": ["one"],
        "hosts": ["registry.example:5000"],
        "applyPendingEdits": True,
        "imagePullSecrets": [{"name": "pull"}],
        "localRegistryHosting": "one/main",
    },
    "resyncSeconds": 60,
    "concurrency": 4,
    "log": {"format": "text", "level": "debug"},
    "resources": {"limits": {"memory": "1Gi", "cpu": 1}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "nodeSelector": {"e": "f"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
    "crds": {"install": False},
    "rbac": {"aggregate": False},
    "metrics": {"serviceMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}}},
}


def operator_container(objects: list[Object]) -> Object:
    deployment = only(objects, "Deployment", "regkeeper")
    container: Object = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def environment(objects: list[Object]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in operator_container(objects)["env"] if "value" in entry}
