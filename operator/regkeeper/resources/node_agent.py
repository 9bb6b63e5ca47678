"""The objects of the node agents: their DaemonSet, the Secret with their key, and the ConfigMap of KEP-1755.

There is one DaemonSet for the whole cluster, since two editors of one daemon.json would race. Its pods have power over
their node: through the runtimes' sockets alone they could become root there. What they need of it was measured
(docs/architecture.md): uid 0 without a capability, the node's file system, and its process ids to prove whom they
signal. An admission policy of the chart holds the operator to exactly this shape.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from regkeeper.naming import MANAGED_BY, NODE_AGENT, NODE_AGENT_KEY, TRUST_ANNOTATION, node_agent_labels
from regkeeper.settings import Settings

AGENT_PORT = 8082
ROOT = "/host"
LIST_DIRECTORY = "/etc/regkeeper/list"
LIST_FILE = "list.json"
KEY_DIRECTORY = "/etc/regkeeper/key"
KEY_FILE = "key"

HOSTING_NAMESPACE = "kube-public"
HOSTING_NAME = "local-registry-hosting"
HOSTING_KEY = "localRegistryHosting.v1"


def node_agent_key(settings: Settings, key: bytes) -> dict[str, Any]:
    """Build the Secret with the key by which the operator and its agents authenticate; `key` is random and made once.

    It is not immutable, as kubelet never looks again at an immutable one: were it deleted and made anew, agents that
    run, and even new ones, would know the old key for ever (kubernetes#131589).
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": NODE_AGENT_KEY,
            "namespace": settings.trust.agents_namespace,
            "labels": dict(MANAGED_BY),
        },
        "type": "Opaque",
        "data": {KEY_FILE: b64encode(key).decode()},
    }


def local_registry_hosting(addresses: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
    """Build the ConfigMap by which tools find the cluster's registry (KEP-1755); None if no node's address reaches it.

    `addresses` are a Registry's `status.addresses`.

    `hostFromContainerRuntime` is left out where it would say what `host` says, as KEP-1755 has it.
    """
    on_nodes = [address["host"] for address in addresses if address["type"] in ("HostPort", "NodePort")]
    in_cluster = [address["host"] for address in addresses if address["type"] == "ClusterIP"]
    if not on_nodes:
        return None
    hosting = {"host": on_nodes[0], **({"hostFromClusterNetwork": in_cluster[0]} if in_cluster else {})}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": HOSTING_NAME, "namespace": HOSTING_NAMESPACE, "labels": dict(MANAGED_BY)},
        "data": {HOSTING_KEY: yaml.safe_dump(hosting)},
    }


def node_agent(settings: Settings) -> dict[str, Any]:
    """Build the DaemonSet."""
    labels = {**node_agent_labels(), **MANAGED_BY}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NODE_AGENT, "namespace": settings.trust.agents_namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": node_agent_labels()},
            # An agent that is away for a moment changes nothing: a tenth of the nodes at once is no risk.
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
            "template": {"metadata": {"labels": labels}, "spec": _pod(settings)},
        },
    }


def _pod(settings: Settings) -> dict[str, Any]:
    secrets = settings.trust.image_pull_secrets
    return {
        **({"imagePullSecrets": [dict(secret) for secret in secrets]} if secrets else {}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostPID": True,
        "priorityClassName": "system-node-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(settings)],
        "volumes": [
            # Directories, not files: what is renamed over a mounted file is EBUSY.
            {"name": "node", "hostPath": {"path": "/", "type": "Directory"}},
            {
                "name": "list",
                "downwardAPI": {
                    "items": [
                        {
                            "path": LIST_FILE,
                            "fieldRef": {"fieldPath": f"metadata.annotations['{TRUST_ANNOTATION}']"},
                        }
                    ]
                },
            },
            {"name": "key", "secret": {"secretName": NODE_AGENT_KEY}},
        ],
    }


def _container(settings: Settings) -> dict[str, Any]:
    return {
        "name": "agent",
        "image": settings.image,
        # Not `regkeeper …`, which imports three times as much.
        "command": ["python", "-m", "regkeeper.nodes"],
        "args": [
            f"--root={ROOT}",
            f"--list={LIST_DIRECTORY}/{LIST_FILE}",
            f"--key={KEY_DIRECTORY}/{KEY_FILE}",
            f"--port={AGENT_PORT}",
        ],
        "env": [
            {"name": "REGKEEPER_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "REGKEEPER_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        ],
        "ports": [{"name": "report", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "volumeMounts": [
            # What is mounted on the node later is to be seen too.
            {"name": "node", "mountPath": ROOT, "mountPropagation": "HostToContainer"},
            {"name": "list", "mountPath": LIST_DIRECTORY, "readOnly": True},
            {"name": "key", "mountPath": KEY_DIRECTORY, "readOnly": True},
        ],
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "report", "scheme": "HTTP"},
            "periodSeconds": 60,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": "5m", "memory": "40Mi"}, "limits": {"memory": "96Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            # The default profile forbids to signal a process of the node.
            "appArmorProfile": {"type": "Unconfined"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
