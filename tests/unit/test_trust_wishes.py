"""What a Registry asks of nodes, whether it may, and which hosts that means.

Proves of nodes.md: "Who may have what trusted".
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from regkeeper import naming
from regkeeper.reconcile.trust.wishes import asks, kept_wish, refusal, refused_for_image, was_trusted, wish_of
from regkeeper.settings import Settings, TrustSettings
from tests.registry_objects import registry_object

HOST_PORT: dict[str, Any] = {"access": {"hostPort": {"port": 5000}}}
SETTINGS = Settings(trust=TrustSettings(namespaces=("images",), hosts=("registry.example:5000", "docker.io:443")))
ADDRESSES = {"k8smaster": "10.0.0.11", "k8sworker1": "10.0.0.12", "six": "fd00:0:0::12"}


def registry(*, addresses: tuple[str, ...] = (), ready: bool = True, **spec: Any) -> dict[str, Any]:
    body = registry_object(**spec)
    listed = [dict(zip(("type", "host"), address.split(" "), strict=True)) for address in addresses]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {**body, "status": {"addresses": listed, "conditions": conditions}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, False),
        ({"access": {"nodePort": {}}}, False),
        (HOST_PORT, True),
        ({"access": {"nodePort": {"nodes": ["k8smaster"]}}}, True),
        ({"nodeTrust": {"hosts": ["registry.example:5000"]}}, True),
        ({"nodeTrust": {"enabled": True}}, True),
        ({**HOST_PORT, "nodeTrust": {"enabled": False}}, False),
    ],
)
def test_who_asks(spec: dict[str, Any], expected: bool) -> None:
    assert asks(registry(**spec)) is expected


def test_a_registry_that_is_being_deleted_asks_for_nothing() -> None:
    body = registry(**HOST_PORT)
    body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not asks(body)


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"nodeTrust": {"enabled": True}}, "NoHosts", "spec.access.hostPort"),
        ({"nodeTrust": {"hosts": ["other.example:5000"]}}, "NotAllowed", "trust.hosts"),
        ({"nodeTrust": {"hosts": ["docker.io:443"]}}, "InvalidHost", "public registry"),
        ({"nodeTrust": {"hosts": ["10.0.0.0/8"]}}, "InvalidHost", "port"),
        ({"nodeTrust": {"hosts": ["_default"]}}, "InvalidHost", "port"),
    ],
)
def test_who_may_not(spec: dict[str, Any], reason: str, words: str) -> None:
    refused = refusal(registry(**spec), SETTINGS)
    assert refused is not None
    assert (refused.status, refused.reason) == ("False", reason)
    assert words in refused.message


def test_another_namespace_may_not_and_is_told_the_value() -> None:
    refused = refusal(registry(**HOST_PORT), Settings())
    assert refused is not None
    assert refused.reason == "NotAllowed"
    assert "trust.namespaces" in refused.message


def test_the_samples_are_in_the_one_namespace_that_may_by_default() -> None:
    root = Path(__file__).parents[2]
    default = yaml.safe_load((root / "charts/regkeeper/values.yaml").read_text())["trust"]["namespaces"]
    assert tuple(default) == Settings().trust.namespaces
    assert len(default) == 1
    bodies = [yaml.safe_load(path.read_text()) for path in (root / "deploy/samples").glob("registry*.yaml")]
    trusted = [body for body in bodies if asks(body)]
    assert len(trusted) >= 2
    assert [refusal(body, Settings()) for body in trusted] == [None] * len(trusted)


def test_an_allowed_namespace_and_host_may() -> None:
    assert refusal(registry(**HOST_PORT), SETTINGS) is None
    assert refusal(registry(nodeTrust={"hosts": ["registry.example:5000"]}), SETTINGS) is None


def test_a_host_port_is_trusted_by_the_name_of_its_node_and_by_the_address_at_which_it_answered() -> None:
    body = registry(addresses=("HostPort k8sworker1:5000", "ClusterIP main.images.svc:5000"), **HOST_PORT)
    assert wish_of(body, ADDRESSES).hosts == ("10.0.0.12:5000", "k8sworker1:5000")
    body = registry(addresses=("HostPort six:5000",), **HOST_PORT)
    assert wish_of(body, ADDRESSES).hosts == ("[fd00::12]:5000", "six:5000")


@pytest.mark.parametrize("address", [None, "", "not-an-address", "10.0.0.999"])
def test_a_node_whose_address_is_not_to_be_had_keeps_the_one_that_was_trusted(address: str | None) -> None:
    body = registry(addresses=("HostPort k8smaster:5000",), **HOST_PORT)
    assert wish_of(body, {"k8smaster": address}).hosts == ("k8smaster:5000",)
    body["status"]["trustedHosts"] = ["10.0.0.11:5000", "10.0.0.11:5001", "gone:5000", "k8smaster:5000"]
    assert wish_of(body, {"k8smaster": address}).hosts == ("10.0.0.11:5000", "k8smaster:5000")
    assert wish_of(body, {"k8smaster": "10.0.0.21"}).hosts == ("10.0.0.21:5000", "k8smaster:5000"), "it moved"


def test_of_a_node_port_only_the_nodes_that_the_spec_names() -> None:
    spec: dict[str, Any] = {"access": {"nodePort": {"port": 30500, "nodes": ["k8smaster"]}}}
    body = registry(addresses=("NodePort k8smaster:30500", "NodePort k8sworker1:30500"), **spec)
    assert wish_of(body, ADDRESSES).hosts == ("10.0.0.11:30500", "k8smaster:30500")


def test_a_named_node_that_is_missing_for_a_moment_keeps_what_was_trusted() -> None:
    """It runs no pod, so its address is its Node's alone, and the Registry stays Ready without."""
    trusted = ["10.0.0.12:30500", "10.0.0.12:5000", "gone:30500", "k8sworker1:30500"]
    access: dict[str, Any] = {"nodePort": {"nodes": ["k8sworker1"]}}
    body = registry(addresses=("ClusterIP main.images.svc:5000",), access=access)
    body["status"]["trustedHosts"] = trusted
    assert wish_of(body, {}).hosts == ("10.0.0.12:30500", "k8sworker1:30500")
    access["nodePort"]["port"] = 30501
    assert not wish_of(body, {}).hosts, "the spec has another port"
    access["nodePort"] = {"nodes": ["k8smaster", "k8sworker1"]}
    body["status"]["addresses"].append({"type": "NodePort", "host": "k8smaster:30500"})
    assert set(wish_of(body, ADDRESSES).hosts) == {
        "10.0.0.11:30500",
        "10.0.0.12:30500",
        "k8smaster:30500",
        "k8sworker1:30500",
    }
    body["status"]["addresses"][-1]["host"] = "k8smaster:30502"
    assert wish_of(body, ADDRESSES).hosts == ("10.0.0.11:30502", "k8smaster:30502"), "the Service has another port"


@pytest.mark.parametrize("access", [{"hostPort": {"port": 5001}}, {}, {"nodePort": {"nodes": ["k8smaster"]}}])
def test_an_address_that_the_spec_no_longer_has_is_not_trusted(access: dict[str, Any]) -> None:
    body = registry(addresses=("HostPort k8smaster:5000",), access=access)
    body["status"]["trustedHosts"] = ["10.0.0.11:5000", "k8smaster:5000"]
    assert not {"10.0.0.11:5000", "k8smaster:5000"} & set(wish_of(body, ADDRESSES).hosts)


def test_at_most_eight_nodes() -> None:
    body = registry(addresses=tuple(f"HostPort n{number}:5000" for number in range(20)), **HOST_PORT)
    assert len(wish_of(body, {}).hosts) == 8


def test_what_never_answered_as_this_registry_is_not_trusted_and_what_did_stays() -> None:
    """Else a Registry whose port another one has would make nodes trust that one."""
    body = registry(addresses=("HostPort k8smaster:5000",), ready=False, **HOST_PORT)
    assert not wish_of(body, ADDRESSES).hosts
    body["status"]["trustedHosts"] = ["k8smaster:5000", "10.0.0.11:5000", "k8smaster:5001", "registry.example:5001"]
    assert wish_of(body, ADDRESSES).hosts == ("10.0.0.11:5000", "k8smaster:5000")
    del body["status"]["addresses"]
    assert wish_of(body, {}).hosts == ("10.0.0.11:5000", "k8smaster:5000"), "without a pod it has no address"


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        ({"access": {"nodePort": {"nodes": ["k8smaster"]}}}, {"k8smaster:5000", "10.0.0.11:5000"}),
        ({"access": {"nodePort": {"nodes": ["k8smaster"], "port": 5000}}}, {"k8smaster:5000", "10.0.0.11:5000"}),
        ({"access": {"nodePort": {"nodes": ["other"]}}}, {"10.0.0.11:5000"}),
        ({"access": {"nodePort": {"nodes": ["k8smaster"], "port": 30500}}}, set()),
        ({"access": {"hostPort": {"port": 5001}}}, set()),
        ({"nodeTrust": {"hosts": ["registry.example:5000"]}}, {"registry.example:5000"}),
    ],
)
def test_while_it_is_not_ready_only_its_spec_takes_a_host_away(spec: dict[str, Any], kept: set[str]) -> None:
    body = registry(ready=False, **spec)
    body["status"]["trustedHosts"] = ["k8smaster:5000", "10.0.0.11:5000", "registry.example:5000"]
    assert set(wish_of(body, {}).hosts) == kept


def test_a_finalizer_that_a_tenant_put_there_is_no_trust() -> None:
    body = registry(**HOST_PORT)
    assert not was_trusted(body, SETTINGS)
    body["metadata"]["finalizers"] = [naming.NODE_TRUST_FINALIZER]
    assert was_trusted(body, SETTINGS)
    assert not was_trusted(body, Settings(trust=TrustSettings(namespaces=())))
    body["status"]["trustedHosts"] = ["k8smaster:5000"]
    assert was_trusted(body, Settings(trust=TrustSettings(namespaces=()))), "it was allowed before"
    del body["metadata"]["finalizers"]
    assert was_trusted(body, Settings(trust=TrustSettings(namespaces=()))), "an uninstall took the finalizer off"


def test_a_paused_registry_keeps_what_it_has() -> None:
    body = registry(nodeTrust={"nodeSelector": {"a": "b"}}, **HOST_PORT)
    body["status"]["trustedHosts"] = ["k8smaster:5000"]
    body["metadata"]["annotations"] = {naming.PAUSED_ANNOTATION: "true"}
    wish = kept_wish(body)
    assert (wish.hosts, wish.selector) == (("k8smaster:5000",), (("a", "b"),))


def test_the_agents_image_may_not_come_from_a_registry_that_needs_trust() -> None:
    wish = wish_of(registry(addresses=("HostPort k8smaster:5000",), **HOST_PORT), ADDRESSES)
    refused = refused_for_image(wish, Settings(image="k8smaster:5000/regkeeper:1"))
    assert refused is not None
    assert refused.reason == "AgentImage"
    assert refused_for_image(wish, Settings(image="registry.example/regkeeper:1")) is None
