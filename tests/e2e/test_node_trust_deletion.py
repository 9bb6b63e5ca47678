"""How nodes forget a Registry that is deleted, and what does not hold the deletion up.

Proves of nodes.md: "Deleting a Registry waits for the reverts within a bound", "Only a deleted Node is written off, in
an Event".
"""

from datetime import timedelta

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.trust.farewell import REVERT_SECONDS
from tests.e2e.trust_stage import Stage

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("stage")]


async def others_have_forgotten(stage: Stage, key: Key, number: int) -> None:
    """Wait until of three nodes that one alone is waited for."""

    async def owes() -> bool:
        return f"not yet seen of 1: {stage.node(number)}" in (await stage.condition(key)).get("message", "")

    await stage.until(owes, "two nodes to have forgotten")


async def test_a_node_that_is_down_holds_up_neither_the_others_nor_a_deletion_for_long(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    stage.agent(3).obeys = False
    await stage.delete(key)
    await others_have_forgotten(stage, key, 3)
    (waiting,) = (await stage.status(key))["nodes"]
    assert (waiting["name"], waiting["message"]) == (stage.node(3), "its agent has not reported yet")
    stage.ahead += timedelta(seconds=REVERT_SECONDS + 1)
    await stage.until(lambda: stage.is_gone(kube.REGISTRY, *key), "the Registry to go")
    (said,) = await stage.events("NotReverted")
    assert stage.node(3) in said
    assert not await stage.is_gone(kube.DAEMON_SET, stage.agents_namespace, naming.NODE_AGENT)
    stage.remove_node(3)
    await stage.agents_gone()


async def test_a_node_without_an_agent_is_told_of_when_a_deletion_has_waited_for_it(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    inside = ("-n", stage.agents_namespace)
    stage.admin.kubectl("create", "quota", "none", "--hard=pods=0", *inside)
    try:
        stage.remove_pod(stage.pod(3))
        await stage.delete(key)

        async def waits() -> bool:
            said = (await stage.condition(key)).get("message", "")
            return "not yet seen" not in said and "not every node has its agent yet" in said

        await stage.until(waits, "the deletion to wait")
        stage.ahead += timedelta(seconds=REVERT_SECONDS + 1)
        await stage.until(lambda: stage.is_gone(kube.REGISTRY, *key), "the Registry to go")
    finally:
        stage.admin.kubectl("delete", "quota", "none", *inside)
    (said,) = await stage.events("NotReverted")
    assert "not every node has an agent" in said
    await stage.agents_gone()


async def test_a_node_that_is_deleted_before_it_forgot_is_written_off_in_an_event(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    stage.agent(2).obeys = False
    await stage.delete(key)
    await others_have_forgotten(stage, key, 2)
    stage.remove_node(2)
    await stage.until(lambda: stage.is_gone(kube.REGISTRY, *key), "the Registry to go")
    (said,) = await stage.events("NodeGone")
    assert stage.node(2) in said


async def test_a_deletion_is_not_held_up_where_the_agents_have_no_namespace(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    await stage.keeper.close()
    stage.agents_namespace, gone = "not-there", stage.agents_namespace
    stage.operator()
    await stage.delete(key)
    for _ in range(2):
        assert not await stage.is_gone(kube.REGISTRY, *key)
        # Its rights were that namespace's, and went with it.
        with pytest.raises(kube.ForbiddenError):
            await stage.look()
        stage.ahead += timedelta(seconds=REVERT_SECONDS + 2)
    assert await stage.is_gone(kube.REGISTRY, *key)
    (said,) = await stage.events("NotReverted")
    assert "could not be asked" in said
    stage.agents_namespace = gone


async def test_a_new_operator_asks_nodes_before_it_frees_what_was_deleted_long_ago(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    await stage.keeper.close()
    await stage.delete(key)
    stage.ahead += timedelta(hours=1)
    stage.operator()
    await stage.until(lambda: stage.is_gone(kube.REGISTRY, *key), "the Registry to go")
    assert all(agent.reverted for agent in stage.agents.by_address.values())
    assert await stage.events("NotReverted") == []


async def test_a_registry_whose_status_is_lost_is_deleted_once_nodes_have_forgotten_it(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    await stage.cluster.patch_status(kube.REGISTRY, *key, {"status": None})
    stage.agent(2).obeys = False
    await stage.delete(key)
    await others_have_forgotten(stage, key, 2)
    stage.agent(2).obeys = True
    await stage.until(lambda: stage.is_gone(kube.REGISTRY, *key), "the Registry to go")
    assert stage.agent(2).reverted
