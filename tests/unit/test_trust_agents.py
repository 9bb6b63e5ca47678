"""Which pods are agents, and what their status says of them."""

from typing import Any, cast

import pytest

from regkeeper import kube, naming
from regkeeper.nodes.desired import TrustList, encode
from regkeeper.reconcile.trust.agents import STARTING, AgentPods, agent_of

OWNER = "daemon-set-uid"
TRUST = TrustList(generation=7, cluster="here", sets=(("k8smaster:5000",),), nodes={"node": 0})


def pod(*, state: dict[str, Any] | None = None, owner: str = OWNER, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "agent-x", "uid": "pod-uid", "ownerReferences": [{"uid": owner}], **metadata},
        "spec": {"nodeName": "node"},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "containerStatuses": [{"state": state or {"running": {}}}],
        },
    }


def test_a_running_agent_and_what_it_was_told() -> None:
    found = agent_of(pod(annotations={naming.TRUST_ANNOTATION: encode(TRUST).decode()}), OWNER)
    assert found is not None
    assert (found.node, found.uid, found.address, found.runs) == ("node", "pod-uid", "10.0.0.1", True)
    assert found.told == TRUST


def test_what_was_told_and_can_not_be_read_counts_as_nothing() -> None:
    for annotation in ("", "{}", encode(TRUST).decode()[:-3]):
        found = agent_of(pod(annotations={naming.TRUST_ANNOTATION: annotation}), OWNER)
        assert found is not None
        assert found.told is None


def test_a_forged_pod_is_no_agent() -> None:
    """Its labels are right, but the DaemonSet did not make it."""
    assert agent_of(pod(owner="somebody"), OWNER) is None
    assert agent_of(pod(ownerReferences=None), OWNER) is None


def test_a_pod_that_goes_or_has_no_node_is_no_agent() -> None:
    assert agent_of(pod(deletionTimestamp="2026-01-01T00:00:00Z"), OWNER) is None
    assert agent_of({**pod(), "spec": {}}, OWNER) is None


def test_why_it_does_not_run() -> None:
    def trouble(**state: Any) -> str:
        found = agent_of(pod(state=state), OWNER)
        assert found is not None
        assert not found.runs
        return found.trouble

    assert trouble(waiting={"reason": "ContainerCreating"}) == STARTING
    assert trouble(waiting={"reason": "ErrImagePull", "message": "no such image"}) == "ErrImagePull no such image"
    assert trouble(terminated={"reason": "OOMKilled"}) == "OOMKilled"


class Refusing:
    """An API server that refuses to change a pod."""

    def __init__(self, error: kube.ApiError) -> None:
        self.error = error

    async def patch(self, *_: Any) -> kube.Object:
        raise self.error


@pytest.mark.parametrize(
    ("error", "left"), [(kube.ConflictError("busy", code=409), ["node"]), (kube.NotFoundError("gone", code=404), [])]
)
async def test_a_pod_that_others_write_to_at_the_same_time_is_still_an_agent(
    error: kube.ApiError, left: list[str]
) -> None:
    """Else its node would count as one without an agent, until the watch shows another change of the pod."""
    woken: list[None] = []
    pods = AgentPods(cast(kube.Cluster, Refusing(error)), "agents", lambda: woken.append(None))
    pods._daemon_set = OWNER
    pods._take("ADDED", pod())
    woken.clear()
    await pods.tell(pods.by_node()["node"], TRUST)
    assert list(pods.by_node()) == left
    assert bool(woken) is bool(left), "the next pass tries again"
