"""`spec.nodeTrust` and its part of the status: which nodes' container runtimes trust a Registry."""

from typing import Annotated

from pydantic import Field

from regkeeper.api.v1alpha1.base import Spec, Status
from regkeeper.api.v1alpha1.fragments import LabelValue
from regkeeper.api.v1alpha1.schema import MERGED_AS_SET, Rule, refused_unless
from regkeeper.nodes.hosts import MAXIMUM_LENGTH, PUBLIC_REGISTRIES

MAXIMUM_HOSTS = 8
"""Of one Registry, beside its addresses."""

_PORT = "int(host.substring(host.lastIndexOf(':') + 1))"
_NAME = "host.substring(0, host.lastIndexOf(':'))"
_PUBLIC = ", ".join(f"'{name}'" for name in sorted(PUBLIC_REGISTRIES))

Host = Annotated[
    str,
    # The port stands in the pattern as a number without leading zeros, so that CEL's int() takes it.
    Field(max_length=MAXIMUM_LENGTH, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?|\[[0-9a-f:.]+\]):[1-9][0-9]{0,4}$"),
]
"""`name:port`, `IPv4:port` or `[IPv6]:port`, as `nodes/hosts.py` checks again with more care."""


class NodeTrust(Spec):
    """Which nodes are to trust the Registry, and under which names."""

    enabled: bool | None = Field(
        None,
        description="Whether nodes are to trust it; default: where image names can use a node's address, by "
        "access.hostPort, access.nodePort.nodes or nodeTrust.hosts.",
    )
    node_selector: dict[str, LabelValue] = Field(
        default_factory=dict,
        description="Labels of the nodes that are to trust it; default: every Linux node.",
        max_length=64,
    )
    hosts: list[Host] = Field(
        default_factory=list,
        description="Further hosts at which it is reached, as in registry.example:5000. The chart's value trust.hosts "
        "must allow each.",
        max_length=MAXIMUM_HOSTS,
        json_schema_extra={
            **MERGED_AS_SET,
            **refused_unless(
                Rule(
                    f"self.all(host, {_PORT} <= 65535)",
                    "a port is at most 65535: correct it",
                ),
                Rule(
                    f"self.all(host, ![{_PUBLIC}].exists(public, {_NAME} == public || {_NAME}.endsWith('.' + public)))",
                    "a public registry is never trusted in plain HTTP: remove it",
                ),
            ),
        },
    )


class LaggingNode(Status):
    """A node that does not trust the Registry yet."""

    name: str = Field(description="Name of the node.", max_length=253)
    reason: str = Field(description="One word for programs.", max_length=64)
    message: str = Field(description="What keeps it, and what to do.", max_length=1024)
