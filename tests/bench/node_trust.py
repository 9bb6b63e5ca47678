"""The operator's pass over nodes with a thousand and with five thousand agents: time, processor, memory, bytes sent.

The API server is one in memory, so that what is measured is the operator; the agents answer over HTTP, from a process
of their own.
"""

import asyncio
import multiprocessing
import random
import resource
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

from regkeeper import kube, naming
from regkeeper.distribution import open_session
from regkeeper.nodes.desired import TrustList, decode, encode
from regkeeper.nodes.report import Report
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust.agents import Agent
from regkeeper.reconcile.trust.keeper import TrustKeeper
from regkeeper.reconcile.trust.questions import Questioner
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.resources.node_agent import node_agent_key
from regkeeper.settings import Settings, TrustSettings
from tests.bench.table import Section
from tests.fake_agents import FakeAgent, fake_agents
from tests.registry_objects import registry_object
from tests.waiting import wait_for_async

SIZES = (1000, 5000)
KEY = b"k" * 32
IDLE_SECONDS = 60.0
"""For which all agents are calm."""

LONGEST_SECONDS = 600.0
SETTINGS = Settings(trust=TrustSettings(namespaces=("images",)))
REGISTRY = Key("images", "main")


def address_of(number: int) -> str:
    return f"127.9.{number // 250}.{number % 250 + 1}"


def spread() -> float:
    """A chance by which calm agents are asked at once as they are in the long run, at any time.

    By the operator's own, all of them would be left alone for the first minutes.
    """
    return 3 * random.random() - 2


class MemoryCluster:
    """Nodes, each with an agent's pod, and one Registry. Pods that are written to are shown to the watch."""

    def __init__(self, size: int, told: Connection) -> None:
        self._told = told
        self.writes = 0
        self._events: asyncio.Queue[tuple[str, kube.Object]] = asyncio.Queue()
        self._version = 10
        self.pods = {f"agent-{number}": _pod(number) for number in range(size)}
        self.nodes = [_node(number) for number in range(size)]
        body = registry_object("main", namespace="images", access={"hostPort": {"port": 5000}})
        body["metadata"] |= {"uid": "registry", "generation": 1, "resourceVersion": "1"}
        ready = {"type": "Ready", "status": "True", "reason": "Serving", "message": ""}
        body["status"] = {"addresses": [{"type": "HostPort", "host": "node-0:5000"}], "conditions": [ready]}
        self.registry = body
        status = {"observedGeneration": 1, "desiredNumberScheduled": size, "currentNumberScheduled": size}
        self._daemon_set_status = status
        self._daemon_set: kube.Object | None = None

    async def get(self, resource: kube.Resource, namespace: str | None, name: str) -> kube.Object:
        if resource is kube.DAEMON_SET and self._daemon_set is not None:
            return self._daemon_set
        if resource is kube.SECRET:
            return node_agent_key(SETTINGS, KEY)
        if resource is kube.NAMESPACE:
            return {"metadata": {"uid": "cluster"}}
        if resource is kube.NODE:
            return {"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}
        raise kube.NotFoundError(name, code=404)

    async def list(
        self, resource: kube.Resource, namespace: str | None = None, **options: Any
    ) -> AsyncIterator[kube.Object]:
        for body in self.nodes if resource is kube.NODE else list(self.pods.values()):
            yield body

    async def watch(
        self, resource: kube.Resource, namespace: str, **options: Any
    ) -> AsyncGenerator[tuple[str, kube.Object], None]:
        if resource is not kube.POD:
            await asyncio.Event().wait()
        while True:
            yield await self._events.get()

    async def apply(self, body: kube.Object, *, force: bool) -> kube.Object:
        metadata = {**body["metadata"], "uid": "daemon-set", "generation": 1, "managedFields": []}
        self._daemon_set = {**body, "metadata": metadata, "status": self._daemon_set_status}
        return self._daemon_set

    async def create(self, body: kube.Object) -> kube.Object:
        return body

    async def patch(self, resource: kube.Resource, namespace: str | None, name: str, body: kube.Object) -> kube.Object:
        if resource is kube.REGISTRY:
            return self._change(
                {"metadata": {**self.registry["metadata"], "finalizers": body["metadata"]["finalizers"]}}
            )
        self.writes += 1
        pod = self.pods[name]
        document = body["metadata"]["annotations"][naming.TRUST_ANNOTATION]
        annotations = {naming.TRUST_ANNOTATION: document}
        pod = self.pods[name] = {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}
        told = decode(document.encode())
        self._told.send((pod["status"]["podIP"], told.generation, told.sets[0]))
        self._events.put_nowait(("MODIFIED", pod))
        return pod

    async def patch_status(
        self, resource: kube.Resource, namespace: str | None, name: str, body: kube.Object
    ) -> kube.Object:
        return self._change({"status": {**self.registry["status"], **body["status"]}})

    async def delete(self, resource: kube.Resource, namespace: str | None, name: str, *, uid: str) -> None:
        raise AssertionError("nothing is to go")

    def _change(self, fields: dict[str, Any]) -> kube.Object:
        self._version += 1
        self.writes += 1
        self.registry = {**self.registry, **fields}
        self.registry["metadata"] = {**self.registry["metadata"], "resourceVersion": str(self._version)}
        return self.registry


def _node(number: int) -> kube.Object:
    return {"metadata": {"name": f"node-{number}", "labels": {"kubernetes.io/os": "linux"}}}


def _pod(number: int) -> kube.Object:
    return {
        "metadata": {"name": f"agent-{number}", "uid": f"uid-{number}", "ownerReferences": [{"uid": "daemon-set"}]},
        "spec": {"nodeName": f"node-{number}"},
        "status": {
            "phase": "Running",
            "podIP": address_of(number),
            "containerStatuses": [{"state": {"running": {}}}],
        },
    }


def serve_agents(size: int, channel: Connection) -> None:
    """The process of the agents: it hears what each is told, and answers as if it had done it."""

    async def serve() -> None:
        async with fake_agents() as agents:
            for number in range(size):
                agents.by_address[address_of(number)] = FakeAgent(f"node-{number}", f"uid-{number}", KEY)

            def hear() -> None:
                while True:
                    address, generation, hosts = channel.recv()
                    agent = agents.by_address[address]
                    agent.hosts, agent.generation = tuple(hosts), generation

            threading.Thread(target=hear, daemon=True).start()
            channel.send(agents.port)
            await asyncio.Event().wait()

    asyncio.run(serve())


def measure(size: int, results: Connection) -> None:
    """The process of the operator."""
    mine, theirs = multiprocessing.Pipe()
    agents = multiprocessing.Process(target=serve_agents, args=(size, theirs), daemon=True)
    agents.start()
    try:
        results.send(asyncio.run(_measure(size, mine, mine.recv())))
    finally:
        agents.kill()


async def _measure(size: int, channel: Connection, port: int) -> dict[str, float]:
    cluster, store = MemoryCluster(size, channel), Store()
    store.put(cluster.registry)
    now = lambda: datetime.now(UTC)  # noqa: E731
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asked = 0
    async with open_session(keep_alive=False) as session:
        questioner = Questioner(session, port=port)

        async def ask(agent: Agent, key: bytes) -> Report:
            nonlocal asked
            asked += 1
            return await questioner.ask(agent, key)

        status = TrustStatusWriter(cluster, store, StatusWriter(cluster, store, now), now)
        keeper = TrustKeeper(
            cluster=cluster,
            store=store,
            settings=SETTINGS,
            ask=ask,
            status=status,
            clock=time.monotonic,
            now=now,
            random=spread,
        )
        began, cpu = time.monotonic(), time.process_time()
        running = asyncio.create_task(keeper.run())

        def all_trust() -> bool:
            return bool(cluster.registry["status"].get("trustedNodes") == f"{size}/{size}")

        await wait_for_async(all_trust, LONGEST_SECONDS, lambda: f"all to trust: {cluster.registry['status']}")
        took, spent = time.monotonic() - began, time.process_time() - cpu
        cpu, before, writes = time.process_time(), asked, cluster.writes
        await asyncio.sleep(IDLE_SECONDS)
        idle = (time.process_time() - cpu) / IDLE_SECONDS
        asked_idle, written_idle = (asked - before) / IDLE_SECONDS, cluster.writes - writes
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await keeper.close()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
    return {
        "seconds": took,
        "cpu": spent,
        "idle": idle,
        "asked": asked_idle,
        "written": written_idle,
        "grown": grown / 1024,
    }


def delivered(size: int) -> tuple[int, int]:
    """Bytes of one change at all nodes: each pod's own share, and one list of all nodes at each kubelet."""
    names = {f"node-{number}": 0 for number in range(size)}
    hosts = (("10.0.0.1:5000", "node-0:5000"),)
    whole = TrustList(generation=1, cluster="cluster", sets=hosts, nodes=names)
    own = TrustList(generation=1, cluster="cluster", sets=hosts, nodes={"node-0": 0})
    return len(encode(own)) * size, len(encode(whole)) * size


def run() -> Iterator[Section]:
    section = Section(
        "Node trust in large clusters",
        "One Registry, trusted by every node. The operator's process alone, its API server in memory, its agents over "
        "HTTP from another process. `One change` is what kubelets get of it: each pod's share in its own annotation, "
        "beside one ConfigMap for all, which each kubelet that mounts it gets whole.",
        (
            "Agents",
            "All trusted after",
            "Processor until then",
            "Idle",
            "Asked meanwhile",
            "Memory added",
            "One change",
            "As ConfigMap",
        ),
    )
    for size in SIZES:
        mine, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=measure, args=(size, theirs))
        process.start()
        found = mine.recv()
        process.join()
        own, whole = delivered(size)
        section.rows.append(
            (
                f"{size:,}",
                f"{found['seconds']:.0f} s",
                f"{found['cpu']:.1f} s",
                f"{found['idle']:.2%} of a core",
                f"{found['asked']:.1f} a second",
                f"{found['grown']:.0f} MiB",
                f"{own / 1e6:.1f} MB",
                f"{whole / 1e6:,.0f} MB ({whole / own:,.0f} times)",
            )
        )
        section.expect(found["written"] == 0, f"{size:,} calm agents cost the API server no write")
        section.expect(found["idle"] < size / 1e5, f"{size:,} calm agents cost less than {size // 1000} % of a core")
        if size == SIZES[0]:
            section.expect(found["grown"] < 50, "a thousand agents add less than 50 MiB")
    yield section
