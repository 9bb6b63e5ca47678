"""The names and addresses of a cluster: all derived from its name and a small number, its slot.

Two clusters side by side differ in their slots, so nothing of theirs meets: bridges, network namespaces, subnets.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

SLOTS = range(16)
SERVICES = IPv4Network("10.96.0.0/16")
"""The same in all clusters: only a node knows what a service address means."""
NODE_NAMES = ("k8smaster", "k8sworker1")
NAME_PATTERN = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
BRIDGE_PREFIX = "regkeeper"
CONTROL_PLANE_ROLE = "node-role.kubernetes.io/control-plane"
"""Label and taint of the first node."""


@dataclass(frozen=True)
class NodePlan:
    """What one node is called and where it is reached."""

    name: str
    address: IPv4Address
    pods: IPv4Network
    namespace: str
    """Its network namespace, under /run/netns."""
    link: str
    """The machine's end of its cable."""
    control_plane: bool


@dataclass(frozen=True)
class Plan:
    """One cluster's names and addresses."""

    name: str
    slot: int
    data: Path
    """Directory of everything that the cluster writes."""
    mtu: int

    @property
    def bridge(self) -> str:
        return f"{BRIDGE_PREFIX}{self.slot}"

    @property
    def network(self) -> IPv4Network:
        """Of the bridge and the nodes."""
        return IPv4Network(f"10.99.{self.slot}.0/24")

    @property
    def pods(self) -> IPv4Network:
        return IPv4Network(f"10.{224 + self.slot}.0.0/16")

    @property
    def address(self) -> IPv4Address:
        """The bridge's own: the control plane listens there."""
        return self.network[1]

    @property
    def loopback(self) -> IPv4Address:
        """For what nobody but the control plane itself talks to."""
        return IPv4Address(f"127.99.{self.slot}.1")

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:6443"

    @property
    def cgroup(self) -> str:
        return f"regkeeper-{self.name}"

    @cached_property
    def nodes(self) -> tuple[NodePlan, ...]:
        """The control-plane node first."""
        pods = list(self.pods.subnets(new_prefix=24))
        return tuple(
            NodePlan(
                name=name,
                address=self.network[11 + index],
                pods=pods[1 + index],
                namespace=f"{self.bridge}-{name}",
                link=f"{self.bridge}-{index}",
                control_plane=index == 0,
            )
            for index, name in enumerate(NODE_NAMES)
        )

    def node(self, name: str) -> NodePlan:
        """The node of that name.

        Raises:
            ValueError: there is none.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise ValueError(f"there is no node {name!r}: the nodes are {', '.join(NODE_NAMES)}")
