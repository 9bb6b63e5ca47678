"""A running operator carries each change of a spec over to the live objects, and takes it back.

Issue 3: "a spec change of every field lands on the right object".
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from regkeeper import naming
from regkeeper.api.v1alpha1.registry import RegistrySpec
from tests.chart_account import operator_account
from tests.cluster import Cluster
from tests.operator_process import a_namespace, operator_process
from tests.registry_objects import mounted_config_maps
from tests.room import Room
from tests.waiting import wait_for

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("operator-changes")]

SOON = 30  # seconds; takes under one on a quiet machine
STORAGE = {"size": "1Gi", "accessModes": ["ReadWriteMany"]}


@dataclass
class Live:
    """What the API server has of one Registry's objects."""

    room: Room

    @property
    def deployment(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.room.need("deployment")["spec"]
        return spec

    @property
    def template(self) -> dict[str, Any]:
        metadata: dict[str, Any] = self.deployment["template"]["metadata"]
        return metadata

    @property
    def pod(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.deployment["template"]["spec"]
        return spec

    @property
    def container(self) -> dict[str, Any]:
        (container,) = self.pod["containers"]
        return dict(container)

    @property
    def config(self) -> dict[str, Any]:
        (name,) = mounted_config_maps(self.room.need("deployment"))
        text = self.room.need("configmap", name)["data"]["config.yml"]
        config: dict[str, Any] = yaml.safe_load(text)
        return config

    @property
    def service(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.room.need("service")["spec"]
        return spec


AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]
        }
    }
}
TOLERATION = {"key": "a", "operator": "Exists", "effect": "NoExecute"}
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "zone",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": {"matchLabels": {"e": "f"}},
}

CHANGES: dict[str, tuple[Any, Callable[[Live], bool]]] = {
    "access": (
        {"hostPort": {"port": 5098}, "nodePort": {}},
        lambda live: live.service["type"] == "NodePort" and live.container["ports"][0].get("hostPort") == 5098,
    ),
    "image": ("docker.io/library/registry:2.8", lambda live: live.container["image"].endswith("registry:2.8")),
    "imagePullPolicy": ("Always", lambda live: live.container["imagePullPolicy"] == "Always"),
    "imagePullSecrets": ([{"name": "pull"}], lambda live: live.pod.get("imagePullSecrets") == [{"name": "pull"}]),
    "replicas": (
        2,
        lambda live: live.deployment["replicas"] == 2 and live.room.get("poddisruptionbudget") is not None,
    ),
    "readOnly": (
        True,
        lambda live: live.config["storage"].get("maintenance", {}).get("readonly", {}).get("enabled") is True,
    ),
    "resources": (
        {"limits": {"memory": "1Gi"}},
        lambda live: live.container.get("resources", {}).get("limits") == {"memory": "1Gi"},
    ),
    "nodeSelector": ({"zone": "a"}, lambda live: live.pod.get("nodeSelector") == {"zone": "a"}),
    "tolerations": ([TOLERATION], lambda live: TOLERATION in live.pod.get("tolerations", [])),
    "affinity": (AFFINITY, lambda live: live.pod.get("affinity") == AFFINITY),
    "priorityClassName": (
        "system-cluster-critical",
        lambda live: live.pod.get("priorityClassName") == "system-cluster-critical",
    ),
    "topologySpreadConstraints": ([SPREAD], lambda live: live.pod.get("topologySpreadConstraints") == [SPREAD]),
    "podLabels": ({"g": "h"}, lambda live: live.template["labels"].get("g") == "h"),
    "podAnnotations": ({"i": "j"}, lambda live: live.template["annotations"].get("i") == "j"),
    "extraEnv": (
        [{"name": "MINE", "value": "yes"}],
        lambda live: {"name": "MINE", "value": "yes"} in live.container.get("env", []),
    ),
    "config": ({"log": {"level": "debug"}}, lambda live: live.config.get("log", {}).get("level") == "debug"),
}
"""Field of the spec → another value, and whether the live objects show it."""


@pytest.fixture(scope="module")
def room(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A namespace with one Registry, kept by an operator of its own."""
    directory = tmp_path_factory.mktemp("operator")
    kubeconfig = directory / "kubeconfig"
    with a_namespace(control_plane, "changes") as namespace:
        values = {"watchNamespaces": [namespace]}
        with (
            operator_account(control_plane, kubeconfig, values, release="changes"),
            operator_process(kubeconfig, directory, {"REGKEEPER_WATCH_NAMESPACES": json.dumps([namespace])}),
        ):
            room = Room(control_plane, namespace)
            room.registry(storage=STORAGE)
            wait_for(lambda: room.get("deployment"), SOON, "the Deployment")
            yield room


def test_every_field_has_its_change() -> None:
    fields = {field.alias or name for name, field in RegistrySpec.model_fields.items()}
    elsewhere = {"storage": "test_operator_faults_of_changes.py", "nodeTrust": "installed/test_node_trust.py"}
    assert CHANGES.keys() == fields - elsewhere.keys()


@pytest.mark.parametrize("field", CHANGES)
def test_a_change_reaches_the_live_objects_and_leaves_them_again(room: Room, field: str) -> None:
    value, is_shown = CHANGES[field]
    live = Live(room)
    assert not is_shown(live)
    before = live.template["annotations"][naming.CONFIG_HASH_ANNOTATION]
    room.registry(storage=STORAGE, **{field: value})
    wait_for(lambda: is_shown(live), SOON, lambda: f"{field} to be {value!r}: {room.get('deployment')}")

    def hash_follows() -> bool:
        rolled: bool = live.template["annotations"][naming.CONFIG_HASH_ANNOTATION] != before
        return rolled == (field in ("readOnly", "config"))

    wait_for(hash_follows, SOON, "a new hash in the pod template for what changes config.yml, and for nothing else")
    room.registry(storage=STORAGE)

    def is_as_before() -> bool:
        # The ConfigMap comes first; the next change must not take the Deployment's hash of this one for its own.
        return not is_shown(live) and live.template["annotations"][naming.CONFIG_HASH_ANNOTATION] == before

    wait_for(is_as_before, SOON, lambda: f"{field} to be as before: {room.get('deployment')}")
