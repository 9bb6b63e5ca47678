"""Who else sets the number of replicas that the spec, or the storage, decides. Pure."""

from collections.abc import Mapping
from typing import Any

from regkeeper import naming


def is_contested(desired: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """Whether a live Deployment may have another number of replicas because somebody else set it."""
    wanted = desired["spec"].get("replicas")
    return wanted is not None and live is not None and live["spec"].get("replicas", 1) != wanted


def rival(desired: Mapping[str, Any], live: Mapping[str, Any]) -> str | None:
    """What to say about the manager that took `spec.replicas` from us; None if nobody did.

    `live` needs all of its managed fields: an autoscaler's are those of the subresource `scale`.
    """
    for entry in live["metadata"].get("managedFields") or ():
        owns = "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
        if owns and entry["manager"] != naming.FIELD_MANAGER:
            return (
                f"{entry['manager']} set {live['spec'].get('replicas')} replicas, and regkeeper sets "
                f"{desired['spec']['replicas']} again: remove spec.replicas to leave the number to an autoscaler, "
                "or remove the autoscaler (storage that one pod can write to allows none)"
            )
    return None
