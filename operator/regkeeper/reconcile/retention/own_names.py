"""The names that a Registry has in references, to which `protect.hosts` narrows what counts as in use; pure."""

from collections.abc import Mapping
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.reconcile.in_use import InUseUnknownError
from regkeeper.reconcile.retention.policies import Policies


def own_names(registry: Registry, status: Mapping[str, Any], policies: Policies) -> list[str]:
    """Where it is reached, as its status says, and what its nodes were told to call it.

    Raises:
        InUseUnknownError: they matter, and the status has none of a kind that the spec asks for: it is new, or lost its
            status, and images in use would count as another registry's.
    """
    addresses = status.get("addresses") or ()
    access = registry.spec.access
    wanted = {"ClusterIP": True, "HostPort": access.host_port is not None, "NodePort": access.node_port is not None}
    kinds = {address["type"] for address in addresses}
    missing = [kind for kind, is_wanted in wanted.items() if is_wanted and kind not in kinds]
    if missing and policies.hosts_matter:
        raise InUseUnknownError(
            f"protect.hosts: Registry {registry.metadata.name} has no address of type {', '.join(missing)} in its "
            "status yet, so nobody knows which references are to it"
        )
    hosts = {address["host"] for address in addresses}
    return sorted({*hosts, *registry.spec.node_trust.hosts, *(status.get("trustedHosts") or ())})
