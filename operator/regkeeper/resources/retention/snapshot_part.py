"""A ConfigMap with one part of what a run must know."""

from base64 import b64encode
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import MANAGED_BY, SNAPSHOT_LABEL, snapshot_name
from regkeeper.resources.metadata import owner_reference
from regkeeper.snapshot import Part


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
