"""The Deployment: how many registry pods, and how one version follows another."""

from collections.abc import Sequence
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import selector_labels
from regkeeper.resources.config import ConfigFile
from regkeeper.resources.metadata import object_metadata
from regkeeper.resources.pod import pod_template
from regkeeper.resources.storage import applied_replicas, is_shared
from regkeeper.settings import Settings


def deployment(
    registry: Registry,
    settings: Settings,
    config: ConfigFile,
    *,
    access_modes: Sequence[str] | None = None,
    node: str = "",
) -> dict[str, Any]:
    """Build the Deployment.

    Args:
        registry: The Registry.
        settings: The operator's.
        config: Its config.yml.
        access_modes: Those of the claim that is there; None while there is none.
        node: Label of the only node for its pods; empty: the spec decides alone.

    Raises:
        InvalidSpecError, BlockedError: More replicas than the storage allows.
    """
    replicas = applied_replicas(registry, access_modes)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": object_metadata(registry, registry.metadata.name),
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "selector": {"matchLabels": selector_labels(registry.metadata.name)},
            "strategy": _strategy(registry, access_modes),
            "template": pod_template(registry, settings, config, rolling=is_shared(registry, access_modes), node=node),
        },
    }


def _strategy(registry: Registry, access_modes: Sequence[str] | None) -> dict[str, Any]:
    if not is_shared(registry, access_modes):
        # The new pod would wait for the volume that the old one holds, and the old one for the new.
        return {"type": "Recreate"}
    if registry.spec.access.host_port is not None:
        # A surplus pod would find every port taken.
        return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
