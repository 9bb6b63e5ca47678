"""Which directory is behind a PersistentVolume, and whether two are the same files. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

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
