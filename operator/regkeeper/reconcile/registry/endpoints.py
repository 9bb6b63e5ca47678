"""The addresses at which a Registry should answer, whether it is it that answers, and how much it holds.

Registries are asked beside the passes (`background.py`): one that is slow to answer, or hostile, holds no worker up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import aiohttp
from yarl import URL

from regkeeper import naming
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.distribution import Answer, Counts, Limits, RegistryClient, RegistryReadError
from regkeeper.reconcile.inquiries import Inquiries
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.pod_life import is_to_stay
from regkeeper.reconcile.queue import Key
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


PROBES_AT_A_TIME = 64
"""Registries. A probe costs a few connections and no memory; one that hangs takes seven seconds."""
SECOND_OPINION_SECONDS = 1.0
"""Before a Registry that was ready and does not answer ceases to be ready."""
HOLDS_SECONDS = 5.0
"""How long a good answer serves: the pass that a count asks for needs no other."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the addresses of one Registry answered."""

    uid: str
    endpoints: tuple[Endpoint, ...]
    problem: Problem | None
    """None: it is this Registry that answers, everywhere."""
    at: float
    """Clock time."""


class Probes:
    """Findings, asked for beside the passes.

    `check` tells what is wrong at some endpoints of the Registry with a uid; `clock` gives seconds that only grow;
    `ended` hears the key of each new finding.
    """

    def __init__(
        self,
        check: Callable[[Sequence[Endpoint], str], Awaitable[Problem | None]],
        clock: Callable[[], float],
        ended: Callable[[Key], None],
    ) -> None:
        self._check = check
        self._clock = clock
        self._inquiries = Inquiries[Finding](limit=PROBES_AT_A_TIME, ended=ended)
        self._good: dict[Key, Finding] = {}

    def find(self, key: Key, uid: str, endpoints: Sequence[Endpoint], *, was_ready: bool) -> Finding | None:
        """What these addresses answer; None while they are being asked: `ended` will hear of it."""
        wanted = tuple(endpoints)
        found = self._inquiries.take(key)
        if found is None:
            found = self._good.get(key)
            if found is not None and self._clock() - found.at > HOLDS_SECONDS:
                found = None
        if found is not None and (found.uid, found.endpoints) == (uid, wanted):
            if found.problem is None:
                self._good[key] = found
            else:
                self._good.pop(key, None)
            return found
        self._good.pop(key, None)
        self._inquiries.ask(key, lambda: self._probe(uid, wanted, was_ready=was_ready))
        return None

    def drop(self, key: Key) -> None:
        """Forget what was found, and what is being asked: the pods are not those of then."""
        self._inquiries.drop(key)
        self._good.pop(key, None)

    async def close(self) -> None:
        """Ask no more."""
        await self._inquiries.close()

    async def _probe(self, uid: str, endpoints: tuple[Endpoint, ...], *, was_ready: bool) -> Finding:
        problem = await self._check(endpoints, uid)
        if problem is not None and was_ready:
            # One lost packet is no outage.
            await asyncio.sleep(SECOND_OPINION_SECONDS)
            problem = await self._check(endpoints, uid)
        return Finding(uid, endpoints, problem, self._clock())


COUNTS_AT_A_TIME = 4
"""Registries. Each has a few answers of at most a mebibyte under way, whatever its server sends."""
SHORTEST_SECONDS = 15.0
LARGEST_SHARE = 0.01
"""Of the time that may go into counting one Registry."""
SECONDS_A_REGISTRY = 0.6
"""Of all Registries together: not more than about two counts a second begin."""


def pause_after(seconds: float, *, registries: int, longest: float) -> float:
    """Seconds to wait after a count that took `seconds`, where the operator keeps so many Registries."""
    return min(longest, max(SHORTEST_SECONDS, seconds / LARGEST_SHARE, SECONDS_A_REGISTRY * registries))


@dataclass(frozen=True, slots=True)
class _Count:
    """One count that was made; clock times."""

    counts: Counts | None
    began: float
    ended: float


@dataclass(slots=True)
class _Tally:
    """What is known of one Registry."""

    counts: Counts | None = None
    """The last ones that could be made."""
    due: float = -inf
    """Clock time of the next count."""


class Counting:
    """The counts of all Registries.

    `count` counts what answers at an endpoint, and gives None where it can't; `clock` gives seconds that only grow;
    `ended` hears the key of each new count; `longest` is the longest pause between two, in seconds.
    """

    def __init__(
        self,
        count: Callable[[Endpoint], Awaitable[Counts | None]],
        clock: Callable[[], float],
        ended: Callable[[Key], None],
        *,
        longest: float,
    ) -> None:
        self._count = count
        self._clock = clock
        self._longest = longest
        self._inquiries = Inquiries[_Count](limit=COUNTS_AT_A_TIME, ended=ended)
        self._tallies: dict[Key, _Tally] = {}

    def refresh(self, key: Key, endpoint: Endpoint, *, registries: int) -> float | None:
        """Have it counted if it is time; return the seconds until it is, None while it is being counted.

        `registries` is the number of those that the operator keeps.
        """
        tally = self._tallies.setdefault(key, _Tally())
        made = self._inquiries.take(key)
        if made is not None:
            if made.counts is not None:
                tally.counts = made.counts
            tally.due = made.ended + pause_after(made.ended - made.began, registries=registries, longest=self._longest)
        left = tally.due - self._clock()
        if left > 0:
            return left
        self._inquiries.ask(key, lambda: self._timed(endpoint))
        return None

    def counts(self, key: Key) -> Counts | None:
        """The last counts of a Registry."""
        tally = self._tallies.get(key)
        return tally.counts if tally is not None else None

    def drop(self, key: Key) -> None:
        """Forget a Registry."""
        self._inquiries.drop(key)
        self._tallies.pop(key, None)

    async def close(self) -> None:
        """Count no more."""
        await self._inquiries.close()

    async def _timed(self, endpoint: Endpoint) -> _Count:
        began = self._clock()
        counts = await self._count(endpoint)
        return _Count(counts, began, self._clock())
