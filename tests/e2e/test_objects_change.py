"""Objects of one spec applied over those of another: what the spec no longer asks for goes, nothing is refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from regkeeper.naming import FIELD_MANAGER
from regkeeper.resources.registry import desired_objects
from regkeeper.settings import Settings
from tests.cluster import Cluster
from tests.operator_process import a_namespace
from tests.registry_objects import a_registry

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("objects-change")]

CLAIM: dict[str, Any] = {"existingClaim": "mine"}
ONE, SHARED = ["ReadWriteOnce"], ["ReadWriteMany"]


Apply = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def namespace(control_plane: Cluster) -> Iterator[str]:
    with a_namespace(control_plane, "changed-specs") as name:
        yield name


@pytest.fixture(scope="module")
def apply(control_plane: Cluster, namespace: str) -> Apply:
    """Apply all objects of a Registry; return what the API server has of each, by kind."""

    def apply_objects(name: str, access_modes: list[str], **spec: Any) -> dict[str, dict[str, Any]]:
        registry = a_registry(name, namespace=namespace, storage=CLAIM, **spec)
        objects = desired_objects(registry, Settings(), read_only=False, access_modes=access_modes)
        for each in objects:
            # Their owner is not there: the garbage collector would take them between two applies.
            each["metadata"].pop("ownerReferences", None)
        applied = [control_plane.api().apply(each, manager=FIELD_MANAGER) for each in objects]
        return {each["kind"]: each["spec"] for each in applied if "spec" in each}

    return apply_objects


def pod(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    answer: dict[str, Any] = objects["Deployment"]["template"]["spec"]
    return answer


def test_strategy_follows_the_claim(apply: Apply) -> None:
    for access_modes in (SHARED, ONE, SHARED):
        strategy = apply("strategy", access_modes)["Deployment"]["strategy"]
        assert strategy["type"] == ("RollingUpdate" if access_modes == SHARED else "Recreate")
        assert ("rollingUpdate" in strategy) == (access_modes == SHARED)


def test_ports_come_and_go(apply: Apply) -> None:
    both = apply("ports", ONE, access={"hostPort": {"port": 5001}, "nodePort": {"port": 30077}})
    assert both["Service"]["type"] == "NodePort"
    assert both["Service"]["ports"][0]["nodePort"] == 30077
    assert pod(both)["containers"][0]["ports"][0]["hostPort"] == 5001
    none = apply("ports", ONE)
    assert none["Service"]["type"] == "ClusterIP"
    assert "nodePort" not in none["Service"]["ports"][0]
    assert "hostPort" not in pod(none)["containers"][0]["ports"][0]


def test_environment_changes_its_source(apply: Apply) -> None:
    apply("environment", ONE, extraEnv=[{"name": "A", "value": "1"}, {"name": "B", "value": "1"}])
    field = {"name": "B", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}
    _, mine = pod(apply("environment", ONE, extraEnv=[field]))["containers"][0]["env"]
    assert mine == field


def test_what_is_left_out_goes(apply: Apply) -> None:
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
    full = pod(apply("options", ONE, **options))
    assert {field for field in options if full.get(field) or full["containers"][0].get(field)} == options.keys()
    bare = pod(apply("options", ONE))
    assert {field for field in options if bare.get(field) or bare["containers"][0].get(field)} == set()


def test_an_autoscaler_keeps_its_number(control_plane: Cluster, namespace: str, apply: Apply) -> None:
    apply("scaled", SHARED)
    control_plane.kubectl("scale", "deployment", "scaled", f"--namespace={namespace}", "--replicas=3")
    assert apply("scaled", SHARED, readOnly=True)["Deployment"]["replicas"] == 3
