"""The whole operator against a real API server: what it writes, repairs, leaves alone and survives."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from regkeeper import naming
from tests.e2e.operated_room import SOON, Operated, OperatedRoom
from tests.room import Room
from tests.waiting import wait_for

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("operator-process")]

EVERYTHING: dict[str, Any] = {
    "storage": {"size": "1Gi", "accessModes": ["ReadWriteOnce", "ReadWriteMany"]},
    "access": {"hostPort": {"port": 5099}, "nodePort": {"nodes": ["nowhere"]}},
    "image": "docker.io/library/registry:2.8",
    "imagePullPolicy": "IfNotPresent",
    "imagePullSecrets": [{"name": "pull"}],
    "replicas": 2,
    "readOnly": True,
    "resources": {"requests": {"cpu": "0.1", "memory": "0.25Gi"}, "limits": {"memory": "1024Mi"}},
    "nodeSelector": {"a": "b"},
    "tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b", "value": "c", "effect": "NoExecute"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "a", "labelSelector": {"matchLabels": {"c": "d"}}}}
            ]
        },
    },
    "priorityClassName": "system-cluster-critical",
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "a",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"e": "f"}},
        }
    ],
    "podLabels": {"g": "h"},
    "podAnnotations": {"i": ""},
    "extraEnv": [
        {"name": "EMPTY", "value": ""},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k", "optional": True}}},
    ],
    "config": {"log": {"level": "debug"}},
}
"""A spec with all fields, written as people write them and not as the API server would."""


@pytest.mark.embedded
def test_passes_over_an_unchanged_registry_write_nothing(room: OperatedRoom) -> None:
    room.registry()
    room.registry("claimed", storage={"size": "1Gi"})
    room.registry("everything", **EVERYTHING)
    names = ("main", "claimed", "everything")
    for name in names:
        room.settle(name)
    assert room.writes_while(lambda: room.provoke_passes(4, *names)) == []


@pytest.mark.embedded
def test_what_the_operator_writes_is_counted(room: OperatedRoom) -> None:
    """Or the tests that expect no write would prove nothing."""

    def repair() -> None:
        room.remove("service")
        wait_for(lambda: room.get("service"), SOON, "the Service")

    room.registry()
    room.settle()
    assert "patch services main" in room.writes_while(repair)


def test_drift_is_repaired(room: OperatedRoom) -> None:
    room.registry()
    room.settle()
    room.remove("deployment")
    room.change("configmap", "main-config", {"data": {"config.yml": "version: 9"}})
    room.label("service", "main", **{naming.REGISTRY_LABEL: None})
    wait_for(lambda: room.get("deployment"), SOON, "the Deployment")
    wait_for(
        lambda: "rootdirectory" in (room.get("configmap", "main-config") or {})["data"]["config.yml"],
        SOON,
        "config.yml",
    )
    wait_for(
        lambda: naming.REGISTRY_LABEL in (room.get("service") or {})["metadata"]["labels"],
        SOON,
        "the Service's label",
    )
    room.label("configmap", "main-config", **{naming.REGISTRY_LABEL: "another"})
    wait_for(
        lambda: room.need("configmap", "main-config")["metadata"]["labels"][naming.REGISTRY_LABEL] == "main",
        SOON,
        "the ConfigMap's label",
    )


@pytest.mark.embedded
def test_other_managers_fields_are_left_alone(room: OperatedRoom) -> None:
    room.registry(storage={"existingClaim": "shared"})
    room.settle()
    room.annotate("deployment", "main", injected="yes")
    room.change("service", "main", {"spec": {"sessionAffinity": "ClientIP"}})
    assert room.writes_while(lambda: room.provoke_passes(3)) == []
    assert (room.get("deployment") or {})["metadata"]["annotations"]["injected"] == "yes"
    assert (room.get("service") or {})["spec"]["sessionAffinity"] == "ClientIP"


def test_what_the_spec_no_longer_asks_for_is_removed(room: OperatedRoom) -> None:
    storage = {"size": "1Gi", "accessModes": ["ReadWriteMany"]}
    room.registry(storage=storage, replicas=2)
    wait_for(lambda: room.get("poddisruptionbudget"), SOON, "the budget of two replicas")
    room.registry(storage=storage, replicas=1)
    wait_for(lambda: room.get("poddisruptionbudget") is None, SOON, "no budget of one replica")


def test_a_bad_object_delays_no_good_one(room: OperatedRoom, operated: Operated) -> None:
    for number in range(10):
        room.registry(f"bad-{number}", storage={"local": {"node": "nowhere", "path": "/etc"}})
    room.registry("good")
    room.settle("good")
    for number in range(10):
        room.await_condition("Stalled", "InvalidSpec", f"bad-{number}")
    assert operated.process.probe("/livez") == (200, "ok")


def autoscaler(name: str) -> dict[str, Any]:
    """One that asks for three replicas, for which it needs no metrics."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 3},
    }


def test_an_autoscaler_has_the_replicas_that_the_spec_leaves_to_it_and_no_others(room: OperatedRoom) -> None:
    room.registry("fixed")
    room.registry("free", storage={"size": "1Gi", "accessModes": ["ReadWriteMany"]})
    room.settle("fixed")
    room.settle("free")
    room.apply(autoscaler("fixed"), autoscaler("free"))
    wait_for(lambda: room.need("deployment", "free")["spec"]["replicas"] == 3, 60, "three replicas of the other")
    room.provoke_passes(2, "free")
    assert (room.get("deployment", "free") or {})["spec"]["replicas"] == 3
    room.delete("horizontalpodautoscaler", "fixed")
    wait_for(lambda: room.need("deployment", "fixed")["spec"]["replicas"] == 1, SOON, "one replica")


MIRRORED = "mirror.example/registry:3"


@contextmanager
def mirror_policy(room: Room) -> Iterator[None]:
    """The images of the namespace's Deployments come from a mirror: what a mutating webhook does, without a server."""
    name = f"{room.namespace}-mirror"
    replace = f'[JSONPatch{{op: "replace", path: "/spec/template/spec/containers/0/image", value: "{MIRRORED}"}}]'
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"]}
    policy = {
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": room.namespace}},
            "resourceRules": [{**rule, "resources": ["deployments"]}],
        },
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": replace}}],
    }
    bodies = [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        for kind, spec in (
            ("MutatingAdmissionPolicy", policy),
            ("MutatingAdmissionPolicyBinding", {"policyName": name}),
        )
    ]
    room.apply(*bodies)
    attempt = ("create", "deployment", "attempt", "--image=any", "--dry-run=server", "--output=yaml")
    wait_for(lambda: MIRRORED in room.kubectl(*attempt), SOON, "the policy to hold")
    try:
        yield
    finally:
        room.kubectl("delete", "mutatingadmissionpolicies,mutatingadmissionpolicybindings", name)


@pytest.mark.embedded
def test_what_admission_rewrites_is_left_so(room: OperatedRoom) -> None:
    with mirror_policy(room):
        room.registry()
        room.settle()
        room.provoke_passes(2)
        assert room.writes_while(lambda: room.provoke_passes(3)) == []
        (container,) = room.need("deployment")["spec"]["template"]["spec"]["containers"]
        assert container["image"] == MIRRORED

        def config_hash() -> str:
            annotations = room.need("deployment")["spec"]["template"]["metadata"]["annotations"]
            return str(annotations[naming.CONFIG_HASH_ANNOTATION])

        before = config_hash()
        room.registry(readOnly=True)
        wait_for(lambda: config_hash() != before, SOON, "a change to arrive all the same")


@pytest.mark.embedded
def test_a_paused_registry_is_left_alone(room: OperatedRoom) -> None:
    room.registry()
    room.settle()
    before = room.condition("Ready")
    room.annotate("registry", "main", **{naming.PAUSED_ANNOTATION: "true"})
    paused = room.await_condition("Paused", "Annotated")
    assert naming.PAUSED_ANNOTATION in paused["message"]
    assert room.condition("Ready") == before, "what was last seen"
    room.remove("service")
    assert room.writes_while(lambda: room.provoke_passes(3)) == []
    assert room.get("service") is None
    room.annotate("registry", "main", **{naming.PAUSED_ANNOTATION: None})
    wait_for(lambda: room.get("service"), SOON, "the Service, with the pause over")
    wait_for(lambda: room.condition("Paused") == {}, SOON, "no condition of the pause")


@pytest.mark.embedded
def test_what_an_older_version_wrote_is_taken_over(room: OperatedRoom) -> None:
    """Issue 3: "Upgrade from an object written by an older field manager"."""
    room.registry()
    room.settle()
    room.annotate("registry", "main", **{naming.PAUSED_ANNOTATION: "true"})
    deployment = room.need("deployment")
    wanted = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    deployment["spec"]["template"]["spec"]["containers"][0]["args"] = ["serve", "/as/it/was"]
    ours = [entry for entry in deployment["metadata"]["managedFields"] if entry["manager"] == naming.FIELD_MANAGER]
    assert ours
    for entry in ours:
        entry |= {"manager": "regkeeper-of-old", "operation": "Update"}
    room.cluster.api().replace(deployment)
    room.annotate("registry", "main", **{naming.PAUSED_ANNOTATION: None})

    def is_ours() -> bool:
        live = room.need("deployment")
        managers = {entry["manager"] for entry in live["metadata"]["managedFields"]}
        args = live["spec"]["template"]["spec"]["containers"][0]["args"]
        return naming.FIELD_MANAGER in managers and bool(args == wanted)

    wait_for(is_ours, SOON, lambda: f"the Deployment to be ours: {room.get('deployment')}")
    wait_for(lambda: not room.condition("Paused"), SOON, "the status that ends that pass")
    room.settle()  # its pods are made anew, which the status tells
    assert room.writes_while(lambda: room.provoke_passes(3)) == []


def test_an_event_is_posted_once_for_each_transition(room: OperatedRoom) -> None:
    room.registry(storage={"local": {"node": "nowhere", "path": "/etc"}})
    room.await_condition("Stalled", "InvalidSpec")
    room.provoke_passes(3)
    events = json.loads(room.kubectl("get", "events", "-o", "json", "--field-selector=involvedObject.kind=Registry"))
    assert [(event["type"], event["reason"]) for event in events["items"]] == [("Warning", "InvalidSpec")]


def test_every_line_of_the_log_is_json_and_names_its_object(room: OperatedRoom, operated: Operated) -> None:
    before = len(operated.process.log_lines())
    room.registry()
    room.settle()
    applied = [line for line in operated.process.log_lines()[before:] if line.get("namespace") == room.namespace]
    assert {line["name"] for line in applied} == {"main"}
    assert any(line["message"] == "applied Deployment main" for line in applied)
