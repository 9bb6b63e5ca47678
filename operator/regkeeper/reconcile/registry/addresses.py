"""At which addresses a Registry should answer, and whether it is it that answers."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from yarl import URL

from regkeeper import naming
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.distribution import Answer, Counts, Limits, RegistryClient, RegistryReadError
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.pod_life import is_to_stay
from regkeeper.reconcile.registry.diagnosis import Problem
from regkeeper.resources.config import REGISTRY_PORT

PING = Limits(seconds=3, request_seconds=3)
COUNT = Limits(seconds=20, request_seconds=5)
"""Bounds of a look in passing. A registry that is too large for them is counted as far as they reach."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to reach a Registry."""

    kind: Literal["ClusterIP", "HostPort", "NodePort"]
    host: str
    """host:port as people write it in image names."""
    url: URL
    """The same by IP address, since names of nodes need not resolve in a pod."""


def _url(address: str, port: int) -> URL:
    return URL.build(scheme="http", host=address, port=port)


async def endpoints(
    registry: Registry,
    service: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    nodes: Nodes,
    *,
    last: Sequence[Mapping[str, str]],
) -> list[Endpoint]:
    """Where the Registry should answer: the most useful first.

    A NodePort answers on every node. Without `access.nodePort.nodes` it is named by the nodes that run its pods.

    Args:
        registry: The Registry.
        service: Its live Service.
        pods: Its pods.
        nodes: The cluster's.
        last: The addresses that its status has. While not all pods are there, those on nodes stay: who copies one, or
            trusts it, need not hear of each restart.
    """
    access = registry.spec.access
    found: list[Endpoint] = []
    hosts = {
        pod["spec"]["nodeName"]: pod["status"]["hostIP"]
        for pod in pods
        if pod["spec"].get("nodeName") and pod["status"].get("hostIP") and is_to_stay(pod)
    }

    async def on_nodes(kind: Literal["HostPort", "NodePort"], port: int, names: Sequence[str]) -> None:
        for node in names:
            address = hosts.get(node) or await nodes.address(node)
            if address:
                found.append(Endpoint(kind, f"{node}:{port}", _url(address, port)))

    if access.host_port is not None:
        port = access.host_port.port
        await on_nodes("HostPort", port, _last_nodes("HostPort", port, last) or sorted(hosts))
    node_port = next((entry.get("nodePort") for entry in service["spec"]["ports"]), None)
    if access.node_port is not None and node_port:
        named = access.node_port.nodes or _last_nodes("NodePort", node_port, last) or sorted(hosts)
        await on_nodes("NodePort", node_port, named)
    metadata = registry.metadata
    found.append(
        Endpoint(
            "ClusterIP",
            f"{metadata.name}.{metadata.namespace}.svc:{REGISTRY_PORT}",
            _url(service["spec"]["clusterIP"], REGISTRY_PORT),
        )
    )
    return found


def _other_answer(host: str, answer: Answer) -> str:
    """Who has the port, as far as the answer tells, and what to do."""
    if answer.registry_uid is not None:
        return f"the Registry with uid {answer.registry_uid} answers at {host}: choose another port for one of the two"
    if answer.status in (200, 401):
        return f"another registry answers at {host}: docker stop it"
    return f"something else answers at {host} (HTTP {answer.status}): stop it, or choose another port"


def _last_nodes(kind: str, port: int, last: Sequence[Mapping[str, str]]) -> list[str]:
    hosts = [address["host"].rpartition(":") for address in last if address["type"] == kind]
    return [node for node, _, number in hosts if number == str(port)]


class Prober:
    """Asks addresses who answers there. The sessions are for hostile servers (`distribution.open_session`).

    `fresh` keeps no connection alive: one that was made before kube-proxy or the port mapping knew the pod, and went
    elsewhere, would answer for long after.
    """

    def __init__(self, session: aiohttp.ClientSession, fresh: aiohttp.ClientSession) -> None:
        self._session = session
        self._fresh = fresh

    async def check(self, wanted: Sequence[Endpoint], uid: str) -> Problem | None:
        """None if the Registry with `uid` answers at each endpoint, else what is wrong at the first that is not well.

        The port mapping of a hand-made container wins over that of a pod without either noticing: only the header
        with the uid tells whose registry answers.
        """
        problems = await asyncio.gather(*(self._check(endpoint, uid) for endpoint in wanted))
        return next((problem for problem in problems if problem is not None), None)

    async def _check(self, endpoint: Endpoint, uid: str) -> Problem | None:
        try:
            answer = await RegistryClient(self._fresh, endpoint.url, PING).ping()
        except RegistryReadError as error:
            return Problem(
                "NotAnswering",
                f"no registry answers at {endpoint.host}: {error}. If pods are ready, a NetworkPolicy may keep the "
                "operator away (docs/install.md)",
            )
        if answer.registry_uid == uid:
            return None
        if endpoint.kind == "ClusterIP":
            return Problem(
                "WrongAnswer",
                f"what answers at {endpoint.host} does not send the header {naming.REGISTRY_HEADER} of this Registry",
            )
        return Problem("PortTaken", _other_answer(endpoint.host, answer))

    async def count(self, endpoint: Endpoint) -> Counts | None:
        """Count repositories and tags within the bounds; None if not even a first page could be read."""
        try:
            return await RegistryClient(self._session, endpoint.url, COUNT).count()
        except RegistryReadError:
            return None
