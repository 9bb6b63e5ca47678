"""The names that a Registry has in references, to which `protect.hosts` narrows what counts as in use; pure."""

from collections.abc import Mapping
from typing import Any

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.reconcile.in_use import InUseUnknownError
from regkeeper.reconcile.retention.policies import Policies
from regkeeper.retention.policies.in_use import any_host


def own_names(registry: Registry, status: Mapping[str, Any], policies: Policies) -> list[str]:
    """Where it is reached, as its status says, and what its nodes were told to call it.

    A port of nodes is a name under every host: nodes have names and addresses, and the status may name but those that
    run its pods now. Another registry's image that counts too for its port is only kept.

    Raises:
        InUseUnknownError: they matter, and the status has none of a kind and port that the spec asks for: it is new,
            changed just now, or lost its status, and images in use would count as another registry's.
    """
    addresses = [(address["type"], address["host"]) for address in status.get("addresses") or ()]
    missing = [text for kind, port, text in _wanted(registry) if not _has(addresses, kind, port)]
    if missing and policies.hosts_matter:
        raise InUseUnknownError(
            f"protect.hosts: Registry {registry.metadata.name} has no address of type {', '.join(missing)} in its "
            "status yet, so nobody knows which references are to it"
        )
    hosts = {host if kind == "ClusterIP" else any_host(host) for kind, host in addresses}
    return sorted({*hosts, *registry.spec.node_trust.hosts, *(status.get("trustedHosts") or ())})


def _wanted(registry: Registry) -> list[tuple[str, int | None, str]]:
    """Kind and port of the addresses that a spec asks for, and both in words; None: any port."""
    access = registry.spec.access
    wanted: list[tuple[str, int | None]] = [("ClusterIP", None)]
    if access.host_port is not None:
        wanted.append(("HostPort", access.host_port.port))
    if access.node_port is not None:
        wanted.append(("NodePort", access.node_port.port))
    return [(kind, port, f"{kind} with port {port}" if port else kind) for kind, port in wanted]


def _has(addresses: list[tuple[str, str]], wanted: str, port: int | None) -> bool:
    return any(kind == wanted and (port is None or host.endswith(f":{port}")) for kind, host in addresses)
