"""What tools are told of the cluster's own registry."""

import yaml

from regkeeper.resources.local_registry_hosting import KEY, local_registry_hosting

CLUSTER_IP = {"type": "ClusterIP", "host": "main.default.svc:5000"}


def test_it_names_the_first_address_on_a_node_and_the_one_for_pods() -> None:
    built = local_registry_hosting(
        [{"type": "HostPort", "host": "k8smaster:5000"}, {"type": "NodePort", "host": "k8smaster:30500"}, CLUSTER_IP]
    )
    assert built is not None
    assert (built["metadata"]["namespace"], built["metadata"]["name"]) == ("kube-public", "local-registry-hosting")
    assert list(built["data"]) == [KEY] == ["localRegistryHosting.v1"]
    assert yaml.safe_load(built["data"][KEY]) == {
        "host": "k8smaster:5000",
        "hostFromClusterNetwork": "main.default.svc:5000",
    }


def test_a_registry_for_pods_alone_is_none_for_tools() -> None:
    assert local_registry_hosting([CLUSTER_IP]) is None
