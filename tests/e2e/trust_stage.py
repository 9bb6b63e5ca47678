"""A pass over nodes on a real API server with its DaemonSet controller; the agents are stand-ins that tests steer."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from regkeeper import kube, naming
from regkeeper.nodes.desired import TrustList, decode
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust.keeper import TrustKeeper
from regkeeper.reconcile.trust.questions import Questioner
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.settings import Settings, TrustSettings
from regkeeper.uninstall import release_finalizers
from tests.cluster import Cluster
from tests.cluster.api import ApiError
from tests.fake_agents import FakeAgent, FakeAgents
from tests.registry_objects import registry_object
from tests.room import listed
from tests.waiting import wait_for, wait_for_async

SOON = 60  # seconds; takes a few
SELECTOR = f"app.kubernetes.io/name={naming.NODE_AGENT}"


@dataclass(frozen=True)
class AgentsAccount:
    """The operator's account, as the chart makes it."""

    kubeconfig: Path
    agents_namespace: str
    """Where alone it may have agents."""


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
            apply_pending_edits=True,
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
        api = self.admin.api()
        for body in (policy, binding):
            api.create(body)
        try:
            wait_for(lambda: self._refuses(number), SOON, "the policy to work")
            yield
        finally:
            for body in (binding, policy):
                api.delete(api.path_of(body))

    def _refuses(self, number: int) -> bool:
        path = kube.POD.path(self.agents_namespace, self.pod(number))
        try:
            self.admin.api().merge(path, {"metadata": {"labels": {"a": "b"}}}, dry_run=True)
        except ApiError as error:
            return "this node is left alone" in str(error)
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
        self.admin.api().delete(kube.NODE.path(None, self.node(number)))
        self.remove_pod(pod)

    def pod(self, number: int) -> str:
        """Name of the agent's pod on a node."""
        pods = listed(self.admin, kube.POD, self.agents_namespace)
        (pod,) = [pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName") == self.node(number)]
        return str(pod)

    def remove_pod(self, pod: str) -> None:
        self.admin.api().delete(kube.POD.path(self.agents_namespace, pod), at_once=True)

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
        found = {body["metadata"]["name"]: body async for body in self.cluster.list(kube.REGISTRY, self.namespace)}
        for known in self.store.registries():
            if known["metadata"]["name"] not in found:
                self.store.discard(("Registry", self.namespace, known["metadata"]["name"]))
        for body in found.values():
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
        self.admin.api().post(f"{kube.POD.path(self.agents_namespace, pod)}/binding", binding)

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

    async def ask_to_revert(self) -> None:
        """Annotate the agents' DaemonSet, as a person does before an uninstall."""
        asked = {"metadata": {"annotations": {naming.REVERT_ANNOTATION: "true"}}}
        await self.cluster.patch(kube.DAEMON_SET, self.agents_namespace, naming.NODE_AGENT, asked)

    async def uninstall(self) -> None:
        """End the operator, and remove what `helm uninstall` removes; what nodes trust stays."""
        await self.keeper.close()
        api = self.admin.api()
        api.delete(kube.DAEMON_SET.path(self.agents_namespace, naming.NODE_AGENT))
        api.delete(kube.SECRET.path(self.agents_namespace, naming.NODE_AGENT_KEY))
        api.delete(kube.POD.path(self.agents_namespace), at_once=True)
        self.agents.by_address.clear()
        assert [name async for name in release_finalizers(self.cluster, [self.namespace])]

    def clear(self) -> None:
        """Remove the agents, and what this stage has made."""
        api = self.admin.api()
        for resource in (kube.DAEMON_SET, kube.POD, kube.SECRET):
            api.delete(resource.path(self.agents_namespace), at_once=True)
        self.enforce("privileged")
        api.delete(kube.REGISTRY.path(self.namespace))
        self.admin.drop_namespace(self.namespace)
        api.delete(f"{kube.NODE.path(None)}?labelSelector=stage%3D{self.token}")

    def enforce(self, level: str) -> None:
        """Let the agents' namespace take the pods of that level alone."""
        labels = {"pod-security.kubernetes.io/enforce": level}
        self.admin.api().merge(kube.NAMESPACE.path(None, self.agents_namespace), {"metadata": {"labels": labels}})

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
