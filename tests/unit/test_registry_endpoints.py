"""The addresses of a Registry, who answers there, and how much is counted."""

import asyncio
from typing import Any, cast

import pytest
from yarl import URL

from regkeeper.distribution import Answer, Counts, RegistryClient, open_session
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.endpoints import Counting, Endpoint, Prober, endpoints, pause_after
from tests.registry_objects import a_registry

SERVICE: dict[str, Any] = {"spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 5000, "nodePort": 30500}]}}
CLUSTER_IP = "main.images.svc:5000"


class KnownNodes:
    """The addresses of two nodes."""

    async def address(self, name: str) -> str | None:
        return {"k8smaster": "10.0.0.1", "k8sworker1": "10.0.0.2"}.get(name)


NODES = cast(Nodes, KnownNodes())


def pod(node: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"hostIP": "10.0.0.7"}}


@pytest.mark.parametrize(
    ("access", "kind", "port"), [({"hostPort": {}}, "HostPort", 5000), ({"nodePort": {}}, "NodePort", 30500)]
)
async def test_an_address_on_a_node_outlives_a_restart_of_the_pod(access: dict[str, Any], kind: str, port: int) -> None:
    registry = a_registry(access=access)

    async def hosts(pods: list[dict[str, Any]], *last: str) -> list[str]:
        addresses = [{"type": kind, "host": host} for host in last]
        return [endpoint.host for endpoint in await endpoints(registry, SERVICE, pods, NODES, last=addresses)]

    here = f"k8smaster:{port}"
    assert await hosts([pod("k8smaster")]) == [here, CLUSTER_IP]
    assert await hosts([], here) == [here, CLUSTER_IP]
    assert await hosts([pod("k8smaster", deletionTimestamp="now")]) == [CLUSTER_IP]
    evicted = pod("k8smaster")
    evicted["status"]["phase"] = "Failed"
    assert await hosts([evicted, pod("k8sworker1")]) == [f"k8sworker1:{port}", CLUSTER_IP], "nobody removes it for long"
    assert await hosts([pod("k8sworker1")], "k8smaster:1") == [f"k8sworker1:{port}", CLUSTER_IP], "another port"
    assert await hosts([], f"gone:{port}") == [CLUSTER_IP], "a node that is no more"


async def test_an_address_that_is_kept_is_reached_by_the_node() -> None:
    last = [{"type": "HostPort", "host": "k8smaster:5000"}]
    found = await endpoints(a_registry(access={"hostPort": {}}), SERVICE, [], NODES, last=last)
    assert str(found[0].url) == "http://10.0.0.1:5000"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(200, None), "another registry answers at k8smaster:5000: docker stop it"),
        (Answer(401, None), "another registry answers"),
        (Answer(404, None), "something else answers at k8smaster:5000 (HTTP 404)"),
        (Answer(200, "another-uid"), "the Registry with uid another-uid answers at k8smaster:5000"),
    ],
)
async def test_who_has_the_port_is_named_as_far_as_it_says(
    answer: Answer, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ping(_: RegistryClient) -> Answer:
        return answer

    monkeypatch.setattr(RegistryClient, "ping", ping)
    endpoint = Endpoint("HostPort", "k8smaster:5000", URL("http://10.0.0.1:5000"))
    async with open_session() as session:
        problem = await Prober(session, session).check([endpoint], "this-uid")
    assert problem is not None
    assert problem.reason == "PortTaken"
    assert text in problem.message


ONE = Counts(1, 1, complete=True)
TWO = Counts(2, 2, complete=True)
KEY = Key("default", "main")
ENDPOINT = Endpoint("ClusterIP", "main.default.svc:5000", URL("http://192.0.2.1:5000"))


@pytest.mark.parametrize(
    ("seconds", "registries", "longest", "pause"),
    [
        (0.01, 1, 300, 15),  # cheap: a newcomer soon sees what they pushed
        (0.5, 1, 300, 50),  # one percent of the time
        (20, 1, 300, 300),
        (0.01, 100, 300, 60),  # of many, each less often
        (0.01, 500, 300, 300),
        (0.01, 1, 2, 2),  # the setting has the last word
    ],
)
def test_counts_are_as_frequent_as_they_are_cheap(
    seconds: float, registries: int, longest: float, pause: float
) -> None:
    assert pause_after(seconds, registries=registries, longest=longest) == pytest.approx(pause)


class Registries:
    """Registries that take a while to be counted, on a clock of their own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.result: Counts | None = ONE
        self.seconds = 1.0
        self.asked = 0
        self.counted = asyncio.Queue[Key]()
        self.counting = Counting(self.count, lambda: self.now, self.counted.put_nowait, longest=300)

    async def count(self, _: Endpoint) -> Counts | None:
        self.asked += 1
        self.now += self.seconds
        return self.result

    def refresh(self) -> float | None:
        return self.counting.refresh(KEY, ENDPOINT, registries=1)

    async def count_once(self) -> float | None:
        assert self.refresh() is None, "it is being counted"
        assert await asyncio.wait_for(self.counted.get(), 5) == KEY
        return self.refresh()


async def test_a_look_in_between_counts_nothing() -> None:
    registries = Registries()
    assert await registries.count_once() == pytest.approx(100)
    assert registries.counting.counts(KEY) == ONE
    registries.now += 40
    assert registries.refresh() == pytest.approx(60)
    assert registries.asked == 1
    registries.now += 60
    registries.result, registries.seconds = TWO, 0
    assert await registries.count_once() == pytest.approx(15)
    assert registries.counting.counts(KEY) == TWO


async def test_a_count_that_fails_keeps_the_last_one_and_waits_like_any_other() -> None:
    registries = Registries()
    await registries.count_once()
    registries.now += 100
    registries.result, registries.seconds = None, 2
    assert await registries.count_once() == pytest.approx(200)
    assert registries.counting.counts(KEY) == ONE
