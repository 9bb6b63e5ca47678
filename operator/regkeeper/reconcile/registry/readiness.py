"""Whether a Registry serves, and the rest of its status: pure, from what a pass saw."""

from collections.abc import Mapping, Sequence
from typing import Any

from regkeeper.distribution import Counts
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import State
from regkeeper.reconcile.registry.addresses import Endpoint
from regkeeper.reconcile.registry.diagnosis import Problem

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


def lasting_addresses(before: Mapping[str, Any], deployment: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """Addresses in the status that stay although no pod may be there to show them: until all pods are."""
    is_complete = progress(deployment) is None and deployment["spec"].get("replicas") != 0
    return () if is_complete else before.get("addresses") or ()


def keeps_serving(deployment: Mapping[str, Any]) -> bool:
    """Whether as many pods serve as the Deployment's strategy promises at any time of a roll-out."""
    status = deployment.get("status") or {}
    available = conditions.find(status.get("conditions") or (), "Available")
    return (
        deployment["spec"]["strategy"]["type"] == "RollingUpdate"
        and status.get("availableReplicas", 0) > 0
        and available is not None
        and available["status"] == "True"
    )


def unserved_nodes(
    matching: Sequence[str] | None, unknown: Sequence[str], deployment: Mapping[str, Any]
) -> State | None:
    """What to say where nodes and `spec.access` don't agree.

    Args:
        matching: Nodes that match, where each pod wants a port of one; None where none does.
        unknown: Names in `spec.access.nodePort.nodes` of nodes that are not there.
        deployment: The live one.
    """
    replicas = deployment["spec"].get("replicas", 1)
    if matching is not None and len(matching) != replicas and replicas != 0:
        return conditions.true(
            "NodesNotReplicas",
            f"spec.access.hostPort needs as many nodes as replicas: {replicas} replicas, matching nodes: "
            f"{', '.join(matching) or 'none'}. Set spec.nodeSelector or spec.replicas so that they agree",
        )
    if unknown:
        return conditions.true(
            "NodeNotFound", f"spec.access.nodePort.nodes: there is no node {', '.join(unknown)}: correct the name"
        )
    return None


def not_serving(progress: State, problem: Problem | None, unserved: State | None) -> State:
    """Why a roll-out does not come to its end: for want of nodes, for what ails its pods, or it only takes time."""
    lacks_nodes = unserved is not None and unserved.reason == "NodesNotReplicas"
    if unserved is not None and lacks_nodes and (problem is None or problem.reason == "Unschedulable"):
        return conditions.false(unserved.reason, unserved.message)
    return conditions.false(problem.reason, problem.message) if problem is not None else progress


def serving(endpoints: Sequence[Endpoint], progress: State | None) -> State:
    """That it answers, with all of its pods, or, while `progress` is not None, with some."""
    where = f"It answers at {', '.join(endpoint.host for endpoint in endpoints)}."
    if progress is None:
        return conditions.true("Serving", where)
    return conditions.true("PartlyServing", f"{where} {progress.message}")


COUNT_FIELDS = ("repositories", "tags", "countsIncomplete")
NODE_FIELDS = ("trustedNodes", "trustedHosts", "nodes")
"""Of the pass over nodes (`reconcile/trust`)."""
RUN_FIELDS = ("usage",)
"""Of runs on its volume (`reconcile/retention`)."""


def fields(before: Mapping[str, Any], endpoints: Sequence[Endpoint], counts: Counts | None) -> dict[str, Any]:
    """Everything in the status but conditions. Without `counts` the last ones stay; so does what others say."""
    after: dict[str, Any] = {key: before.get(key) for key in (*COUNT_FIELDS, *NODE_FIELDS, *RUN_FIELDS)}
    if counts is not None:
        after |= {
            "repositories": counts.repositories,
            "tags": counts.tags,
            "countsIncomplete": None if counts.complete else True,
        }
    after["addresses"] = [{"type": endpoint.kind, "host": endpoint.host} for endpoint in endpoints]
    after["imagePrefix"] = endpoints[0].host
    return after
