"""Which addresses a status names."""

from typing import Any, cast

import pytest

from regkeeper.reconcile.addresses import endpoints
from regkeeper.reconcile.nodes import Nodes
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
    assert await hosts([pod("k8sworker1")], "k8smaster:1") == [f"k8sworker1:{port}", CLUSTER_IP], "another port"
    assert await hosts([], f"gone:{port}") == [CLUSTER_IP], "a node that is no more"


async def test_an_address_that_is_kept_is_reached_by_the_node() -> None:
    last = [{"type": "HostPort", "host": "k8smaster:5000"}]
    found = await endpoints(a_registry(access={"hostPort": {}}), SERVICE, [], NODES, last=last)
    assert str(found[0].url) == "http://10.0.0.1:5000"
