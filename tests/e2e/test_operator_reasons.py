"""Reasons for which no node is needed. registry.md: "each reason is provoked for real in a test".

Those of pods and nodes: installed/test_reasons.py.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.errors import BlockedError, WaitingError
from regkeeper.reconcile.registry.endpoints import Prober
from tests.cluster import Cluster
from tests.e2e import directories
from tests.e2e.one_operator import OneOperator
from tests.registry_objects import registry_object
from tests.waiting import wait_for_async

pytestmark = pytest.mark.control_plane


class Scene:
    """A namespace, and passes over its Registry `main`, each of an operator that has just started."""

    def __init__(
        self,
        control_plane: Cluster,
        cluster: kube.ApiCluster,
        operator: Callable[[], OneOperator],
        namespace: str,
    ) -> None:
        self._control_plane = control_plane
        self.cluster = cluster
        self.namespace = namespace
        self._operator = operator

    def apply(self, *bodies: dict[str, Any]) -> None:
        for body in bodies:
            self._control_plane.api().apply(body, manager="kubectl")

    async def look(self, **spec: Any) -> None:
        """Apply the Registry and make a pass."""
        self.apply(registry_object(namespace=self.namespace, **spec))
        await self.look_again()

    async def look_again(self) -> None:
        await self._operator().look("main")

    async def condition(self, kind: str) -> dict[str, Any]:
        body = await self.cluster.get(kube.REGISTRY, self.namespace, "main")
        found: dict[str, Any] = next(each for each in body["status"]["conditions"] if each["type"] == kind)
        return found

    async def phase(self) -> str:
        """Of its claim."""
        claim = await self.cluster.get(kube.CLAIM, self.namespace, naming.claim_name("main"))
        return str(claim["status"].get("phase"))


@pytest.fixture
def scene(
    control_plane: Cluster, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober, local_namespace: str
) -> Scene:
    settings = directories.settings(local_namespace, "main")
    operator = partial(OneOperator, operators, prober, local_namespace, settings)
    return Scene(control_plane, cluster, operator, local_namespace)


async def test_no_replicas(scene: Scene) -> None:
    await scene.look(replicas=0)

    async def is_said() -> bool:
        await scene.look_again()
        return bool((await scene.condition("Ready"))["reason"] == "ScaledToZero")

    await wait_for_async(is_said, 30, "the Deployment controller to have seen it")
    ready = await scene.condition("Ready")
    assert ready["status"] == "False"
    assert "spec.replicas is 0" in ready["message"]


async def test_more_replicas_than_the_claim_that_is_there_can_have(scene: Scene) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": naming.claim_name("main"),
            "namespace": scene.namespace,
            "labels": {naming.REGISTRY_LABEL: "main"},
        },
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    scene.apply(claim)
    with pytest.raises(BlockedError, match="use a claim with the access mode ReadWriteMany") as raised:
        await scene.look(storage={"size": "1Gi", "accessModes": ["ReadWriteMany"]}, replicas=2)
    assert raised.value.reason == "ClaimNotShared"


async def test_a_node_that_is_not_there(scene: Scene, control_plane: Cluster) -> None:
    storage = directories.local("main")
    scene.apply(registry_object(namespace=scene.namespace, storage=storage))
    control_plane.api().delete(kube.NODE.path(None, directories.NODE))
    try:
        with pytest.raises(WaitingError, match=f"there is no node {directories.NODE}") as raised:
            await scene.look_again()
        assert raised.value.reason == "NodeNotFound"
    finally:
        scene.apply(directories.node())
    await scene.look_again()
    assert (await scene.condition("StorageReady"))["reason"] in ("ClaimPending", "Bound")


async def test_a_storage_class_that_is_not_there(scene: Scene) -> None:
    """Ready said that the pod had unbound immediate claims, and StorageReady that the claim was not bound yet."""
    await scene.look(storage={"size": "1Gi", "storageClassName": "fast"})
    for kind in ("StorageReady", "Ready"):
        condition = await scene.condition(kind)
        assert (condition["status"], condition["reason"]) == ("False", "StorageClassNotFound")
        assert "there is no StorageClass fast: create it" in condition["message"]


async def test_a_cluster_without_a_default_storage_class(scene: Scene) -> None:
    await scene.look(storage={"size": "1Gi"})
    for kind in ("StorageReady", "Ready"):
        condition = await scene.condition(kind)
        assert (condition["status"], condition["reason"]) == ("False", "NoDefaultStorageClass")
        assert "is-default-class=true" in condition["message"]


async def test_a_claim_that_lost_its_volume(scene: Scene) -> None:
    await scene.look(storage=directories.local("main"))

    async def is_bound() -> bool:
        return await scene.phase() == "Bound"

    await wait_for_async(is_bound, 30, "the claim to be bound")
    name = naming.persistent_volume_name(scene.namespace, "main")
    volume = await scene.cluster.get(kube.VOLUME, None, name)
    # A volume that is in use is kept by a finalizer of the volume controller's.
    await scene.cluster.delete(kube.VOLUME, None, name, uid=volume["metadata"]["uid"])
    await scene.cluster.patch(kube.VOLUME, None, name, {"metadata": {"finalizers": None}})

    async def is_lost() -> bool:
        return await scene.phase() == "Lost"

    await wait_for_async(is_lost, 30, "the claim to be lost")

    async def is_looked_at() -> bool:
        with suppress(kube.ConflictError):  # the volume controller writes to the new volume, too; another pass follows
            await scene.look_again()
            return True
        return False

    await wait_for_async(is_looked_at, 30, "a pass that nobody's write disturbs")
    storage = await scene.condition("StorageReady")
    assert (storage["status"], storage["reason"]) == ("False", "ClaimLost")
