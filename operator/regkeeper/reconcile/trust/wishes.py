"""What each Registry asks of nodes: which hosts, on which of them, and whether it may. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from regkeeper import naming
from regkeeper.nodes.hosts import InvalidHostError, address_of, check_host
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import READY, State
from regkeeper.settings import Settings

NOT_ALLOWED = "NotAllowed"
"""The reason where an administrator has to allow something first."""

MAXIMUM_NODES = 8
"""Whose name and addresses a Registry may have trusted: each is an entry in the configuration of every node."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What one Registry asks for. No hosts: it is to be trusted, but has yet to answer anywhere."""

    hosts: tuple[str, ...]
    selector: tuple[tuple[str, str], ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node has the labels that are asked for."""
        return all(labels.get(key) == value for key, value in self.selector)


def is_linux(labels: Mapping[str, str]) -> bool:
    """Whether there can be an agent."""
    return labels.get("kubernetes.io/os", "linux") == "linux"


def asks(registry: Mapping[str, Any]) -> bool:
    """Whether a raw Registry wants to be trusted, allowed or not."""
    if "deletionTimestamp" in registry["metadata"]:
        return False
    enabled = (registry["spec"].get("nodeTrust") or {}).get("enabled")
    return _is_reachable(registry) if enabled is None else bool(enabled)


def _is_reachable(registry: Mapping[str, Any]) -> bool:
    """Whether image names can use a node's address, or a further host, to reach it."""
    spec = registry["spec"]
    access = spec.get("access") or {}
    if "hostPort" in access or (access.get("nodePort") or {}).get("nodes"):
        return True
    return bool(_further_hosts(registry))


def refusal(registry: Mapping[str, Any], settings: Settings) -> State | None:
    """Why a Registry that asks may not have it; None: it may."""
    namespace = registry["metadata"]["namespace"]
    trust = settings.trust
    if namespace not in trust.namespaces:
        return conditions.false(
            NOT_ALLOWED,
            f"Registries of namespace {namespace} may not change what nodes trust: an administrator adds it to the "
            "chart's value trust.namespaces, or set spec.nodeTrust.enabled to false",
        )
    for host in _further_hosts(registry):
        try:
            check_host(host)
        except InvalidHostError as error:
            return conditions.false("InvalidHost", f"spec.nodeTrust.hosts: {error}")
        if host not in trust.hosts:
            return conditions.false(
                NOT_ALLOWED,
                f"spec.nodeTrust.hosts: {host} is not allowed: an administrator adds it to the chart's value "
                "trust.hosts",
            )
    if not _is_reachable(registry):
        return conditions.false(
            "NoHosts",
            "there is no host to trust: set spec.access.hostPort, spec.access.nodePort.nodes or spec.nodeTrust.hosts",
        )
    return None


def refused_for_image(wish: "Wish", settings: Settings) -> State | None:
    """Why a wish can't be granted if the agents' own image comes from there; None: it does not."""
    if settings.image.partition("/")[0] not in wish.hosts:
        return None
    return conditions.false(
        "AgentImage",
        f"the agents' own image {settings.image} comes from this Registry, which a node without an agent does not "
        "trust: set the chart's value image to a registry that every node can pull from",
    )


def wish_of(registry: Mapping[str, Any], addresses: Mapping[str, str | None]) -> Wish:
    """The wish of a Registry that asks and is not refused.

    Trusted is what answered as this Registry: its addresses once it is Ready, and those that were trusted before, as
    long as the spec still has them, while it is not. So nobody makes nodes trust what another one serves, and what
    can't be asked for a while stays trusted.

    Args:
        registry: The raw Registry.
        addresses: IP address of each node that a status names; None: there is none to be had at the moment.
    """
    status = registry.get("status") or {}
    before = trusted_hosts(registry)
    if conditions.is_true(status.get("conditions") or (), READY):
        found = list(_further_hosts(registry))
        for node, port in _node_ports(registry):
            found.append(f"{node}:{port}")
            address = _address(addresses.get(node))
            if address:
                found.append(f"{address}:{port}")
            else:
                # A Node that was deleted or has just come back has none, and which of the old ones is its is not known.
                found += [host for host in before if host.endswith(f":{port}") and address_of(host) is not None]
        found += _trusted_of_missing_nodes(registry)
    else:
        found = [host for host in before if _is_in_spec(host, registry)]
    return Wish(tuple(sorted(set(filter(_may_be_trusted, found)))), _selector(registry))


def kept_wish(registry: Mapping[str, Any]) -> Wish:
    """The wish of a Registry that is paused: that all stays as it is."""
    return Wish(tuple(sorted(trusted_hosts(registry))), _selector(registry))


def trusted_hosts(registry: Mapping[str, Any]) -> tuple[str, ...]:
    """Hosts that nodes were told to trust for a Registry, as its status says. Empty: there are none, or it is lost."""
    return tuple((registry.get("status") or {}).get("trustedHosts") or ())


def _selector(registry: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(((registry["spec"].get("nodeTrust") or {}).get("nodeSelector") or {}).items()))


def _further_hosts(registry: Mapping[str, Any]) -> Sequence[str]:
    return (registry["spec"].get("nodeTrust") or {}).get("hosts") or ()


def _is_in_spec(host: str, registry: Mapping[str, Any]) -> bool:
    """Whether a host that was trusted may still be one of this Registry's, by its spec alone."""
    access = registry["spec"].get("access") or {}
    name, _, port = host.rpartition(":")
    if host in _further_hosts(registry):
        return True
    if "hostPort" in access and port == str(access["hostPort"].get("port", 5000)):
        return True
    node_port = access.get("nodePort") or {}
    is_named = name in (node_port.get("nodes") or ()) or address_of(host) is not None
    return bool(node_port.get("nodes")) and is_named and node_port.get("port") in (None, int(port))


def _trusted_of_missing_nodes(registry: Mapping[str, Any]) -> list[str]:
    """What was trusted of the nodes that the spec names and the status does not: those without an address just now.

    That is their names, and all IP addresses with the same port, since which of those are theirs is not known.
    """
    node_port = (registry["spec"].get("access") or {}).get("nodePort") or {}
    listed = (registry.get("status") or {}).get("addresses") or ()
    there = {address["host"].rpartition(":")[0] for address in listed}
    ports = {address["host"].rpartition(":")[2] for address in listed if address["type"] == "NodePort"}
    if node_port.get("port"):
        ports = {str(node_port["port"])}
    before = [(host, *host.rpartition(":")[::2]) for host in trusted_hosts(registry)]
    missing = set(node_port.get("nodes") or ()) - there
    kept = {port for _, name, port in before if name in missing and (not ports or port in ports)}
    return [host for host, name, port in before if port in kept and (name in missing or address_of(host) is not None)]


def nodes_named(registry: Mapping[str, Any]) -> list[str]:
    """Nodes at whose addresses a Registry answers."""
    return [node for node, _ in _node_ports(registry)]


def is_held(registry: Mapping[str, Any]) -> bool:
    """Whether it bears our finalizer."""
    return naming.NODE_TRUST_FINALIZER in registry["metadata"].get("finalizers", ())


def was_trusted(registry: Mapping[str, Any], settings: Settings) -> bool:
    """Whether nodes may still trust it.

    The status tells, also where an uninstall took our finalizer off and left the trust. The finalizer tells where the
    status is lost; but whoever may create a Registry can put it there, so where the namespace may not change nodes, it
    alone must not bring agents onto all of them.
    """
    may = registry["metadata"]["namespace"] in settings.trust.namespaces
    return bool(trusted_hosts(registry)) or (may and is_held(registry))


def _node_ports(registry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Node and port of each address in the status that the spec still asks for.

    Of a NodePort, which every node has, just the nodes that the spec names: else the configuration of each of 5,000
    nodes would get 10,000 entries.
    """
    access = registry["spec"].get("access") or {}
    found: list[tuple[str, str]] = []
    for address in (registry.get("status") or {}).get("addresses") or ():
        node, _, port = address["host"].rpartition(":")
        if address["type"] == "HostPort" and "hostPort" in access:
            fits = port == str(access["hostPort"].get("port", 5000))
        elif address["type"] == "NodePort" and "nodePort" in access:
            wanted = access["nodePort"].get("port")
            fits = node in (access["nodePort"].get("nodes") or ()) and (not wanted or port == str(wanted))
        else:
            fits = False
        if fits:
            found.append((node, port))
    return found[:MAXIMUM_NODES]


def _address(text: str | None) -> str:
    """An address as hosts have it; empty: there is none, or what a cloud's controller made of it is no IP address."""
    try:
        address = ip_address(text or "")
    except ValueError:
        return ""
    return f"[{address}]" if address.version == 6 else str(address)


def _may_be_trusted(host: str) -> bool:
    try:
        check_host(host)
    except InvalidHostError:
        return False
    return True
