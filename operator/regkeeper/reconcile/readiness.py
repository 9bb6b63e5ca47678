"""Whether a Registry serves, and the rest of its status: pure, from what a pass saw."""

from collections.abc import Mapping, Sequence
from typing import Any

from regkeeper.distribution import Counts
from regkeeper.reconcile import conditions
from regkeeper.reconcile.addresses import Endpoint
from regkeeper.reconcile.conditions import State

FIRST_PEEK_SECONDS = 0.1
LAST_PEEK_SECONDS = 30.0
"""Between looks at a Registry that is not ready and gives no sign: its Events and addresses are not watched."""


def peek_after(peeks: int) -> float:
    """Seconds until the next look at what was not ready for the same reason `peeks` times: soon, then less often."""
    return min(LAST_PEEK_SECONDS, FIRST_PEEK_SECONDS * 2.0 ** min(peeks, 10))


def progress(deployment: Mapping[str, Any]) -> State | None:
    """How far the roll-out is; None when it is done."""
    status = deployment.get("status") or {}
    replicas = deployment["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if seen and updated == replicas == available == status.get("replicas", 0):
        return None
    count = min(updated, available) if seen else 0
    return conditions.false("Progressing", f"{count} of {replicas} pods are up to date and ready.")


def nodes_not_replicas(nodes: Sequence[str], deployment: Mapping[str, Any]) -> State | None:
    """What to say where the nodes that match are not as many as the pods that each want a port of theirs."""
    replicas = deployment["spec"].get("replicas", 1)
    if len(nodes) == replicas or replicas == 0:
        return None
    listed = ", ".join(nodes) or "none"
    return conditions.false(
        "NodesNotReplicas",
        f"spec.access.hostPort needs as many nodes as replicas: {replicas} replicas, matching nodes: {listed}. "
        "Set spec.nodeSelector or spec.replicas so that they agree",
    )


def fields(before: Mapping[str, Any], endpoints: Sequence[Endpoint], counts: Counts | None) -> dict[str, Any]:
    """Everything in the status but conditions. Without `counts` the last ones stay."""
    after: dict[str, Any] = {key: before.get(key) for key in ("repositories", "tags", "countsIncomplete")}
    if counts is not None:
        after |= {
            "repositories": counts.repositories,
            "tags": counts.tags,
            "countsIncomplete": None if counts.complete else True,
        }
    after["addresses"] = [{"type": endpoint.kind, "host": endpoint.host} for endpoint in endpoints]
    after["imagePrefix"] = endpoints[0].host
    return after
