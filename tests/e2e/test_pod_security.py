"""The pods against the Pod Security Standards, as a real API server enforces them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from regkeeper.resources.config import config_file
from regkeeper.resources.pod import pod_template
from regkeeper.settings import Settings
from tests.cluster import Cluster
from tests.cluster.api import ApiError
from tests.operator_process import a_namespace
from tests.registry_objects import LOCAL, a_registry
from tests.waiting import wait_for

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("pod-security")]

LEVELS = ("privileged", "baseline", "restricted")


CreatePod = Callable[..., None]


@pytest.fixture(scope="module")
def create_pod(control_plane: Cluster) -> Iterator[CreatePod]:
    """Ask for a registry's pod in a namespace that enforces a level; a dry run."""
    with ExitStack() as stack:
        namespaces = {}
        for level in LEVELS:
            labels = {"pod-security.kubernetes.io/enforce": level}
            namespaces[level] = stack.enter_context(a_namespace(control_plane, level, labels))
        for name in namespaces.values():
            path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
            wait_for(partial(control_plane.read, path), 30, "the service account that pods need")

        def create(level: str, **spec: Any) -> None:
            registry = a_registry(namespace=namespaces[level], **spec)
            template = pod_template(registry, Settings(), config_file(registry, read_only=False))
            metadata = {**template["metadata"], "name": "main", "namespace": namespaces[level]}
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
            control_plane.api().create(body, dry_run=True)

        yield create


@pytest.mark.parametrize("storage", [{"size": "1Gi"}, {"existingClaim": "mine"}, LOCAL, {"ephemeral": {}}])
@pytest.mark.parametrize("level", LEVELS)
def test_pods_are_restricted(create_pod: CreatePod, level: str, storage: dict[str, Any]) -> None:
    create_pod(level, storage=storage, access={"nodePort": {}})


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_the_host_port_is_all_that_they_would_refuse(create_pod: CreatePod, level: str) -> None:
    with pytest.raises(ApiError, match=rf'violates PodSecurity "{level}:latest": hostPort \(') as refused:
        create_pod(level, access={"hostPort": {}})
    assert str(refused.value).count("uses") == 1


def test_a_privileged_namespace_takes_the_host_port(create_pod: CreatePod) -> None:
    create_pod("privileged", access={"hostPort": {}})
