"""The model of a Registry, as the operator reads what the API server holds."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from regkeeper.api.v1alpha1.registry import Registry, RegistryStatus
from tests.registry_objects import a_registry, registry_object


def test_the_smallest_registry() -> None:
    registry = a_registry(storage={"ephemeral": {}})
    assert registry.spec.replicas is None
    assert registry.spec.read_only is False
    assert registry.spec.access.host_port is None
    assert registry.spec.storage.deletion_policy == "Retain"
    assert registry.status is None


def test_names_are_camel_case_outside() -> None:
    spec: dict[str, Any] = {
        "storage": {"local": {"node": "a", "path": "/srv/registry"}},
        "access": {"hostPort": {"port": 80}},
    }
    dumped = json.loads(a_registry(**spec).spec.model_dump_json(by_alias=True, exclude_unset=True))
    assert dumped == spec


@pytest.mark.parametrize(
    "storage", [{}, {"size": "1Gi", "ephemeral": {}}, {"existingClaim": "a", "local": {"node": "a", "path": "/a"}}]
)
def test_not_exactly_one_kind_of_storage(storage: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="set exactly one of size, existingClaim, local and ephemeral"):
        a_registry(storage=storage)


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="storge"):
        a_registry(storge={})


def test_what_a_newer_version_wrote_into_status_is_passed_over() -> None:
    body = registry_object()
    body["status"] = {
        "observedGeneration": 3,
        "usedBytes": 7,
        "addresses": [{"type": "ClusterIP", "host": "a", "b": 1}],
    }
    registry = Registry.model_validate(body)
    assert registry.status is not None
    assert registry.status.observed_generation == 3
    assert [address.host for address in registry.status.addresses] == ["a"]


def test_metadata_keeps_what_the_operator_needs() -> None:
    body = registry_object()
    body["metadata"] |= {"generation": 4, "managedFields": [{}], "creationTimestamp": "2026-01-02T03:04:05Z"}
    metadata = Registry.model_validate(body).metadata
    assert metadata.generation == 4
    assert metadata.creation_timestamp is not None
    assert metadata.creation_timestamp.isoformat() == "2026-01-02T03:04:05+00:00"


def test_status_of_an_unseen_registry() -> None:
    assert RegistryStatus().observed_generation == -1
