"""The list of trusted registries: how the operator writes it and the agents read it.

A JSON document in an annotation of each agent's pod, which reads it as a mounted file. It has room for many nodes, each
distinct set of hosts standing in it once; the operator names in it the one of the pod:

    {"version": 1, "checksum": "sha256:…", "list": {
      "generation": 7, "cluster": "<uid of kube-system>", "applyPendingEdits": false,
      "sets": [["k8smaster:5000"]], "nodes": {"k8sworker1": 0}}}

`checksum` is over `list` written as `canonical` writes it. A node that shall trust nothing is named with an empty set:
a node that is not named is left as it is, for absence is never an order.
"""

import hashlib
import json
from typing import Annotated, Any

import msgspec

from regkeeper.nodes.hosts import InvalidHostError, check_host
from regkeeper.nodes.reasons import NodeProblemError, Reason

VERSION = 1
MAXIMUM_BYTES = 1 << 20
"""Four times what all annotations of an object may take."""

MAXIMUM_HOSTS = 1024
"""Of one node: 500 Registries by name and by address, and still small enough for a report."""

Hosts = Annotated[tuple[str, ...], msgspec.Meta(max_length=MAXIMUM_HOSTS)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Index = Annotated[int, msgspec.Meta(ge=0)]


class TrustList(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Who is to trust what.

    A msgspec struct, not a pydantic model: pydantic alone would be a third of the agent's memory.
    """

    generation: Positive
    """Grows with each change; an agent never goes back."""
    cluster: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    """Uid of the namespace kube-system. A node's record of another cluster's entries is taken back."""
    apply_pending_edits: bool = False
    """Whether a reload may also apply edits of daemon.json that the administrator has not loaded yet."""
    sets: tuple[Hosts, ...]
    nodes: dict[str, Index]
    """Node name → index in `sets`."""

    def hosts_of(self, node: str) -> tuple[str, ...]:
        """Hosts that `node` is to trust, in order and without repetition.

        Raises:
            NodeProblemError: the node is not named, or its set does not exist.
        """
        if node not in self.nodes:
            raise NodeProblemError(Reason.NODE_NOT_LISTED)
        if self.nodes[node] >= len(self.sets):
            raise NodeProblemError(Reason.LIST_INVALID)
        return tuple(dict.fromkeys(self.sets[self.nodes[node]]))


def encode(trust: TrustList) -> bytes:
    """The document's bytes; equal lists give equal bytes.

    Raises:
        NodeProblemError: agents would refuse it.
    """
    body = msgspec.to_builtins(trust)
    document = canonical({"version": VERSION, "checksum": checksum(body), "list": body})
    decode(document)
    return document


def decode(data: bytes) -> TrustList:
    """Read the document.

    Raises:
        NodeProblemError: `LIST_MISSING` (empty), `LIST_VERSION` (another version) or `LIST_INVALID` (truncated,
            changed, too large, a host that may not be trusted).
    """
    if not data:
        raise NodeProblemError(Reason.LIST_MISSING)
    if len(data) > MAXIMUM_BYTES:
        raise NodeProblemError(Reason.LIST_INVALID)
    try:
        document = json.loads(data)
        version = document["version"]
        body, promised = document.get("list"), document.get("checksum")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NodeProblemError(Reason.LIST_INVALID) from error
    if version != VERSION:
        raise NodeProblemError(Reason.LIST_VERSION, version=str(version)[:20])
    if promised != checksum(body):
        raise NodeProblemError(Reason.LIST_INVALID)
    try:
        trust = msgspec.convert(body, TrustList)
        for host in {host for hosts in trust.sets for host in hosts}:
            check_host(host)
    except (msgspec.ValidationError, InvalidHostError) as error:
        raise NodeProblemError(Reason.LIST_INVALID) from error
    return trust


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def checksum(value: Any) -> str:
    """`sha256:` and the hexadecimal digest of the canonical form."""
    return f"sha256:{hashlib.sha256(canonical(value)).hexdigest()}"
