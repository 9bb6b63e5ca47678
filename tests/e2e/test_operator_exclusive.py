"""One volume, one Registry: also for an operator that has just started, and for claims that are bound late."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.errors import BlockedError
from regkeeper.reconcile.registry.endpoints import Prober
from regkeeper.resources.storage import HOSTNAME_LABEL
from tests.cluster import Cluster
from tests.e2e.directories import HOSTNAME, local, settings
from tests.e2e.one_operator import OneOperator
from tests.registry_objects import registry_object
from tests.waiting import wait_for_async

pytestmark = pytest.mark.control_plane

STORAGE = local("main")
PATH = STORAGE["local"]["path"]


@pytest.fixture
def namespace(local_namespace: str) -> str:
    return local_namespace


class Restarts:
    """Makes passes, each by an operator that has just started and looks at that Registry first."""

    def __init__(self, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober, namespace: str) -> None:
        self._cluster = cluster
        self._operators = operators
        self._prober = prober
        self._namespace = namespace

    async def look(self, name: str) -> None:
        await OneOperator(self._operators, self._prober, self._namespace, settings(self._namespace, "main")).look(name)

    async def replicas(self, name: str) -> int | None:
        """Of the Deployment; None if there is none."""
        try:
            deployment = await self._cluster.get(kube.DEPLOYMENT, self._namespace, name)
        except kube.NotFoundError:
            return None
        return int(deployment["spec"]["replicas"])


@pytest.fixture
def restarts(cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober, namespace: str) -> Restarts:
    return Restarts(cluster, operators, prober, namespace)


def claim(namespace: str, name: str, mode: str = "ReadWriteOnce") -> dict[str, Any]:
    """A claim of the volume of the same name."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": [mode],
            "storageClassName": "",
            "volumeName": f"{namespace}-{name}",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def on_host(name: str) -> dict[str, Any]:
    """The rule that ties a volume to the node with that hostname."""
    expression = {"key": HOSTNAME_LABEL, "operator": "In", "values": [name]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


ON_SOME_NODE = {"local": {"path": PATH}, "nodeAffinity": on_host("some-node")}


def volume(
    namespace: str, name: str, mode: str = "ReadWriteOnce", source: Mapping[str, Any] = ON_SOME_NODE
) -> dict[str, Any]:
    """A volume that is a directory, the same for all names."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{name}", "labels": {naming.REGISTRY_NAMESPACE_LABEL: namespace}},
        "spec": {
            "accessModes": [mode],
            "storageClassName": "",
            "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": namespace, "name": name},
            **source,
        },
    }


def apply(control_plane: Cluster, *bodies: dict[str, Any]) -> None:
    for body in bodies:
        control_plane.api().apply(body, manager="kubectl")


async def are_bound(cluster: kube.ApiCluster, namespace: str, *names: str) -> None:
    """Wait until the claims have their volumes."""

    async def is_bound(name: str) -> bool:
        return bool((await cluster.get(kube.CLAIM, namespace, name))["status"]["phase"] == "Bound")

    for name in names:
        await wait_for_async(partial(is_bound, name), 30, f"claim {name} to be bound")


def registries(namespace: str, *names: str) -> list[dict[str, Any]]:
    return [registry_object(name, namespace=namespace, storage={"existingClaim": name}) for name in names]


async def test_an_operator_that_has_just_started_lets_no_second_registry_onto_a_directory(
    control_plane: Cluster, cluster: kube.ApiCluster, namespace: str, restarts: Restarts
) -> None:
    apply(control_plane, *(make(namespace, name) for name in "ab" for make in (claim, volume)))
    await are_bound(cluster, namespace, "a", "b")
    apply(control_plane, *registries(namespace, "b"))
    await restarts.look("b")
    apply(control_plane, *registries(namespace, "a"))
    with pytest.raises(BlockedError, match=f"Registry {namespace}/b keeps its images on the same volume"):
        await restarts.look("a")
    await restarts.look("b")
    assert await restarts.replicas("a") is None
    assert await restarts.replicas("b") == 1


@pytest.mark.parametrize("mode", ["ReadWriteOnce", "ReadWriteMany"])
async def test_of_two_that_are_found_on_one_directory_one_is_stopped_until_the_other_goes(
    control_plane: Cluster, cluster: kube.ApiCluster, namespace: str, restarts: Restarts, mode: str
) -> None:
    """Their claims are bound only after their Deployments are made. With ReadWriteMany nobody but us sets replicas."""
    apply(control_plane, *(claim(namespace, name, mode) for name in "ab"), *registries(namespace, "a", "b"))
    for name in "ab":
        await restarts.look(name)
        assert await restarts.replicas(name) == 1
    apply(control_plane, *(volume(namespace, name, mode) for name in "ab"))
    await are_bound(cluster, namespace, "a", "b")
    with pytest.raises(BlockedError, match=f"Registry {namespace}/a"):
        await restarts.look("b")
    await restarts.look("a")
    assert (await restarts.replicas("a"), await restarts.replicas("b")) == (1, 0)

    body = await cluster.get(kube.REGISTRY, namespace, "a")
    await cluster.delete(kube.REGISTRY, namespace, "a", uid=body["metadata"]["uid"])
    await restarts.look("b")
    assert await restarts.replicas("b") == 1


async def test_images_that_are_to_be_kept_are_kept_by_a_registry_that_waits_for_a_port(
    control_plane: Cluster, cluster: kube.ApiCluster, namespace: str, restarts: Restarts
) -> None:
    storage = {"size": "1Gi", "deletionPolicy": "Delete"}
    first = registry_object("first", namespace=namespace, storage={"ephemeral": {}}, access={"nodePort": {}})
    second = registry_object("second", namespace=namespace, storage=storage)
    apply(control_plane, first, second)
    for name in ("first", "second"):
        await restarts.look(name)
    kept = naming.claim_name("second")
    assert (await cluster.get(kube.CLAIM, namespace, kept))["metadata"]["ownerReferences"]

    port = (await cluster.get(kube.SERVICE, namespace, "first"))["spec"]["ports"][0]["nodePort"]
    second["spec"] = {"storage": {**storage, "deletionPolicy": "Retain"}, "access": {"nodePort": {"port": port}}}
    apply(control_plane, second)
    with pytest.raises(BlockedError, match=f"Registry {namespace}/first serves .*:{port}"):
        await restarts.look("second")
    assert "ownerReferences" not in (await cluster.get(kube.CLAIM, namespace, kept))["metadata"]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param({"local": {"path": PATH}, "nodeAffinity": on_host(HOSTNAME)}, id="hostname"),
        pytest.param({"hostPath": {"path": f"/{PATH}/docker/"}}, id="any node"),
    ],
)
async def test_a_directory_is_recognised_where_a_volume_calls_its_node_otherwise_or_not_at_all(
    control_plane: Cluster,
    cluster: kube.ApiCluster,
    namespace: str,
    restarts: Restarts,
    source: dict[str, Any],
) -> None:
    """A node's label kubernetes.io/hostname is not its name on EC2; a hostPath volume need not name a node."""
    apply(control_plane, registry_object(namespace=namespace, storage=STORAGE))
    await restarts.look("main")
    apply(control_plane, claim(namespace, "second"), volume(namespace, "second", source=source))
    await are_bound(cluster, namespace, "second")
    apply(control_plane, *registries(namespace, "second"))
    with pytest.raises(BlockedError, match=f"Registry {namespace}/main keeps its images on the same volume, in .* of"):
        await restarts.look("second")
    assert await restarts.replicas("second") is None
