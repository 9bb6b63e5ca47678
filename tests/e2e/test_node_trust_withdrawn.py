"""How nodes forget a Registry that stays: before an uninstall or after it, and where it may no longer change nodes."""

import asyncio
import re

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.trust import recall
from regkeeper.uninstall import revert_nodes
from tests.e2e.trust_stage import SOON, Stage
from tests.waiting import wait_for_async

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("stage")]


async def test_before_an_uninstall_nodes_forget_though_the_registry_stays(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    reverting = asyncio.create_task(revert_nodes(stage.cluster, stage.agents_namespace))

    async def reverted() -> bool:
        return reverting.done()

    await stage.until(reverted, "every node to have forgotten")
    reverting.result()
    assert all(agent.reverted for agent in stage.agents.by_address.values())
    await stage.look()
    assert (await stage.condition(key))["reason"] == "Uninstalling"
    assert await stage.is_gone(kube.DAEMON_SET, stage.agents_namespace, naming.NODE_AGENT)
    body = await stage.cluster.get(kube.REGISTRY, *key)
    assert "finalizers" not in body["metadata"]
    await revert_nodes(stage.cluster, stage.agents_namespace)


async def test_what_an_uninstall_asks_for_is_heard_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would wait for the next pass, for half a minute."""
    await stage.trusted(await stage.registry(), "3/3")
    await stage.look()
    daemon_set, woken = stage.keeper._daemon_set, stage.keeper._woken
    take, wakes = daemon_set._take, []

    def taken(body: kube.Object) -> None:
        woken.clear()  # pods and answers wake it too, but not while this takes place
        take(body)
        wakes.append(recall.is_asked(body) and woken.is_set())

    monkeypatch.setattr(daemon_set, "_take", taken)
    await stage.ask_to_revert()
    await wait_for_async(lambda: any(wakes), SOON, "the next pass")


async def test_an_uninstall_that_is_called_off_is_undone_as_the_condition_says(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    stage.agent(3).obeys = False
    await stage.ask_to_revert()

    async def remedy() -> list[str]:
        said = (await stage.condition(key)).get("message", "")
        return re.findall("kubectl (annotate .*-), or", said) if f"of 1: {stage.node(3)}" in said else []

    await stage.until(remedy, "two nodes to forget")
    (command,) = await remedy()
    stage.admin.kubectl(*command.split())
    stage.agent(3).obeys = True
    await stage.trusted(key, "3/3")


@pytest.mark.parametrize("is_allowed", [False, True], ids=["no longer allowed", "switched off"])
async def test_trust_that_an_uninstall_left_is_taken_back_by_the_next_operator(stage: Stage, is_allowed: bool) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    await stage.uninstall()
    assert len(await stage.hosts(key)) == 2
    stage.operator(is_allowed=is_allowed)
    if is_allowed:
        await stage.cluster.patch(kube.REGISTRY, *key, {"spec": {"nodeTrust": {"enabled": False}}})

    async def is_forgotten() -> bool:
        return not await stage.hosts(key)

    await stage.until(is_forgotten, "its hosts to be forgotten")
    assert [agent.reverted for agent in stage.agents.by_address.values()] == [True] * 3
    await stage.agents_gone()
    assert (await stage.condition(key)).get("reason") == (None if is_allowed else "NotAllowed")


async def test_a_namespace_that_may_no_longer_change_nodes_keeps_no_claim_to_hosts(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    await stage.keeper.close()
    stage.operator(is_allowed=False)

    async def refused() -> bool:
        return (await stage.condition(key)).get("reason") == "NotAllowed"

    await stage.until(refused, "the refusal")
    assert all(agent.reverted for agent in stage.agents.by_address.values())
    assert "trustedHosts" not in await stage.status(key)
    await stage.agents_gone()


async def test_a_finalizer_that_a_tenant_plants_brings_no_agent(stage: Stage) -> None:
    stage.operator(is_allowed=False)
    key = await stage.registry(finalizers=[naming.NODE_TRUST_FINALIZER])
    await stage.look()
    assert await stage.is_gone(kube.DAEMON_SET, stage.agents_namespace, naming.NODE_AGENT)
    body = await stage.cluster.get(kube.REGISTRY, *key)
    assert "finalizers" not in body["metadata"]
    await stage.look()
    assert (await stage.condition(key))["reason"] == "NotAllowed"
