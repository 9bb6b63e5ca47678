"""Which differences between a wanted and a live object are worth a write."""

from copy import deepcopy
from typing import Any

import pytest

from regkeeper.reconcile.drift import needs_apply, quantity

MANAGER = "regkeeper"

WANTED: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Thing",
    "metadata": {
        "name": "main",
        "namespace": "images",
        "labels": {"app": "registry"},
        "ownerReferences": [{"uid": "u1", "name": "main", "controller": True}],
        "finalizers": ["ours"],
    },
    "spec": {
        "replicas": 1,
        "limits": {"memory": "1Gi"},
        "strategy": {"type": "Recreate"},
        "volumes": [{"name": "storage", "emptyDir": {}}],
        "ports": [{"containerPort": 5000, "name": "registry"}],
        "args": ["serve", "config.yml"],
        "affinity": {"terms": [{"key": "a"}]},
        "suspended": False,
    },
}

OWNED: dict[str, Any] = {
    "f:metadata": {
        "f:labels": {"f:app": {}},
        "f:ownerReferences": {'k:{"uid":"u1"}': {}},
        "f:finalizers": {'v:"ours"': {}},
    },
    "f:spec": {
        "f:replicas": {},
        "f:limits": {"f:memory": {}},
        "f:strategy": {"f:type": {}},
        "f:volumes": {'k:{"name":"storage"}': {".": {}, "f:name": {}, "f:emptyDir": {}}},
        "f:ports": {
            'k:{"containerPort":5000,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:name": {}},
        },
        "f:args": {},
        "f:affinity": {"f:terms": {}},
        "f:suspended": {},
    },
}


def live() -> dict[str, Any]:
    """What the API server makes of it: defaults, another manager's fields, a status."""
    body = deepcopy(WANTED)
    body["metadata"] |= {
        "uid": "u2",
        "annotations": {"injected": "by another"},
        "managedFields": [
            {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:status": {}}},
            {"manager": MANAGER, "operation": "Apply", "apiVersion": "v1", "fieldsV1": deepcopy(OWNED)},
        ],
    }
    body["spec"]["limits"]["memory"] = "1024Mi"
    body["spec"]["ports"][0]["protocol"] = "TCP"
    body["spec"]["volumes"].append({"name": "injected", "emptyDir": {}})
    body["spec"]["affinity"]["terms"][0]["operator"] = "Exists"
    body["spec"]["dnsPolicy"] = "ClusterFirst"
    body["status"] = {"ready": True}
    return body


def owned(body: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = body["metadata"]["managedFields"][1]["fieldsV1"]
    return fields


def test_defaults_other_managers_fields_and_other_spellings_are_no_drift() -> None:
    assert not needs_apply(WANTED, live(), MANAGER)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "labels", "app"), "other"),
        (("metadata", "labels"), {}),
        (("metadata", "ownerReferences"), []),
        (("metadata", "finalizers"), []),
        (("spec", "replicas"), 3),
        (("spec", "limits", "memory"), "2Gi"),
        (("spec", "strategy", "type"), "RollingUpdate"),
        (("spec", "args"), ["serve"]),
        (("spec", "affinity", "terms", 0, "key"), "b"),
        (("spec", "volumes"), []),
        (("spec", "ports", 0, "name"), "http"),
        (("spec", "suspended"), True),
    ],
)
def test_a_field_of_ours_that_somebody_changed_is_drift(path: tuple[Any, ...], value: object) -> None:
    body = live()
    place: Any = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert needs_apply(WANTED, body, MANAGER)


def test_a_field_that_another_manager_took_over_is_drift() -> None:
    body = live()
    del owned(body)["f:spec"]["f:replicas"]
    assert needs_apply(WANTED, body, MANAGER)


@pytest.mark.parametrize("field", ["replicas", "limits", "volumes", "args", "affinity"])
def test_a_field_of_ours_that_is_no_longer_wanted_is_drift(field: str) -> None:
    wanted = deepcopy(WANTED)
    del wanted["spec"][field]
    assert needs_apply(wanted, live(), MANAGER)


def test_an_item_of_ours_that_is_no_longer_wanted_is_drift() -> None:
    wanted = deepcopy(WANTED)
    wanted["spec"]["volumes"] = [{"name": "other", "emptyDir": {}}]
    assert needs_apply(wanted, live(), MANAGER)


def test_a_new_field_is_drift() -> None:
    wanted = deepcopy(WANTED)
    wanted["spec"]["paused"] = True
    assert needs_apply(wanted, live(), MANAGER)


def test_what_is_empty_leaves_no_trace_and_is_no_drift() -> None:
    wanted = deepcopy(WANTED)
    wanted["spec"] |= {"nodeSelector": {}, "tolerations": [], "subdomain": ""}
    assert not needs_apply(wanted, live(), MANAGER)


def test_an_object_that_we_never_applied_is_drift() -> None:
    body = live()
    del body["metadata"]["managedFields"][1]
    assert needs_apply(WANTED, body, MANAGER)


def test_an_object_that_we_applied_in_another_version_is_drift() -> None:
    body = live()
    body["metadata"]["managedFields"][1]["apiVersion"] = "v1beta1"
    assert needs_apply(WANTED, body, MANAGER)


@pytest.mark.parametrize(
    ("field", "wanted", "stored", "drift"),
    [
        ("limits", "0.0625", "63m", False),
        ("limits", "62.5m", "63m", False),
        ("limits", "0.0635", "63m", True),
        ("emptyDir", "0.0000000001", "1n", False),
        ("emptyDir", "62.5m", "63m", True),
    ],
)
def test_a_quantity_that_the_api_server_rounded_up_is_no_drift(
    field: str, wanted: str, stored: str, drift: bool
) -> None:
    desired, body = deepcopy(WANTED), live()
    name = "memory" if field == "limits" else "sizeLimit"
    desired["spec"][field] = {name: wanted}
    body["spec"][field] = {name: stored}
    owned(body)["f:spec"][f"f:{field}"] = {f"f:{name}": {}}
    assert needs_apply(desired, body, MANAGER) is drift


@pytest.mark.parametrize(
    ("one", "other"),
    [("1Gi", "1024Mi"), ("500m", "0.5"), ("1e3", "1k"), ("1E", "1000P"), (2, "2"), ("100M", "0.1G")],
)
def test_quantities_are_compared_by_value(one: str | int, other: str) -> None:
    assert quantity(one) == quantity(other)


@pytest.mark.parametrize("text", ["", "Gi", "ten", "1GB"])
def test_what_is_no_quantity_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity(text)
