"""The Service: ClusterIP always, NodePort on demand."""

from typing import Any

import pytest

from regkeeper.resources.service import service
from tests.registry_objects import a_registry


def test_service_is_a_cluster_ip() -> None:
    built = service(a_registry())
    assert built["metadata"]["name"] == "main"
    assert built["spec"] == {
        "type": "ClusterIP",
        "selector": {"app.kubernetes.io/name": "registry", "regkeeper.dev/registry": "main"},
        "ports": [{"name": "registry", "port": 5000, "protocol": "TCP", "targetPort": "registry"}],
    }


@pytest.mark.parametrize(("access", "port"), [({"nodePort": {}}, None), ({"nodePort": {"port": 30500}}, 30500)])
def test_service_is_a_node_port_where_that_is_asked_for(access: dict[str, Any], port: int | None) -> None:
    spec = service(a_registry(access=access))["spec"]
    assert spec["type"] == "NodePort"
    assert spec["ports"][0].get("nodePort") == port
