"""What a node would do for hundreds of Registries, without running them: `python -m tests.bench.stand_in CLUSTER`.

It runs in the network namespace of the cluster's first node, where every service address leads to itself. It keeps a
Node alive, says of each registry's pod that it runs there, and answers on port 5000 as the registry whose Service's
address was asked. SIGUSR1: each registry gets one more tag in each repository.
"""

import asyncio
import itertools
import signal
import sys
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any

from aiohttp import web

from regkeeper.naming import REGISTRY_HEADER, REGISTRY_LABEL
from regkeeper.resources.config import REGISTRY_PORT
from tests.bench.contents import Contents
from tests.bench.raw_api import Object, RawApi, raw_api
from tests.cluster import records
from tests.cluster.plan import NodePlan, Plan

_HEARTBEAT_SECONDS = 10
"""As kubelet's. The controller manager gives a node up after 50."""


class Registries:
    """Answers for all registries; which one is asked, the address that was dialled tells."""

    def __init__(self) -> None:
        self._uids: dict[str, str] = {}
        self._grew = 0

    def grow(self) -> None:
        self._grew += 1

    async def learn(self, api: RawApi) -> None:
        """Follow the Services: their owner is the Registry, and its uid what the header says."""
        async for service in api.watch("/api/v1/services", REGISTRY_LABEL):
            self._uids[service["spec"]["clusterIP"]] = service["metadata"]["ownerReferences"][0]["uid"]

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/v2/", self._ping),
                web.get("/v2/_catalog", self._catalog),
                web.get("/v2/{name:.+}/tags/list", self._tags),
            ]
        )
        return app

    def _asked(self, request: web.Request) -> Contents:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        if address not in self._uids:
            raise web.HTTPServiceUnavailable
        return Contents(self._uids[address], self._grew)

    async def _ping(self, request: web.Request) -> web.Response:
        return _answer(self._asked(request), {})

    async def _catalog(self, request: web.Request) -> web.Response:
        contents = self._asked(request)
        return _answer(contents, {"repositories": contents.repositories})

    async def _tags(self, request: web.Request) -> web.Response:
        contents = self._asked(request)
        return _answer(contents, {"name": request.match_info["name"], "tags": contents.tags})


def _answer(contents: Contents, document: dict[str, Any]) -> web.Response:
    return web.json_response(document, headers={REGISTRY_HEADER: contents.uid})


async def keep_node(api: RawApi, node: NodePlan) -> None:
    """Register a node and renew its lease."""
    lease: Object = {
        "metadata": {"name": node.name},
        "spec": {"holderIdentity": node.name, "leaseDurationSeconds": 40, "renewTime": _now(micro=True)},
    }
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    await api.create(leases, lease)
    await api.create(
        "/api/v1/nodes", {"metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name}}}
    )
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": _now()}
    address = {"type": "InternalIP", "address": str(node.address)}
    await api.merge(f"/api/v1/nodes/{node.name}/status", {"status": {"conditions": [ready], "addresses": [address]}})
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        await api.merge(f"{leases}/{node.name}", {"spec": {"renewTime": _now(micro=True)}})


async def run_pods(api: RawApi, node: NodePlan) -> None:
    """Bind each new pod to the node and say that it is ready, as a kubelet with infinite room would."""
    addresses = itertools.count(int(IPv4Address(node.pods.network_address)) + 2)
    async with asyncio.TaskGroup() as group:
        async for pod in api.watch("/api/v1/pods", REGISTRY_LABEL):
            if not pod["spec"].get("nodeName"):
                group.create_task(_run(api, node, pod, str(IPv4Address(next(addresses)))))


async def _run(api: RawApi, node: NodePlan, pod: Object, address: str) -> None:
    metadata = pod["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
    await api.create(
        f"{path}/binding", {"metadata": {"name": metadata["name"]}, "target": {"kind": "Node", "name": node.name}}
    )
    now = _now()
    kinds = ("Initialized", "PodReadyToStartContainers", "ContainersReady", "Ready", "PodScheduled")
    ended = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    status = {
        "phase": "Running",
        "hostIP": str(node.address),
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds],
        "initContainerStatuses": [
            _container(container, ended) for container in pod["spec"].get("initContainers") or ()
        ],
        "containerStatuses": [
            _container(container, {"running": {"startedAt": now}}) for container in pod["spec"]["containers"]
        ],
    }
    await api.merge(f"{path}/status", {"status": status})


def _container(container: Object, state: Object) -> Object:
    digest = f"{container['image']}@sha256:{'0' * 64}"
    known = {"name": container["name"], "image": container["image"], "imageID": digest, "restartCount": 0}
    return {**known, "containerID": f"containerd://{'0' * 64}", "ready": True, "state": state}


def _now(*, micro: bool = False) -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


async def stand_in(plan: Plan) -> None:
    """Run until SIGTERM."""
    node = plan.nodes[0]
    registries = Registries()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, registries.grow)
    runner = web.AppRunner(registries.app(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", REGISTRY_PORT, backlog=1024).start()
        async with raw_api(plan) as api, asyncio.TaskGroup() as group:
            group.create_task(keep_node(api, node))
            group.create_task(registries.learn(api))
            group.create_task(run_pods(api, node))
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    recorded = records.load(sys.argv[1])
    assert recorded is not None, f"there is no cluster {sys.argv[1]}"
    asyncio.run(stand_in(recorded))
