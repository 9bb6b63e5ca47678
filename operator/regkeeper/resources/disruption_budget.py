"""The PodDisruptionBudget: a drain takes one replica at a time."""

from collections.abc import Sequence
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import selector_labels
from regkeeper.resources.metadata import object_metadata
from regkeeper.resources.storage import applied_replicas


def disruption_budget(registry: Registry, *, access_modes: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Build the budget; None where there is never more than one pod, which a budget could only make undrainable."""
    replicas = applied_replicas(registry, access_modes)
    if replicas is not None and replicas < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": object_metadata(registry, registry.metadata.name),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector_labels(registry.metadata.name)},
            # A pod that does not serve anyway shall not hold up a drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
