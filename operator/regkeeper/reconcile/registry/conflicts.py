"""What only one Registry may have: a volume, and a port of a node. Pure.

Who has it keeps it; among those that both have it, or both don't yet, the oldest does. Who asks for a port without
ever getting a pod on its node has no port: else a Registry that can't run would keep others from running.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import filterfalse
from pathlib import PurePosixPath
from typing import Any

from regkeeper import naming
from regkeeper.reconcile.pod_life import has_ended
from regkeeper.resources.storage import HOSTNAME_LABEL


@dataclass(frozen=True)
class Directory:
    """A directory of nodes."""

    path: str
    """Absolute."""
    nodes: frozenset[str] = frozenset()
    """Names of the nodes that have it: each may be the node's own or its label kubernetes.io/hostname, which differ on
    EC2 and elsewhere. Empty: whichever node the pod runs on."""

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The components of its path, the root first."""
        # To pathlib, as to POSIX, `//a` is another root than `/a`; to Linux it is not. The API server refuses `..`.
        return PurePosixPath("/" + self.path.lstrip("/")).parts


def same_files(one: Directory, other: Directory) -> bool:
    """Whether who writes to one of them may write to files of the other: equal, inside or above.

    As far as paths tell: nobody but the node knows its symbolic links and bind mounts.
    """
    if one.nodes and other.nodes and not one.nodes & other.nodes:
        return False
    here, there = one.parts, other.parts
    shorter = min(len(here), len(there))
    return here[:shorter] == there[:shorter]


def directory_of(volume: Mapping[str, Any]) -> Directory | None:
    """The directory that a PersistentVolume is; None if it is something else."""
    spec = volume["spec"]
    path = (spec.get("local") or spec.get("hostPath") or {}).get("path")
    if not path:
        return None
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    named = [set(_named_nodes(term)) for term in terms]
    # One term is enough for a node: one that names none lets in any.
    return Directory(path, nodes=frozenset().union(*named) if all(named) else frozenset())


def _named_nodes(term: Mapping[str, Any]) -> Iterator[str]:
    for expressions, key in (("matchExpressions", HOSTNAME_LABEL), ("matchFields", "metadata.name")):
        for expression in term.get(expressions) or ():
            if expression["key"] == key and expression["operator"] == "In":
                yield from expression["values"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Registry keeps its images: the claim, and the directory behind it as far as it is known."""

    claim: tuple[str, str] | None = None
    """Namespace and name."""
    volume: str | None = None
    """Name of the PersistentVolume."""
    directory: Directory | None = None


def place_of(registry: Mapping[str, Any]) -> Place:
    """The place that the spec of a raw Registry names, without asking the cluster."""
    metadata, storage = registry["metadata"], registry.get("spec", {}).get("storage") or {}
    namespace, name = metadata["namespace"], metadata["name"]
    if "ephemeral" in storage:
        return Place()
    if storage.get("existingClaim"):
        return Place(claim=(namespace, storage["existingClaim"]))
    local = storage.get("local")
    return Place(
        claim=(namespace, naming.claim_name(name)),
        volume=naming.persistent_volume_name(namespace, name) if local else None,
        directory=Directory(local["path"], frozenset({local["node"]})) if local else None,
    )


def same_place(one: Place, other: Place) -> bool:
    """Whether two Registries would write to the same files: equal, inside or above."""
    if one.claim and one.claim == other.claim:
        return True
    if one.volume and one.volume == other.volume:
        return True
    return one.directory is not None and other.directory is not None and same_files(one.directory, other.directory)


def seniority(registry: Mapping[str, Any]) -> tuple[str, str, str]:
    """Order in which Registries have a right to something: age, then name."""
    metadata = registry["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["namespace"], metadata["name"]


@dataclass(frozen=True, slots=True)
class Claimant:
    """A Registry that asks for a place."""

    registry: Mapping[str, Any]
    holds: bool
    """Whether it has pods, or would have them but for their number."""

    @property
    def rank(self) -> tuple[bool, tuple[str, str, str]]:
        """The lowest has the place."""
        return not self.holds, seniority(self.registry)


def holder_of_place(claimant: Claimant, others: Iterable[Claimant]) -> Mapping[str, Any] | None:
    """The other Registry that has the place of `claimant`; None if the place is its own.

    `others` are in the same place, as `same_place` has it.
    """
    senior = min(others, key=lambda other: other.rank, default=claimant)
    return senior.registry if senior.rank < claimant.rank else None


def has_ports(registry: Mapping[str, Any]) -> bool:
    """Whether a raw Registry asks for a port of nodes."""
    access = registry["spec"].get("access") or {}
    return "hostPort" in access or "nodePort" in access


def wanted_ports(registry: Mapping[str, Any], nodes: Mapping[str, Mapping[str, str]]) -> dict[int, set[str]]:
    """Ports that a raw Registry asks for, each with the nodes on which it would serve it.

    `nodes` are the labels of every node. A node port is served by all of them.
    """
    spec = registry.get("spec", {})
    access = spec.get("access") or {}
    ports: dict[int, set[str]] = {}
    if access.get("hostPort") is not None:
        ports[access["hostPort"].get("port", 5000)] = set(matching_nodes(spec, nodes))
    port = (access.get("nodePort") or {}).get("port")
    if port:
        ports[port] = set(nodes)
    return ports


def matching_nodes(spec: Mapping[str, Any], nodes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Nodes on which the pods of a raw spec may run, by node selector and by where the volume is; sorted."""
    selector = spec.get("nodeSelector") or {}
    local = (spec.get("storage") or {}).get("local")
    return sorted(
        name
        for name, labels in nodes.items()
        if all(labels.get(key) == value for key, value in selector.items()) and (not local or local["node"] == name)
    )


def held_ports(
    registry: Mapping[str, Any],
    pods: Iterable[Mapping[str, Any]],
    service: Mapping[str, Any] | None,
    nodes: Iterable[str],
) -> dict[int, set[str]]:
    """Ports that a Registry has, each with the nodes: those of its pods and its Service, whatever its spec asks for.

    Its last addresses count too, since for a moment in each roll-out it has no pod.
    """
    held: defaultdict[int, set[str]] = defaultdict(set)
    for pod in filterfalse(has_ended, pods):
        for container in pod["spec"].get("containers") or ():
            for port in container.get("ports") or ():
                if port.get("hostPort") and pod["spec"].get("nodeName"):
                    held[port["hostPort"]].add(pod["spec"]["nodeName"])
    for address in (registry.get("status") or {}).get("addresses") or ():
        if address["type"] == "HostPort":
            node, _, number = address["host"].rpartition(":")
            held[int(number)].add(node)
    for port in ((service or {}).get("spec") or {}).get("ports") or ():
        if port.get("nodePort"):
            held[port["nodePort"]] |= set(nodes)
    return dict(held)


@dataclass(frozen=True, slots=True)
class PortClaimant:
    """A Registry and the ports that it has."""

    registry: Mapping[str, Any]
    held: Mapping[int, set[str]]


def holder_of_port(
    claimant: PortClaimant, wanted: Mapping[int, set[str]], others: Iterable[PortClaimant]
) -> tuple[Mapping[str, Any], str] | None:
    """The other Registry that has one of the `wanted` host:port, with that host:port; None if all are free or ours."""
    for other in sorted(others, key=lambda other: seniority(other.registry)):
        is_older = seniority(other.registry) < seniority(claimant.registry)
        for port, nodes in wanted.items():
            common = nodes & other.held.get(port, set())
            if not is_older:
                common -= claimant.held.get(port, set())
            if common:
                return other.registry, f"{min(common)}:{port}"
    return None
