"""Which names a Registry has, where images in use are narrowed to them."""

from typing import Any

import pytest

from regkeeper.reconcile.in_use import InUseUnknownError
from regkeeper.reconcile.retention.own_names import own_names
from regkeeper.reconcile.retention.policies import Policies, read_policies
from regkeeper.retention.policies.in_use import InUse
from tests.registry_objects import a_registry
from tests.retention_objects import retention_object

CLUSTER_IP = {"type": "ClusterIP", "host": "main.images.svc:5000"}
HOST_PORT = {"type": "HostPort", "host": "k8smaster:5000"}
NODE_PORT = {"type": "NodePort", "host": "k8sworker2:30500"}
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
        ({"access": {"hostPort": {"port": 5001}}}, [CLUSTER_IP, HOST_PORT], "HostPort with port 5001"),
        ({"access": {"hostPort": {"port": 500}}}, [CLUSTER_IP, HOST_PORT], "HostPort with port 500"),
        ({"access": {"nodePort": {"port": 30501}}}, [CLUSTER_IP, NODE_PORT], "NodePort with port 30501"),
    ],
)
def test_a_name_that_is_not_known_yet_is_no_reason_to_take_an_image_for_unused(
    spec: dict[str, Any], addresses: list[dict[str, str]], missing: str
) -> None:
    registry, status = a_registry(**spec), {"addresses": addresses}
    with pytest.raises(InUseUnknownError, match=f"no address of type {missing}"):
        own_names(registry, status, NARROWED)
    for unconcerned in (policies(), policies(hosts=["mirror.example"], inUse=False)):
        assert len(own_names(registry, status, unconcerned)) == len(addresses)


def test_what_nodes_were_told_to_call_it_is_a_name_of_it_too() -> None:
    registry = a_registry(**ON_NODES, nodeTrust={"hosts": ["registry.example:5000"]})
    status = {"addresses": [CLUSTER_IP, HOST_PORT], "trustedHosts": ["k8smaster:5000", "former.example:80"]}
    names = frozenset(own_names(registry, status, NARROWED))
    assert names >= {"k8smaster:5000", "main.images.svc:5000", "former.example:80", "registry.example:5000"}


def test_a_host_port_is_its_name_under_the_addresses_of_its_nodes_too() -> None:
    """Pods may name them, and only `trustedHosts` has them, which is emptied where nodes forget the registry."""
    registry, status = a_registry(access={"hostPort": {"port": 5001}}), [CLUSTER_IP, {**HOST_PORT, "host": "node:5001"}]
    in_use = InUse(frozenset(own_names(registry, {"addresses": status}, NARROWED)))
    for host in ("10.0.0.1:5001", "node:5001", "node.example:5001", "10.0.0.1:5000", "elsewhere.example"):
        in_use.add(f"{host}/shop/{host[-1]}{host[:2]}", "Pod shop/web")
    assert in_use.tags.keys() == {("shop/110", "latest"), ("shop/1no", "latest")}


@pytest.mark.parametrize("port", [{}, {"port": 30500}])
def test_a_node_port_is_its_name_on_every_node_wherever_its_pods_run(port: dict[str, int]) -> None:
    registry = a_registry(access={"nodePort": port})
    in_use = InUse(frozenset(own_names(registry, {"addresses": [CLUSTER_IP, NODE_PORT]}, NARROWED)))
    for host in ("k8sworker1:30500", "192.168.7.1:30500", "[fd00::7]:30500", "main.images.svc:5000"):
        in_use.add(f"{host}/shop/{host[:3].strip('[')}", "Pod shop/web")
    for host in ("k8sworker2:3050", "k8sworker2:130500", "k8sworker2", "elsewhere.example:5000", "30500"):
        in_use.add(f"{host}/other/app", "Pod shop/web")
    assert in_use.tags.keys() == {(f"shop/{name}", "latest") for name in ("k8s", "192", "fd", "mai")}
