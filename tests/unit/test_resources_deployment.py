"""The Deployment: replicas, and how one version follows another."""

from typing import Any

import pytest

from regkeeper.errors import BlockedError, InvalidSpecError
from regkeeper.resources.config import config_file
from regkeeper.resources.deployment import deployment
from regkeeper.settings import Settings
from tests.registry_objects import LOCAL, SHARED, UID, a_registry

SELECTOR = {"app.kubernetes.io/name": "registry", "regkeeper.dev/registry": "main"}


REFUSAL = r"^spec\.replicas is 2, .* set it to 1, or use a claim"


def build(access_modes: list[str] | None = None, **spec: Any) -> dict[str, Any]:
    registry = a_registry(**spec)
    return deployment(registry, Settings(), config_file(registry, read_only=False), access_modes=access_modes)


def test_it_is_the_registrys_and_finds_its_pods() -> None:
    built = build()
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
    spec = build(storage=storage)["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_shared_storage_leaves_the_number_to_others_unless_the_spec_has_one() -> None:
    assert "replicas" not in build(storage=SHARED)["spec"]
    assert build(storage=SHARED, replicas=3)["spec"]["replicas"] == 3


def test_a_run_that_holds_the_volume_holds_the_pods_at_its_node() -> None:
    registry = a_registry(nodeSelector={"disk": "fast"})
    config = config_file(registry, read_only=True)
    held = deployment(registry, Settings(), config, node="k8sworker1")["spec"]["template"]["spec"]
    assert held["nodeSelector"] == {"disk": "fast", "kubernetes.io/hostname": "k8sworker1"}
    free = deployment(registry, Settings(), config)["spec"]["template"]["spec"]
    assert free["nodeSelector"] == {"disk": "fast"}


def test_scaled_to_zero() -> None:
    assert build(replicas=0)["spec"]["replicas"] == 0


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
        build(storage=storage, replicas=2)


@pytest.mark.parametrize("storage", [{"existingClaim": "mine"}, SHARED, LOCAL])
def test_more_replicas_than_the_claim_allows_wait_for_another_claim(storage: dict[str, Any]) -> None:
    """It may be made again, with another access mode, and no watch would tell."""
    with pytest.raises(BlockedError, match=REFUSAL):
        build(["ReadWriteOnce"], storage=storage, replicas=2)


def test_a_claim_that_is_not_there_yet_is_what_the_spec_takes_it_for() -> None:
    several = build(storage={"existingClaim": "later"}, replicas=2)["spec"]
    assert (several["replicas"], several["strategy"]["type"]) == (2, "RollingUpdate")
    one = build(storage={"existingClaim": "later"})["spec"]
    assert (one["replicas"], one["strategy"]["type"]) == (1, "Recreate")


def test_the_claim_that_is_there_decides() -> None:
    assert build(["ReadWriteMany"], storage={"existingClaim": "mine"}, replicas=2)["spec"]["replicas"] == 2


def test_shared_storage_rolls_without_a_gap() -> None:
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    spec = build(storage=SHARED)["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    assert "preStop" in spec["template"]["spec"]["containers"][0]["lifecycle"]


def test_a_host_port_rolls_without_a_surplus_pod() -> None:
    rolling = {"maxSurge": 0, "maxUnavailable": 1}
    strategy = build(storage=SHARED, access={"hostPort": {}})["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": rolling}
