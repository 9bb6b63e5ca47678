"""What only one Registry may have: a volume, and a port of a node. Pure; the oldest Registry has it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from regkeeper import naming


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Registry keeps its images: the claim, and the node's directory behind it as far as it is known."""

    claim: tuple[str, str] | None = None
    """Namespace and name."""
    volume: str | None = None
    """Name of the PersistentVolume."""
    directory: tuple[str, str] | None = None
    """Node and absolute path."""


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
        directory=(local["node"], local["path"]) if local else None,
    )


def same_place(one: Place, other: Place) -> bool:
    """Whether two Registries would write to the same files: equal, inside or above."""
    if one.claim and one.claim == other.claim:
        return True
    if one.volume and one.volume == other.volume:
        return True
    if one.directory is None or other.directory is None or one.directory[0] != other.directory[0]:
        return False
    here, there = PurePosixPath(one.directory[1]), PurePosixPath(other.directory[1])
    return here == there or here in there.parents or there in here.parents


def seniority(registry: Mapping[str, Any]) -> tuple[str, str, str]:
    """Order in which Registries have a right to something: age, then name."""
    metadata = registry["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["namespace"], metadata["name"]


def holder_of_place(
    registry: Mapping[str, Any], place: Place, others: Iterable[tuple[Mapping[str, Any], Place]]
) -> Mapping[str, Any] | None:
    """The oldest other Registry on the same place that is older than `registry`; None if the place is its own."""
    rivals = [
        other
        for other, other_place in others
        if seniority(other) < seniority(registry) and same_place(place, other_place)
    ]
    return min(rivals, key=seniority, default=None)


def ports_of(registry: Mapping[str, Any], nodes: Mapping[str, Mapping[str, str]]) -> dict[int, set[str]]:
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


def holder_of_port(
    registry: Mapping[str, Any], others: Iterable[Mapping[str, Any]], nodes: Mapping[str, Mapping[str, str]]
) -> tuple[Mapping[str, Any], str] | None:
    """The oldest other Registry that has one of our host:port, with that host:port; None if all are ours."""
    wanted = ports_of(registry, nodes)
    if not wanted:
        return None
    older = (other for other in others if seniority(other) < seniority(registry))
    for other in sorted(older, key=seniority):
        for port, serving in ports_of(other, nodes).items():
            common = serving & wanted.get(port, set())
            if common:
                return other, f"{min(common)}:{port}"
    return None
