"""The Service: a ClusterIP always, a port of every node where `access.nodePort` asks for it."""

from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import selector_labels
from regkeeper.resources.config import REGISTRY_PORT
from regkeeper.resources.metadata import object_metadata

PORT_NAME = "registry"
"""Name of the port in the pod and in the Service."""


def service(registry: Registry) -> dict[str, Any]:
    """Build the Service. A NodePort Service has a ClusterIP too, so one object serves both ways."""
    node_port = registry.spec.access.node_port
    port: dict[str, Any] = {
        "name": PORT_NAME,
        "port": REGISTRY_PORT,
        "protocol": "TCP",
        "targetPort": PORT_NAME,
    }
    if node_port is not None and node_port.port is not None:
        port["nodePort"] = node_port.port
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_metadata(registry, registry.metadata.name),
        "spec": {
            "type": "ClusterIP" if node_port is None else "NodePort",
            "selector": selector_labels(registry.metadata.name),
            "ports": [port],
        },
    }
