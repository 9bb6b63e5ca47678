"""The objects that serve a Registry's images."""

import base64
from typing import Any

import pytest
import yaml

from regkeeper.errors import BlockedError, InvalidSpecError
from regkeeper.resources.config import config_file
from regkeeper.resources.registry import (
    config_map,
    deployment,
    desired_objects,
    disruption_budget,
    http_secret,
    service,
)
from regkeeper.settings import Settings
from tests.registry_objects import LOCAL, SHARED, UID, a_registry, mounted_config_maps

CONFIGS = ["ConfigMap", "ConfigMap"]


def kinds(**spec: Any) -> list[str]:
    return [built["kind"] for built in desired_objects(a_registry(**spec), Settings(), read_only=False)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, [*CONFIGS, "Service", "Deployment"]),
        ({"storage": SHARED, "replicas": 2}, [*CONFIGS, "Service", "PodDisruptionBudget", "Deployment"]),
    ],
)
def test_what_an_object_needs_comes_before_it(spec: dict[str, Any], expected: list[str]) -> None:
    assert kinds(**spec) == expected


def test_no_pod_that_is_to_refuse_pushes_finds_what_takes_them_however_late_it_starts() -> None:
    """Runs delete beside it. kubelet reads a ConfigMap when a container starts, and once more when it starts again."""
    objects = [desired_objects(a_registry(), Settings(), read_only=read_only) for read_only in (False, True)]
    taking, refusing = (mounted_config_maps(built[-1]) for built in objects)
    assert set(taking).isdisjoint(refusing)


def test_the_same_arguments_give_the_same_objects() -> None:
    first, again = (desired_objects(a_registry(storage=LOCAL), Settings(), read_only=False) for _ in range(2))
    assert first == again


def test_http_secret_is_made_once() -> None:
    built = http_secret(a_registry(), "s3cret")
    assert built["metadata"]["name"] == f"main-http-{UID[:8]}"
    assert built["immutable"] is True
    assert base64.b64decode(built["data"]["http-secret"]) == b"s3cret"


@pytest.mark.parametrize(("read_only", "name"), [(False, "main-config"), (True, "main-config-read-only")])
def test_config_map_has_the_config(*, read_only: bool, name: str) -> None:
    """A pod that is to refuse pushes, and starts late, must not find by then what takes them."""
    registry = a_registry()
    built = config_map(registry, config_file(registry, read_only=read_only))
    assert built["metadata"]["name"] == name
    assert built["data"].keys() == {"config.yml"}
    assert yaml.safe_load(built["data"]["config.yml"])["storage"]["maintenance"]["readonly"]["enabled"] is read_only


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


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, False),
        ({"storage": SHARED, "replicas": 1}, False),
        ({"storage": SHARED, "replicas": 0}, False),
        ({"storage": SHARED, "replicas": 2}, True),
        ({"storage": SHARED}, True),  # an autoscaler may make it two
    ],
)
def test_budget_where_there_may_be_several_pods(spec: dict[str, Any], wanted: bool) -> None:
    assert (disruption_budget(a_registry(**spec)) is not None) == wanted


def test_budget_takes_one_pod_at_a_time() -> None:
    built = disruption_budget(a_registry(storage=SHARED, replicas=3))
    assert built is not None
    assert built["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": {"app.kubernetes.io/name": "registry", "regkeeper.dev/registry": "main"}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }


SELECTOR = {"app.kubernetes.io/name": "registry", "regkeeper.dev/registry": "main"}


REFUSAL = r"^spec\.replicas is 2, .* set it to 1, or use a claim"


def built_deployment(access_modes: list[str] | None = None, **spec: Any) -> dict[str, Any]:
    registry = a_registry(**spec)
    return deployment(registry, Settings(), config_file(registry, read_only=False), access_modes=access_modes)


def test_it_is_the_registrys_and_finds_its_pods() -> None:
    built = built_deployment()
    assert built["metadata"]["name"] == "main"
    assert built["metadata"]["namespace"] == "images"
    assert built["metadata"]["labels"] == {**SELECTOR, "app.kubernetes.io/managed-by": "regkeeper"}
    assert built["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "regkeeper.dev/v1alpha1",
            "kind": "Registry",
            "name": "main",
            "uid": UID,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert built["spec"]["selector"] == {"matchLabels": SELECTOR}
    assert SELECTOR.items() <= built["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("storage", [{"size": "10Gi"}, LOCAL, {"ephemeral": {}}, {"existingClaim": "mine"}])
def test_storage_for_one_means_one_replica_and_recreate(storage: dict[str, Any]) -> None:
    spec = built_deployment(storage=storage)["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_shared_storage_leaves_the_number_to_others_unless_the_spec_has_one() -> None:
    assert "replicas" not in built_deployment(storage=SHARED)["spec"]
    assert built_deployment(storage=SHARED, replicas=3)["spec"]["replicas"] == 3


def test_a_run_that_holds_the_volume_holds_the_pods_at_its_node() -> None:
    registry = a_registry(nodeSelector={"disk": "fast"})
    config = config_file(registry, read_only=True)
    held = deployment(registry, Settings(), config, node="k8sworker1")["spec"]["template"]["spec"]
    assert held["nodeSelector"] == {"disk": "fast", "kubernetes.io/hostname": "k8sworker1"}
    free = deployment(registry, Settings(), config)["spec"]["template"]["spec"]
    assert free["nodeSelector"] == {"disk": "fast"}


def test_scaled_to_zero() -> None:
    assert built_deployment(replicas=0)["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    "storage",
    [
        {"size": "10Gi"},
        LOCAL,
        {"ephemeral": {}},
    ],
)
def test_more_replicas_than_the_storage_allows_are_refused(storage: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match=REFUSAL):
        built_deployment(storage=storage, replicas=2)


@pytest.mark.parametrize("storage", [{"existingClaim": "mine"}, SHARED, LOCAL])
def test_more_replicas_than_the_claim_allows_wait_for_another_claim(storage: dict[str, Any]) -> None:
    """It may be made again, with another access mode, and no watch would tell."""
    with pytest.raises(BlockedError, match=REFUSAL):
        built_deployment(["ReadWriteOnce"], storage=storage, replicas=2)


def test_a_claim_that_is_not_there_yet_is_what_the_spec_takes_it_for() -> None:
    several = built_deployment(storage={"existingClaim": "later"}, replicas=2)["spec"]
    assert (several["replicas"], several["strategy"]["type"]) == (2, "RollingUpdate")
    one = built_deployment(storage={"existingClaim": "later"})["spec"]
    assert (one["replicas"], one["strategy"]["type"]) == (1, "Recreate")


def test_the_claim_that_is_there_decides() -> None:
    assert built_deployment(["ReadWriteMany"], storage={"existingClaim": "mine"}, replicas=2)["spec"]["replicas"] == 2


def test_shared_storage_rolls_without_a_gap() -> None:
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    spec = built_deployment(storage=SHARED)["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    assert "preStop" in spec["template"]["spec"]["containers"][0]["lifecycle"]


def test_a_host_port_rolls_without_a_surplus_pod() -> None:
    rolling = {"maxSurge": 0, "maxUnavailable": 1}
    strategy = built_deployment(storage=SHARED, access={"hostPort": {}})["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": rolling}
