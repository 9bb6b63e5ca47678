"""What makes no node forget a Registry: what the operator can't know at the moment, and what is over in a moment."""

import pytest

from regkeeper import kube, naming
from tests.e2e.trust_stage import Stage

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("stage")]

ODD_ADDRESS = {"status": {"addresses": [{"type": "InternalIP", "address": "unknown"}]}}


async def test_agents_that_are_upgraded_make_no_node_forget(stage: Stage) -> None:
    """nodes.md: "SIGTERM, eviction and upgrade revert nothing"; the agents' part is in tests/nodes/test_agent.py."""
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    hosts = await stage.hosts(key)
    old = {agent.pod_uid for agent in stage.agents.by_address.values()}
    await stage.keeper.close()
    stage.operator(pull_secrets=["later"])

    async def all_are_new() -> bool:
        told = await stage.told()
        assert set(told.values()) <= {hosts, None}, "a new pod is told nothing before it is told all"
        agents = stage.agents.by_address.values()
        return list(told.values()) == [hosts] * 3 and not old & {agent.pod_uid for agent in agents}

    await stage.until(all_are_new, "new agents on all nodes")
    await stage.trusted(key, "3/3")
    assert await stage.hosts(key) == hosts


async def test_a_conflict_over_the_finalizer_makes_no_node_forget(stage: Stage) -> None:
    """Somebody took it off, and what the operator knows of the Registry is a moment old."""
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    await stage.cluster.patch(kube.REGISTRY, *key, {"metadata": {"finalizers": []}})
    bare = await stage.cluster.get(kube.REGISTRY, *key)
    await stage.cluster.patch(kube.REGISTRY, *key, {"metadata": {"labels": {"changed": "meanwhile"}}})
    stage.store.put(bare)
    await stage.keeper.look()
    assert await stage.told() == {stage.node(number): await stage.hosts(key) for number in (1, 2, 3)}
    await stage.trusted(key, "3/3")
    body = await stage.cluster.get(kube.REGISTRY, *key)
    assert body["metadata"]["finalizers"] == [naming.NODE_TRUST_FINALIZER]


async def test_a_status_that_is_lost_makes_no_node_forget_and_a_deletion_goes_on_beside_it(stage: Stage) -> None:
    key, other = await stage.registry(), await stage.registry("other", port=5001)
    await stage.trusted(key, "3/3")
    await stage.trusted(other, "3/3")
    hosts = await stage.hosts(key)
    await stage.cluster.patch_status(kube.REGISTRY, *key, {"status": None})
    await stage.delete(other)
    await stage.until(lambda: stage.is_gone(kube.REGISTRY, *other), "the other Registry to go")
    assert await stage.told() == {stage.node(number): hosts for number in (1, 2, 3)}
    assert (await stage.condition(key))["reason"] == "NotServing"

    stage.remove_pod(stage.pod(2))

    async def is_back() -> bool:
        return stage.node(2) in await stage.told()

    await stage.until(is_back, "a new agent")
    await stage.look()
    assert (await stage.told())[stage.node(2)] is None, "what the old one was told is not known"

    await stage.answers(key)
    await stage.trusted(key, "3/3")
    assert await stage.told() == {stage.node(number): hosts for number in (1, 2, 3)}


async def test_a_node_that_is_not_there_for_a_moment_makes_no_node_forget_its_address(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    hosts = await stage.hosts(key)
    stage.remove_node(1)
    await stage.trusted(key, "2/2")
    assert await stage.hosts(key) == hosts
    assert set(hosts) == {"10.7.0.1:5000", f"{stage.node(1)}:5000"}
    await stage.cluster.patch_status(kube.NODE, None, stage.node(2), ODD_ADDRESS)
    await stage.add_node(1)
    await stage.trusted(key, "3/3")
    assert await stage.hosts(key) == hosts
