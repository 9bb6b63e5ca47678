"""The pass over nodes against a real API server and DaemonSet controller; the agents are stand-ins that tests steer.

Proves of nodes.md: "Deleting a Registry waits for the reverts within a bound", "Only a deleted Node is written off, in
an Event", "Where admission refuses the agents, `NodesTrusted` gives its message and the label to set".
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from regkeeper import kube, naming
from regkeeper.distribution import open_session
from regkeeper.nodes.desired import TrustList, decode
from regkeeper.nodes.reasons import Problem, Reason
from regkeeper.nodes.report import reported
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust.farewell import REVERT_SECONDS
from regkeeper.reconcile.trust.keeper import TrustKeeper
from regkeeper.reconcile.trust.questions import Questioner
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.settings import Settings, TrustSettings
from regkeeper.uninstall import release_finalizers, revert_nodes
from tests.chart_account import apply_account, await_confinement, write_kubeconfig
from tests.cluster import Cluster
from tests.cluster.commands import CommandError
from tests.fake_agents import FakeAgent, FakeAgents, fake_agents
from tests.operator_process import install_crds
from tests.registry_objects import registry_object
from tests.waiting import wait_for, wait_for_async

pytestmark = pytest.mark.control_plane

SOON = 60  # seconds; takes a few
ACCOUNT = kube.Resource("v1", "ServiceAccount", "serviceaccounts")
ODD_ADDRESS = json.dumps({"status": {"addresses": [{"type": "InternalIP", "address": "unknown"}]}})
SELECTOR = f"app.kubernetes.io/name={naming.NODE_AGENT}"


class Stage:
    """One operator's pass over nodes, its API server, and agents on nodes that have no kubelet."""

    def __init__(
        self,
        admin: Cluster,
        cluster: kube.ApiCluster,
        operators: kube.ApiCluster,
        agents_namespace: str,
        agents: FakeAgents,
        questioner: Questioner,
    ) -> None:
        self.admin = admin
        self.cluster = cluster
        """As an administrator has it, who plays everybody but the operator."""
        self._operators = operators
        self.agents = agents
        self._questioner = questioner
        self.token = uuid4().hex[:6]
        self.namespace = f"keeper-{self.token}"
        self.agents_namespace = agents_namespace
        self.ahead = timedelta()
        """How far the operator's clock is ahead."""
        self.time = 0.0
        self._addresses: dict[str, str] = {}
        self.operator()

    def operator(
        self, *, is_allowed: bool = True, names_its_registry: bool = False, pull_secrets: Sequence[str] = ()
    ) -> None:
        """A new one, which remembers nothing."""
        self.store = Store()
        trust = TrustSettings(
            namespaces=(self.namespace,) if is_allowed else (),
            agents_namespace=self.agents_namespace,
            local_registry_hosting=f"{self.namespace}/main" if names_its_registry else "",
            image_pull_secrets=tuple({"name": name} for name in pull_secrets),
        )
        self.keeper = TrustKeeper(
            cluster=self._operators,
            store=self.store,
            settings=Settings(trust=trust),
            ask=self._questioner.ask,
            status=TrustStatusWriter(
                self._operators, self.store, StatusWriter(self._operators, self.store, self.now), self.now
            ),
            clock=self.clock,
            now=self.now,
            random=lambda: 0.0,
        )

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def clock(self) -> float:
        """A minute later at each look at it: everything is due, and nothing that was read is relied on."""
        self.time += 60
        return self.time

    async def registry(self, name: str = "main", *, port: int = 5000, finalizers: Sequence[str] = ()) -> Key:
        """A Registry that answers at the first node."""
        key = Key(self.namespace, name)
        access = {"hostPort": {"port": port}}
        selector = {"nodeSelector": {"stage": self.token}}
        body = registry_object(name, namespace=self.namespace, access=access, nodeTrust=selector)
        body["metadata"]["finalizers"] = list(finalizers)
        await self.cluster.create(body)
        await self.answers(key, port)
        return key

    async def answers(self, key: Key, port: int = 5000) -> None:
        """Say in its status that a Registry answers."""
        ready = {"type": "Ready", "status": "True", "reason": "Serving", "message": ""}
        status = {
            "addresses": [{"type": "HostPort", "host": f"{self.node(1)}:{port}"}],
            "conditions": [{**ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }
        await self.cluster.patch_status(kube.REGISTRY, *key, {"status": status})

    @contextmanager
    def refusing_to_tell(self, number: int) -> Iterator[None]:
        """An admission policy that lets nobody change the pod on a node."""
        name = f"{self.namespace}-refuses"
        group = {"apiVersion": "admissionregistration.k8s.io/v1"}
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]}
        expression = f"object.spec.nodeName != '{self.node(number)}'"
        spec = {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": expression, "message": "this node is left alone"}],
        }
        policy = {**group, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec}
        binding = {
            **group,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        }
        listed = {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}
        self.admin.kubectl("apply", "--filename=-", stdin=json.dumps(listed))
        try:
            wait_for(lambda: self._refuses(number), SOON, "the policy to work")
            yield
        finally:
            self.admin.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)

    def _refuses(self, number: int) -> bool:
        try:
            self.admin.kubectl("label", "pod", self.pod(number), "-n", self.agents_namespace, "a=b", "--dry-run=server")
        except CommandError:
            return True
        return False

    def node(self, number: int) -> str:
        return f"node-{self.token}-{number}"  # hosts are sorted, and addresses come first

    async def add_node(self, number: int) -> None:
        name = self.node(number)
        labels = {"kubernetes.io/os": "linux", "stage": self.token}
        await self.cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
        status = {"addresses": [{"type": "InternalIP", "address": f"10.7.0.{number}"}]}
        await self.cluster.patch_status(kube.NODE, None, name, {"status": status})

    def remove_node(self, number: int) -> None:
        """Delete a node, and its pod, as the controller-manager does within a minute."""
        pod = self.pod(number)
        self.admin.kubectl("delete", "node", self.node(number))
        self.remove_pod(pod)

    def pod(self, number: int) -> str:
        """Name of the agent's pod on a node."""
        pods = json.loads(self.admin.kubectl("get", "pods", "-n", self.agents_namespace, "--output=json"))["items"]
        (pod,) = [pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName") == self.node(number)]
        return str(pod)

    def remove_pod(self, pod: str) -> None:
        self.admin.kubectl("delete", "pod", pod, "-n", self.agents_namespace, "--force", "--grace-period=0")

    async def told(self) -> dict[str, tuple[str, ...] | None]:
        """What the pod on each node says that it is to trust."""
        pods = [pod async for pod in self.cluster.list(kube.POD, self.agents_namespace, label_selector=SELECTOR)]
        told = {pod["spec"]["nodeName"]: _told(pod) for pod in pods if "nodeName" in pod["spec"]}
        return {node: trust.sets[0] if trust else None for node, trust in told.items()}

    async def hosts(self, key: Key) -> tuple[str, ...]:
        """What nodes trust for a Registry, by its status."""
        return tuple((await self.status(key)).get("trustedHosts") or ())

    async def look(self) -> None:
        """A pass, after a fresh listing of Registries, and what kubelets and agents do meanwhile."""
        listed = {body["metadata"]["name"]: body async for body in self.cluster.list(kube.REGISTRY, self.namespace)}
        for known in self.store.registries():
            if known["metadata"]["name"] not in listed:
                self.store.discard(("Registry", self.namespace, known["metadata"]["name"]))
        for body in listed.values():
            self.store.put(body)
        await self.keeper.look()
        await self._play()

    async def _play(self) -> None:
        """kubelet runs each new pod and ends those that go, and agents do what their pods say."""
        key = self.keeper._daemon_set.key
        async for pod in self.cluster.list(kube.POD, self.agents_namespace, label_selector=SELECTOR):
            metadata, spec = pod["metadata"], pod["spec"]
            if metadata["name"] == "forged":
                continue
            if "deletionTimestamp" in metadata:
                self.remove_pod(metadata["name"])
                continue
            if "nodeName" not in spec:
                await self._bind(metadata["name"], _wanted_node(pod))
                continue
            node = spec["nodeName"]
            address = self._addresses.setdefault(node, f"127.7.{len(self._addresses)}.1")
            if (pod.get("status") or {}).get("phase") != "Running":
                started = {"name": "agent", "ready": True, "restartCount": 0, "image": "i", "imageID": "i"}
                status = {
                    "phase": "Running",
                    "podIP": address,
                    "podIPs": [{"ip": address}],
                    "containerStatuses": [{**started, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
                }
                await self.cluster.patch_status(kube.POD, self.agents_namespace, metadata["name"], {"status": status})
            agent = self.agents.by_address.get(address)
            if agent is None or agent.pod_uid != metadata["uid"]:
                agent = self.agents.by_address[address] = FakeAgent(node, metadata["uid"], key)
            told = _told(pod)
            if told is not None and agent.obeys:
                agent.generation, agent.hosts = told.generation, told.sets[0]
                agent.reverted = not told.sets[0]

    async def _bind(self, pod: str, node: str) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
        path = f"/api/v1/namespaces/{self.agents_namespace}/pods/{pod}/binding"
        self.admin.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(binding))

    def agent(self, number: int) -> FakeAgent:
        return next(agent for agent in self.agents.by_address.values() if agent.node == self.node(number))

    async def until(self, condition: Callable[[], Awaitable[Any]], what: str) -> None:
        async def reached() -> bool:
            await self.look()
            return bool(await condition())

        await wait_for_async(reached, SOON, what)

    async def status(self, key: Key) -> dict[str, Any]:
        body = await self.cluster.get(kube.REGISTRY, *key)
        found: dict[str, Any] = body.get("status") or {}
        return found

    async def condition(self, key: Key) -> dict[str, Any]:
        listed = (await self.status(key)).get("conditions", [])
        return next((entry for entry in listed if entry["type"] == "NodesTrusted"), {})

    async def uninstall(self) -> None:
        """End the operator, and remove what `helm uninstall` removes; what nodes trust stays."""
        await self.keeper.close()
        self.admin.kubectl("delete", "daemonset", naming.NODE_AGENT, "-n", self.agents_namespace)
        self.admin.kubectl("delete", "secret", naming.NODE_AGENT_KEY, "-n", self.agents_namespace)
        self.admin.kubectl("delete", "pods", "--all", "-n", self.agents_namespace, "--force", "--grace-period=0")
        self.agents.by_address.clear()
        assert [name async for name in release_finalizers(self.cluster, [self.namespace])]

    async def is_gone(self, resource: kube.Resource, namespace: str | None, name: str) -> bool:
        try:
            await self.cluster.get(resource, namespace, name)
        except kube.NotFoundError:
            return True
        return False

    async def trusted(self, key: Key, count: str) -> None:
        async def reached() -> bool:
            return (await self.status(key)).get("trustedNodes") == count

        await self.until(reached, f"{count} nodes to trust")

    async def agents_gone(self) -> None:
        await self.until(
            lambda: self.is_gone(kube.DAEMON_SET, self.agents_namespace, naming.NODE_AGENT), "the DaemonSet to go"
        )
        assert await self.is_gone(kube.SECRET, self.agents_namespace, naming.NODE_AGENT_KEY)

    async def delete(self, key: Key) -> None:
        body = await self.cluster.get(kube.REGISTRY, *key)
        await self.cluster.delete(kube.REGISTRY, *key, uid=body["metadata"]["uid"])

    async def events(self, reason: str) -> list[str]:
        listing = self.cluster.list(kube.EVENT, self.namespace)
        return [event["message"] async for event in listing if event["reason"] == reason]


def _wanted_node(pod: kube.Object) -> str:
    """The node that the DaemonSet controller meant; there is no scheduler here."""
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return str(terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0])


def _told(pod: kube.Object) -> TrustList | None:
    text = (pod["metadata"].get("annotations") or {}).get(naming.TRUST_ANNOTATION)
    return decode(text.encode()) if text else None


@dataclass(frozen=True)
class Account:
    """The operator's account, as the chart makes it."""

    kubeconfig: Path
    agents_namespace: str
    """Where alone it may have agents."""


@pytest.fixture(scope="module")
def keepers_account(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    install_crds(control_plane)
    release = f"keeper-{uuid4().hex[:6]}"
    agents_namespace = f"{release}-nodes"
    trust = {"agentsNamespace": agents_namespace, "localRegistryHosting": "default/main"}
    image = {"repository": "regkeeper", "tag": "dev"}
    made = apply_account(control_plane, {"image": image, "trust": trust}, release=release)
    kubeconfig = tmp_path_factory.mktemp("keeper") / "kubeconfig"
    write_kubeconfig(control_plane, made, kubeconfig)
    await_confinement(control_plane, made)
    yield Account(kubeconfig, agents_namespace)
    control_plane.kubectl("delete", "--wait=false", "--filename=-", stdin=json.dumps(made))


@pytest.fixture
async def stage(
    control_plane: Cluster, cluster: kube.ApiCluster, keepers_account: Account, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    monkeypatch.setenv("KUBECONFIG", str(keepers_account.kubeconfig))
    async with kube.connect() as operators, fake_agents() as agents, open_session(keep_alive=False) as session:
        questioner = Questioner(session, port=agents.port)
        stage = Stage(control_plane, cluster, operators, keepers_account.agents_namespace, agents, questioner)
        await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.namespace}})
        for number in (1, 2, 3):
            await stage.add_node(number)
        yield stage
        await stage.keeper.close()
        async for registry in cluster.list(kube.REGISTRY, stage.namespace):
            name = registry["metadata"]["name"]
            await cluster.patch(kube.REGISTRY, stage.namespace, name, {"metadata": {"finalizers": None}})
        agents_namespace = keepers_account.agents_namespace
        inside = ("-n", agents_namespace)
        control_plane.kubectl("delete", "daemonset,pods,secrets", *inside, "--all", "--force", "--grace-period=0")
        level = "pod-security.kubernetes.io/enforce=privileged"
        control_plane.kubectl("label", "--overwrite", "namespace", agents_namespace, level)
        control_plane.kubectl("delete", "namespace", stage.namespace, "--wait=false")
        control_plane.kubectl("delete", "nodes", f"--selector=stage={stage.token}")


async def test_from_the_first_registry_to_the_last(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    said = await stage.condition(key)
    assert (said["status"], said["reason"]) == ("True", "Trusted")
    assert said["message"] == f"3/3 nodes trust 10.7.0.1:5000, {stage.node(1)}:5000."
    body = await stage.cluster.get(kube.REGISTRY, *key)
    assert body["metadata"]["finalizers"] == [naming.NODE_TRUST_FINALIZER]
    assert await stage.events("Trusted") == [said["message"]]

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
    stage.admin.kubectl("apply", "--filename=-", stdin=json.dumps(forged))
    await stage.add_node(4)
    await stage.trusted(key, "4/4")
    pod = await stage.cluster.get(kube.POD, stage.agents_namespace, "forged")
    assert naming.TRUST_ANNOTATION not in pod["metadata"]["annotations"]


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


async def test_a_node_that_is_down_holds_up_neither_the_others_nor_a_deletion_for_long(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    stage.agent(3).obeys = False
    await stage.delete(key)

    async def owes() -> bool:
        return f"not yet seen of 1: {stage.node(3)}" in (await stage.condition(key)).get("message", "")

    await stage.until(owes, "two nodes to have forgotten")
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

    async def owes() -> bool:
        return f"not yet seen of 1: {stage.node(2)}" in (await stage.condition(key)).get("message", "")

    await stage.until(owes, "two nodes to have forgotten")
    stage.remove_node(2)
    await stage.until(lambda: stage.is_gone(kube.REGISTRY, *key), "the Registry to go")
    (said,) = await stage.events("NodeGone")
    assert stage.node(2) in said


async def test_agents_that_pod_security_refuses_are_told_of_with_the_label(stage: Stage) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    stage.admin.kubectl("label", "namespace", stage.agents_namespace, label, "--overwrite")
    key = await stage.registry()

    async def refused() -> bool:
        said = (await stage.condition(key)).get("message", "")
        return f"{stage.agents_namespace} pod-security.kubernetes.io/enforce=privileged --overwrite" in said

    await stage.until(refused, "the label to set")
    assert (await stage.condition(key))["reason"] == "NodesLag"


async def test_an_agent_that_holds_a_later_list_is_given_one_later_still(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    agent = stage.agent(1)
    late = 2 * agent.generation
    agent.obeys, agent.generation = False, late
    agent.list_problem = reported(Problem(Reason.LIST_OLDER))

    async def told_later() -> bool:
        agents = stage.keeper._pods.by_node()
        told = agents[stage.node(1)].told
        return told is not None and told.generation > late

    await stage.until(told_later, "a list of a later generation")
    agent.obeys, agent.list_problem = True, None
    await stage.trusted(key, "3/3")


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


async def test_what_an_uninstall_asks_for_is_heard_at_once(stage: Stage) -> None:
    """Else it would wait for the next pass, for half a minute."""
    await stage.trusted(await stage.registry(), "3/3")
    await stage.look()
    woken = stage.keeper._woken
    woken.clear()
    annotation = f"{naming.REVERT_ANNOTATION}=true"
    stage.admin.kubectl("annotate", "daemonset", naming.NODE_AGENT, "-n", stage.agents_namespace, annotation)
    await wait_for_async(woken.is_set, SOON, "the next pass")


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


async def test_a_registry_whose_status_is_lost_is_deleted_once_nodes_have_forgotten_it(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    await stage.cluster.patch_status(kube.REGISTRY, *key, {"status": None})
    stage.agent(2).obeys = False
    await stage.delete(key)

    async def owes() -> bool:
        return f"not yet seen of 1: {stage.node(2)}" in (await stage.condition(key)).get("message", "")

    await stage.until(owes, "two nodes to have forgotten")
    stage.agent(2).obeys = True
    await stage.until(lambda: stage.is_gone(kube.REGISTRY, *key), "the Registry to go")
    assert stage.agent(2).reverted


async def test_a_node_that_is_not_there_for_a_moment_makes_no_node_forget_its_address(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    hosts = await stage.hosts(key)
    stage.remove_node(1)
    await stage.trusted(key, "2/2")
    assert await stage.hosts(key) == hosts
    assert set(hosts) == {"10.7.0.1:5000", f"{stage.node(1)}:5000"}
    stage.admin.kubectl("patch", "node", stage.node(2), "--subresource=status", "-p", ODD_ADDRESS)
    await stage.add_node(1)
    await stage.trusted(key, "3/3")
    assert await stage.hosts(key) == hosts


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


async def test_a_finalizer_that_a_tenant_plants_brings_no_agent(stage: Stage) -> None:
    stage.operator(is_allowed=False)
    key = await stage.registry(finalizers=[naming.NODE_TRUST_FINALIZER])
    await stage.look()
    assert await stage.is_gone(kube.DAEMON_SET, stage.agents_namespace, naming.NODE_AGENT)
    body = await stage.cluster.get(kube.REGISTRY, *key)
    assert "finalizers" not in body["metadata"]
    await stage.look()
    assert (await stage.condition(key))["reason"] == "NotAllowed"


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


@pytest.mark.parametrize("is_allowed", [False, True], ids=["no longer allowed", "switched off"])
async def test_trust_that_an_uninstall_left_is_taken_back_by_the_next_operator(stage: Stage, is_allowed: bool) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    await stage.uninstall()
    assert len(await stage.hosts(key)) == 2
    stage.operator(is_allowed=is_allowed)
    if is_allowed:
        patch = json.dumps({"spec": {"nodeTrust": {"enabled": False}}})
        stage.admin.kubectl("patch", "registry", key.name, "-n", key.namespace, "--type=merge", "-p", patch)

    async def is_forgotten() -> bool:
        return not await stage.hosts(key)

    await stage.until(is_forgotten, "its hosts to be forgotten")
    assert [agent.reverted for agent in stage.agents.by_address.values()] == [True] * 3
    await stage.agents_gone()
    assert (await stage.condition(key)).get("reason") == (None if is_allowed else "NotAllowed")


async def test_an_uninstall_that_is_called_off_is_undone_as_the_condition_says(stage: Stage) -> None:
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    stage.agent(3).obeys = False
    annotation = f"{naming.REVERT_ANNOTATION}=true"
    stage.admin.kubectl("annotate", "daemonset", naming.NODE_AGENT, "-n", stage.agents_namespace, annotation)

    async def remedy() -> list[str]:
        said = (await stage.condition(key)).get("message", "")
        return re.findall("kubectl (annotate .*-), or", said) if f"of 1: {stage.node(3)}" in said else []

    await stage.until(remedy, "two nodes to forget")
    (command,) = await remedy()
    stage.admin.kubectl(*command.split())
    stage.agent(3).obeys = True
    await stage.trusted(key, "3/3")


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
    stage.admin.kubectl("apply", "--filename=-", stdin=json.dumps({**foreign, "data": {"by": "hand"}}))
    key = await stage.registry()
    await stage.trusted(key, "3/3")
    await stage.look()
    assert await data() == {"by": "hand"}
    (said,) = await stage.events("ForeignLocalRegistryHosting")
    assert "kube-public/local-registry-hosting is not regkeeper's" in said

    stage.admin.kubectl("delete", "configmap", hosting[2], "-n", hosting[1])
    await stage.until(data, "the ConfigMap")
    assert await data() == {"localRegistryHosting.v1": f"host: {stage.node(1)}:5000\n"}
    stage.admin.kubectl(
        "patch", "configmap", hosting[2], "-n", hosting[1], "-p", '{"data": {"localRegistryHosting.v1": ""}}'
    )

    async def is_repaired() -> bool:
        return bool((await data())["localRegistryHosting.v1"])

    await stage.until(is_repaired, "the repair")
    await stage.delete(key)
    await stage.until(lambda: stage.is_gone(*hosting), "the ConfigMap to go")
