"""The pods against the Pod Security Standards, as a real API server enforces them."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from regkeeper.resources.config import config_file
from regkeeper.resources.pod import pod_template
from regkeeper.settings import Settings
from tests.cluster import Cluster
from tests.cluster.commands import CommandError
from tests.registry_objects import LOCAL, a_registry
from tests.waiting import wait_for

pytestmark = pytest.mark.control_plane

LEVELS = ("privileged", "baseline", "restricted")


def namespace(level: str) -> str:
    return f"pods-{level}"


@pytest.fixture(scope="module")
def cluster(control_plane: Cluster) -> Iterator[Cluster]:
    for level in LEVELS:
        labels = {"pod-security.kubernetes.io/enforce": level}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(level), "labels": labels}}
        control_plane.kubectl("create", "--filename=-", stdin=json.dumps(body))
    for level in LEVELS:
        listed = partial(
            control_plane.kubectl, "get", "serviceaccounts", f"--namespace={namespace(level)}", "--output=name"
        )
        wait_for(listed, 30, "the service account that pods need")
    yield control_plane
    control_plane.kubectl("delete", "namespace", *map(namespace, LEVELS), "--wait=false")


def create_pod(cluster: Cluster, level: str, **spec: Any) -> None:
    """Ask for a registry's pod, in a dry run."""
    registry = a_registry(namespace=namespace(level), **spec)
    template = pod_template(registry, Settings(), config_file(registry, read_only=False))
    metadata = {**template["metadata"], "name": "main", "namespace": namespace(level)}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    cluster.kubectl("create", "--dry-run=server", "--filename=-", stdin=json.dumps(body))


@pytest.mark.parametrize("storage", [{"size": "1Gi"}, {"existingClaim": "mine"}, LOCAL, {"ephemeral": {}}])
@pytest.mark.parametrize("level", LEVELS)
def test_pods_are_restricted(cluster: Cluster, level: str, storage: dict[str, Any]) -> None:
    create_pod(cluster, level, storage=storage, access={"nodePort": {}})


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_the_host_port_is_all_that_they_would_refuse(cluster: Cluster, level: str) -> None:
    with pytest.raises(CommandError, match=rf'violates PodSecurity "{level}:latest": hostPort \(') as refused:
        create_pod(cluster, level, access={"hostPort": {}})
    assert str(refused.value).count("uses") == 1


def test_a_privileged_namespace_takes_the_host_port(cluster: Cluster) -> None:
    create_pod(cluster, "privileged", access={"hostPort": {}})
