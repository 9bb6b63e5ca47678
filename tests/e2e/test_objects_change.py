"""Objects of one spec applied over those of another: what the spec no longer asks for goes, nothing is refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from regkeeper.naming import FIELD_MANAGER
from regkeeper.resources.bundle import desired_objects
from regkeeper.settings import Settings
from tests.cluster import Cluster
from tests.registry_objects import a_registry

pytestmark = pytest.mark.control_plane

NAMESPACE = "changed-specs"
CLAIM: dict[str, Any] = {"existingClaim": "mine"}
ONE, SHARED = ["ReadWriteOnce"], ["ReadWriteMany"]


@pytest.fixture(scope="module")
def cluster(control_plane: Cluster) -> Iterator[Cluster]:
    control_plane.kubectl("create", "namespace", NAMESPACE)
    yield control_plane
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def apply(cluster: Cluster, name: str, access_modes: list[str], **spec: Any) -> dict[str, dict[str, Any]]:
    """Apply all objects of a Registry; return what the API server has of each, by kind."""
    registry = a_registry(name, namespace=NAMESPACE, storage=CLAIM, **spec)
    objects = desired_objects(registry, Settings(), read_only=False, access_modes=access_modes)
    applied = cluster.kubectl(
        "apply",
        "--server-side",
        f"--field-manager={FIELD_MANAGER}",
        "--filename=-",
        "--output=json",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
    )
    return {each["kind"]: each["spec"] for each in json.loads(applied)["items"] if "spec" in each}


def pod(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    answer: dict[str, Any] = objects["Deployment"]["template"]["spec"]
    return answer


def test_strategy_follows_the_claim(cluster: Cluster) -> None:
    for access_modes in (SHARED, ONE, SHARED):
        strategy = apply(cluster, "strategy", access_modes)["Deployment"]["strategy"]
        assert strategy["type"] == ("RollingUpdate" if access_modes == SHARED else "Recreate")
        assert ("rollingUpdate" in strategy) == (access_modes == SHARED)


def test_ports_come_and_go(cluster: Cluster) -> None:
    both = apply(cluster, "ports", ONE, access={"hostPort": {"port": 5001}, "nodePort": {"port": 30077}})
    assert both["Service"]["type"] == "NodePort"
    assert both["Service"]["ports"][0]["nodePort"] == 30077
    assert pod(both)["containers"][0]["ports"][0]["hostPort"] == 5001
    none = apply(cluster, "ports", ONE)
    assert none["Service"]["type"] == "ClusterIP"
    assert "nodePort" not in none["Service"]["ports"][0]
    assert "hostPort" not in pod(none)["containers"][0]["ports"][0]


def test_environment_changes_its_source(cluster: Cluster) -> None:
    apply(cluster, "environment", ONE, extraEnv=[{"name": "A", "value": "1"}, {"name": "B", "value": "1"}])
    field = {"name": "B", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}
    _, mine = pod(apply(cluster, "environment", ONE, extraEnv=[field]))["containers"][0]["env"]
    assert mine == field


def test_what_is_left_out_goes(cluster: Cluster) -> None:
    options = {
        "imagePullSecrets": [{"name": "mine"}],
        "resources": {"limits": {"memory": "1Gi"}},
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
        ],
        "priorityClassName": "system-cluster-critical",
    }
    full = pod(apply(cluster, "options", ONE, **options))
    assert {field for field in options if full.get(field) or full["containers"][0].get(field)} == options.keys()
    bare = pod(apply(cluster, "options", ONE))
    assert {field for field in options if bare.get(field) or bare["containers"][0].get(field)} == set()


def test_an_autoscaler_keeps_its_number(cluster: Cluster) -> None:
    apply(cluster, "scaled", SHARED)
    where = f"--namespace={NAMESPACE}"
    cluster.kubectl("scale", "deployment", "scaled", where, "--replicas=3")
    assert apply(cluster, "scaled", SHARED, readOnly=True)["Deployment"]["replicas"] == 3
