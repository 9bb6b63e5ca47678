"""Which names a Registry has, where images in use are narrowed to them."""

from typing import Any

import pytest

from regkeeper.reconcile.in_use import InUseUnknownError
from regkeeper.reconcile.retention.own_names import own_names
from regkeeper.reconcile.retention.policies import Policies, read_policies
from tests.registry_objects import a_registry
from tests.retention_objects import retention_object

CLUSTER_IP = {"type": "ClusterIP", "host": "main.images.svc:5000"}
HOST_PORT = {"type": "HostPort", "host": "k8smaster:5000"}
ON_NODES: dict[str, Any] = {"access": {"hostPort": {"port": 5000}}}


def policies(**protect: Any) -> Policies:
    return read_policies([retention_object(protect=protect)])


NARROWED = policies(hosts=["mirror.example"])


@pytest.mark.parametrize(
    ("spec", "addresses", "missing"),
    [
        ({}, [], "ClusterIP"),
        (ON_NODES, [CLUSTER_IP], "HostPort"),
        ({"access": {"nodePort": {}}}, [CLUSTER_IP, HOST_PORT], "NodePort"),
    ],
)
def test_a_name_that_is_not_known_yet_is_no_reason_to_take_an_image_for_unused(
    spec: dict[str, Any], addresses: list[dict[str, str]], missing: str
) -> None:
    registry = a_registry(**spec)
    with pytest.raises(InUseUnknownError, match=f"no address of type {missing}"):
        own_names(registry, {"addresses": addresses}, NARROWED)
    for unconcerned in (policies(), policies(hosts=["mirror.example"], inUse=False)):
        assert own_names(registry, {"addresses": addresses}, unconcerned) == sorted(each["host"] for each in addresses)


def test_what_nodes_were_told_to_call_it_is_a_name_of_it_too() -> None:
    registry = a_registry(**ON_NODES, nodeTrust={"hosts": ["registry.example:5000"]})
    status = {"addresses": [CLUSTER_IP, HOST_PORT], "trustedHosts": ["k8smaster:5000", "former.example:5000"]}
    assert own_names(registry, status, NARROWED) == [
        "former.example:5000",
        "k8smaster:5000",
        "main.images.svc:5000",
        "registry.example:5000",
    ]
