"""A pass that is cut off, refused or left without an answer at any of its writes ends in the same state."""

import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.errors import InvalidSpecError
from regkeeper.reconcile.addresses import Prober
from regkeeper.reconcile.queue import Key
from tests.cluster import Cluster
from tests.e2e.faults import NODE, Bench, Fault, FaultyCluster, is_gone
from tests.operator_process import a_namespace, install_crds
from tests.registry_objects import registry_object
from tests.waiting import wait_for_async

pytestmark = pytest.mark.control_plane


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[str]:
    install_crds(control_plane)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}}
    control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(node))
    with a_namespace(control_plane, "faults") as name:
        yield name
    control_plane.kubectl("delete", "node", NODE)


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_fault_at_every_write_ends_in_the_same_state(
    fault: Fault, namespace: str, cluster: kube.ApiCluster, prober: Prober
) -> None:
    expected = await _made(Bench(cluster, prober, Key(namespace, "undisturbed")))
    assert expected["objects"] == [
        "ConfigMap",
        "Deployment",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Secret",
        "Service",
    ]
    at, disturbed = 1, True
    while disturbed:
        bench = Bench(cluster, prober, Key(namespace, f"write-{at}"))
        await _create(bench)
        disturbed = await bench.disturbed(fault, at)
        assert await bench.settled_state() == expected, f"{fault} at write {at}"
        at += 1
    assert at > 8, "fewer writes than there are objects: this test no longer sees them"


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_fault_at_a_deletion_leaves_nothing(
    fault: Fault, namespace: str, cluster: kube.ApiCluster, prober: Prober
) -> None:
    at, disturbed = 1, True
    while disturbed:
        bench = Bench(cluster, prober, Key(namespace, f"gone-{at}"))
        await _made(bench)
        body = await cluster.get(kube.REGISTRY, *bench.key)
        await cluster.delete(kube.REGISTRY, *bench.key, uid=body["metadata"]["uid"])
        disturbed = await bench.disturbed(fault, at)
        await bench.settle()
        # The volume controller lets go of claim and volume in its own time.
        for resource, namespace_of, name in (
            (kube.REGISTRY, namespace, bench.key.name),
            (kube.CLAIM, namespace, naming.claim_name(bench.key.name)),
            (kube.VOLUME, None, naming.persistent_volume_name(*bench.key)),
        ):
            gone = partial(is_gone, cluster, resource, namespace_of, name)
            await wait_for_async(gone, 30, f"the end of {resource.kind} {name} after {fault} at write {at}")
        at += 1
    assert at > 3


class LaterVersion(FaultyCluster):
    """A real cluster whose Registries have a field of a later version of their CRD."""

    def __init__(self, cluster: kube.ApiCluster) -> None:
        super().__init__(cluster)
        self.list = self._list

    async def _list(self, resource: kube.Resource, *arguments: Any, **options: Any) -> AsyncIterator[kube.Object]:
        async for body in self._cluster.list(resource, *arguments, **options):
            if resource is kube.REGISTRY:
                body["spec"]["ofALaterVersion"] = True
            yield body


async def test_a_registry_that_this_version_can_not_read_can_be_deleted(
    namespace: str, cluster: kube.ApiCluster, prober: Prober
) -> None:
    bench = Bench(cluster, prober, Key(namespace, "later"))
    await _made(bench)
    later = LaterVersion(cluster)
    with pytest.raises(InvalidSpecError, match="ofALaterVersion"):
        await bench.operator(later).look(bench.key.name)
    body = await cluster.get(kube.REGISTRY, *bench.key)
    await cluster.delete(kube.REGISTRY, *bench.key, uid=body["metadata"]["uid"])
    await bench.operator(later).look(bench.key.name)
    for resource, namespace_of, name in (
        (kube.REGISTRY, namespace, bench.key.name),
        (kube.VOLUME, None, naming.persistent_volume_name(*bench.key)),
    ):
        gone = partial(is_gone, cluster, resource, namespace_of, name)
        await wait_for_async(gone, 30, f"the end of {resource.kind} {name}")


async def test_a_volume_whose_claim_went_is_bound_again(
    namespace: str, cluster: kube.ApiCluster, prober: Prober
) -> None:
    bench = Bench(cluster, prober, Key(namespace, "kept"))
    await _made(bench)
    # As after an uninstall: our finalizer is off, and the Registry goes without an operator.
    await cluster.patch(kube.REGISTRY, *bench.key, {"metadata": {"finalizers": None}})
    volume = naming.persistent_volume_name(*bench.key)
    before = await cluster.get(kube.VOLUME, None, volume)
    for resource, name in ((kube.REGISTRY, "kept"), (kube.CLAIM, naming.claim_name("kept"))):
        body = await cluster.get(resource, namespace, name)
        await cluster.delete(resource, namespace, name, uid=body["metadata"]["uid"])
    for resource, name in (
        (kube.CLAIM, naming.claim_name("kept")),
        (kube.CONFIG_MAP, naming.config_map_name("kept")),
        (kube.SERVICE, "kept"),
        (kube.DEPLOYMENT, "kept"),
    ):
        gone = partial(is_gone, cluster, resource, namespace, name)
        await wait_for_async(gone, 60, f"the garbage collector to take {resource.kind} {name}")
    again = await _made(bench)
    assert ("StorageReady", "True", "Bound") in again["conditions"]
    after = await cluster.get(kube.VOLUME, None, volume)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["claimRef"]["uid"] != before["spec"]["claimRef"]["uid"]


async def _create(bench: Bench) -> None:
    namespace, name = bench.key
    storage = {"local": {"node": NODE, "path": f"/srv/{name}"}}
    await bench.cluster.create(registry_object(name, namespace=namespace, storage=storage))


async def _made(bench: Bench) -> dict[str, Any]:
    await _create(bench)
    return await bench.settled_state()
