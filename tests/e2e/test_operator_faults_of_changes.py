"""A change of the spec that meets a fault at any of its writes ends in the same state as an undisturbed one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.endpoints import Prober
from tests.cluster import Cluster
from tests.e2e.faults import Bench, Fault
from tests.operator_process import a_namespace
from tests.registry_objects import registry_object
from tests.waiting import wait_for_async

pytestmark = pytest.mark.control_plane

GROWING = "faults-growing"
"""A storage class whose claims may grow, with a volume for each that a test makes."""

SHARED = {"size": "1Gi", "accessModes": ["ReadWriteMany"]}


@dataclass(frozen=True)
class Change:
    """Two specs, the second after the first, and the write of it that this is about."""

    name: str
    before: dict[str, Any]
    after: dict[str, Any]
    write: str


CHANGES = [
    Change(
        "budget",
        {"storage": SHARED, "replicas": 1},
        {"storage": SHARED, "replicas": 2},
        "apply PodDisruptionBudget",
    ),
    Change(
        "no-budget",
        {"storage": SHARED, "replicas": 2},
        {"storage": SHARED, "replicas": 1},
        "delete PodDisruptionBudget",
    ),
    Change(
        "to-delete",
        {"storage": {"size": "1Gi"}},
        {"storage": {"size": "1Gi", "deletionPolicy": "Delete"}},
        "apply PersistentVolumeClaim",
    ),
    Change(
        "to-retain",
        {"storage": {"size": "1Gi", "deletionPolicy": "Delete"}},
        {"storage": {"size": "1Gi", "deletionPolicy": "Retain"}},
        "apply PersistentVolumeClaim",
    ),
    Change(
        "growth",
        {"storage": {"size": "1Gi", "storageClassName": GROWING}},
        {"storage": {"size": "2Gi", "storageClassName": GROWING}},
        "apply PersistentVolumeClaim",
    ),
]


class ChangedBench(Bench):
    """Makes a Registry by one spec, then passes over it with the next one."""

    def __init__(
        self, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober, key: Key, change: Change
    ) -> None:
        super().__init__(cluster, operators, prober, key)
        self._change = change

    async def change(self) -> None:
        """Bring it to rest with the first spec, then apply the second."""
        namespace, name = self.key
        storage = self._change.before["storage"]
        if storage.get("storageClassName") == GROWING:
            await self.cluster.create(_volume(namespace, naming.claim_name(name)))
        await self.cluster.create(registry_object(name, namespace=namespace, **self._change.before))
        await self.settle()
        if storage.get("storageClassName") == GROWING:
            await wait_for_async(self._is_bound, 30, f"the claim of {name}: one that is not bound can't grow")
            await self.settle()
        await self.cluster.patch(kube.REGISTRY, *self.key, {"spec": self._change.after})

    async def end(self) -> dict[str, Any]:
        """The objects and the claim, once nothing is left to write."""
        await self.settle()
        state = await self.state()
        claim = await self.cluster.get(kube.CLAIM, self.key.namespace, naming.claim_name(self.key.name))
        return {
            "objects": state["objects"],
            "observedGeneration": state["observedGeneration"],
            "owned": bool(claim["metadata"].get("ownerReferences")),
            "size": claim["spec"]["resources"]["requests"]["storage"],
        }

    async def _is_bound(self) -> bool:
        claim = await self.cluster.get(kube.CLAIM, self.key.namespace, naming.claim_name(self.key.name))
        return bool(claim["status"]["phase"] == "Bound")


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[str]:
    growing = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": GROWING},
        "provisioner": "kubernetes.io/no-provisioner",
        "allowVolumeExpansion": True,
    }
    control_plane.api().apply(growing, manager="kubectl")
    with a_namespace(control_plane, "faults-of-changes") as name:
        yield name
        control_plane.api().delete(f"{kube.VOLUME.path(None)}?labelSelector=test%3D{name}")


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, dict[str, Any]]:
    """Where each change ends that meets no fault, by its name; made by the first test that needs it."""
    return {}


@pytest.mark.parametrize(
    "change",
    # One worker has all faults of a change: where it ends undisturbed is found out once.
    [
        pytest.param(change, id=change.name, marks=pytest.mark.xdist_group(f"change-{change.name}"))
        for change in CHANGES
    ],
)
@pytest.mark.parametrize("fault", list(Fault))
async def test_every_fault_at_every_write_of_a_change_ends_in_the_same_state(
    fault: Fault,
    change: Change,
    namespace: str,
    undisturbed: dict[str, dict[str, Any]],
    cluster: kube.ApiCluster,
    operators: kube.ApiCluster,
    prober: Prober,
) -> None:
    if change.name not in undisturbed:
        bench = ChangedBench(cluster, operators, prober, Key(namespace, "undisturbed"), change)
        await bench.change()
        assert change.write in await bench.settle()
        undisturbed[change.name] = await bench.end()
    expected = undisturbed[change.name]
    at, disturbed = 1, True
    while disturbed:
        bench = ChangedBench(cluster, operators, prober, Key(namespace, f"write-{at}"), change)
        await bench.change()
        disturbed = await bench.disturbed(fault, at)
        assert await bench.end() == expected, f"{fault} at write {at}"
        at += 1
    assert at > 2, "the change wrote nothing but its status"


def _volume(namespace: str, claim: str) -> dict[str, Any]:
    """A volume for one claim; nothing mounts it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{claim}", "labels": {"test": namespace}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": namespace, "name": claim, "kind": "PersistentVolumeClaim", "apiVersion": "v1"},
            "storageClassName": GROWING,
            "hostPath": {"path": f"/nowhere/{claim}"},
        },
    }
