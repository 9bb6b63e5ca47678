"""How nodes come to trust Registries: who is told what, and who is told that it can't be done.

Proves of nodes.md: "Where admission refuses the agents, `NodesTrusted` gives its message and the label to set".
"""

import pytest

from regkeeper import kube, naming
from regkeeper.nodes.reasons import Problem, Reason
from regkeeper.nodes.report import reported
from tests.e2e.trust_stage import Stage

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("stage")]

ACCOUNT = kube.Resource("v1", "ServiceAccount", "serviceaccounts")


async def test_from_the_first_registry_to_the_last(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    said = await stage.condition(key)
    assert (said["status"], said["reason"]) == ("True", "Trusted")
    assert said["message"] == f"3/3 nodes trust 10.7.0.1:5000, {stage.node(1)}:5000."
    body = await stage.cluster.get(kube.REGISTRY, *key)
    assert body["metadata"]["finalizers"] == [naming.NODE_TRUST_FINALIZER]
    assert await stage.events("Trusted") == [said["message"]]
    told = stage.keeper._pods.by_node()[stage.node(1)].told
    assert told
    assert told.apply_pending_edits, "the setting reaches the agents"

    await stage.keeper.close()
    stage.operator()
    await stage.delete(key)
    await stage.until(lambda: stage.is_gone(kube.REGISTRY, *key), "the Registry to go")
    assert stage.agent(1).reverted
    await stage.agents_gone()
    assert await stage.events("NotReverted") == []
    await stage.look()
    assert not stage.keeper._reports._known, "nobody is asked any more"


async def test_a_node_that_joins_later_is_trusted_and_a_forged_pod_is_told_nothing(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    account = await stage.cluster.get(ACCOUNT, stage.agents_namespace, "default")
    # With an owner, as the DaemonSet's controller would adopt it else.
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "default", "uid": account["metadata"]["uid"]}
    forged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "forged",
            "namespace": stage.agents_namespace,
            "labels": naming.node_agent_labels(),
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": {"nodeName": stage.node(4), "containers": [{"name": "agent", "image": "evil"}]},
    }
    await stage.cluster.create(forged)
    await stage.add_node(4)
    await stage.trusted(key, "4/4")
    pod = await stage.cluster.get(kube.POD, stage.agents_namespace, "forged")
    assert naming.TRUST_ANNOTATION not in pod["metadata"].get("annotations", {})


async def test_agents_that_pod_security_refuses_are_told_of_with_the_label(stage: Stage) -> None:
    stage.enforce("restricted")
    key = await stage.registry()

    async def refused() -> bool:
        said = (await stage.condition(key)).get("message", "")
        return f"{stage.agents_namespace} pod-security.kubernetes.io/enforce=privileged --overwrite" in said

    await stage.until(refused, "the label to set")
    assert (await stage.condition(key))["reason"] == "NodesLag"
    assert await stage.events("NodesLag")


@pytest.mark.parametrize("is_new", [False, True], ids=["in its memory", "in its node's record"])
async def test_an_agent_that_holds_a_later_list_is_given_one_later_still(stage: Stage, is_new: bool) -> None:
    """As where the clock of the operator's node was ahead, or is behind that of the one on which it ran before."""
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    agent = stage.agent(1)
    late = 2 * agent.generation
    agent.obeys, agent.generation = False, 0 if is_new else late
    agent.list_problem = reported(Problem(Reason.LIST_OLDER, {"generation": str(late)} if is_new else {}))

    async def told_later() -> bool:
        agents = stage.keeper._pods.by_node()
        told = agents[stage.node(1)].told
        return told is not None and told.generation > late

    await stage.until(told_later, "a list of a later generation")
    agent.obeys, agent.list_problem = True, None
    await stage.trusted(key, "3/3")


async def test_a_pod_that_refuses_to_be_told_holds_up_no_other_and_is_named(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    with stage.refusing_to_tell(2):
        other = await stage.registry("other", port=5001)

        async def others_trust() -> bool:
            return (await stage.status(other)).get("trustedNodes") == "2/3"

        await stage.until(others_trust, "two nodes to trust the other")
        (lag,) = (await stage.status(other))["nodes"]
        assert (lag["name"], lag["reason"]) == (stage.node(2), "NotTold")
        assert "this node is left alone" in lag["message"]
    await stage.trusted(other, "3/3")


async def test_tools_are_told_of_the_registry_as_long_as_it_is_there(stage: Stage) -> None:
    """KEP-1755."""
    hosting = (kube.CONFIG_MAP, "kube-public", "local-registry-hosting")

    async def data() -> dict[str, str]:
        try:
            found = await stage.cluster.get(*hosting)
        except kube.NotFoundError:
            return {}
        return dict(found["data"])

    stage.operator(names_its_registry=True)
    foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": hosting[2], "namespace": hosting[1]}}
    made = await stage.cluster.create({**foreign, "data": {"by": "hand"}})
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    await stage.look()
    assert await data() == {"by": "hand"}
    (said,) = await stage.events("ForeignLocalRegistryHosting")
    assert "kube-public/local-registry-hosting is not regkeeper's" in said

    await stage.cluster.delete(*hosting, uid=made["metadata"]["uid"])
    await stage.until(data, "the ConfigMap")
    assert await data() == {"localRegistryHosting.v1": f"host: {stage.node(1)}:5000\n"}
    await stage.cluster.patch(*hosting, {"data": {"localRegistryHosting.v1": ""}})

    async def is_repaired() -> bool:
        return bool((await data())["localRegistryHosting.v1"])

    await stage.until(is_repaired, "the repair")
    await stage.delete(key)
    await stage.until(lambda: stage.is_gone(*hosting), "the ConfigMap to go")
