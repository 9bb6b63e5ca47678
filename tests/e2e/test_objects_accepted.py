"""Random valid specs: the Registry, and every object built of it, pass a dry run of a real API server."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regkeeper.naming import FIELD_MANAGER
from regkeeper.resources.registry import http_secret
from tests.cluster import Cluster
from tests.e2e.valid_specs import SPECS
from tests.operator_process import a_namespace
from tests.registry_objects import a_registry, all_objects, registry_object

pytestmark = pytest.mark.control_plane


@pytest.fixture(scope="module")
def namespace(control_plane: Cluster) -> Iterator[str]:
    with a_namespace(control_plane, "random-specs") as name:
        yield name


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.from_regex(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True), spec=SPECS, read_only=st.booleans())
def test_every_valid_spec_gives_objects_that_the_api_server_takes(
    control_plane: Cluster,
    namespace: str,
    name: str,
    spec: dict[str, Any],
    read_only: bool,
) -> None:
    registry = a_registry(name, namespace=namespace, **spec)
    objects = [
        registry_object(name, namespace=namespace, **spec),
        http_secret(registry, "secret"),
        *all_objects(registry, read_only=read_only),
    ]
    for body in objects:
        control_plane.api().apply(body, manager=FIELD_MANAGER, dry_run=True)
