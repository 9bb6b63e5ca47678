"""A pass that is cut off, refused or left without an answer at any of its writes ends in the same state."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from regkeeper import kube, naming
from regkeeper.errors import InvalidSpecError
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.endpoints import Prober
from tests.e2e.directories import local
from tests.e2e.faults import Bench, Fault, FaultyCluster, is_gone
from tests.registry_objects import registry_object
from tests.waiting import wait_for_async

pytestmark = pytest.mark.control_plane


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_fault_at_every_write_ends_in_the_same_state(
    fault: Fault, local_namespace: str, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober
) -> None:
    expected = await _made(Bench(cluster, operators, prober, Key(local_namespace, "undisturbed")))
    assert expected["objects"] == [
        "ConfigMap",
        "ConfigMap",
        "Deployment",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Secret",
        "Service",
    ]
    at, disturbed = 1, True
    while disturbed:
        bench = Bench(cluster, operators, prober, Key(local_namespace, f"write-{at}"))
        await _create(bench)
        disturbed = await bench.disturbed(fault, at)
        assert await bench.settled_state() == expected, f"{fault} at write {at}"
        at += 1
    assert at > 8, "fewer writes than there are objects: this test no longer sees them"


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_fault_at_a_deletion_leaves_nothing(
    fault: Fault, local_namespace: str, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober
) -> None:
    at, disturbed = 1, True
    while disturbed:
        bench = Bench(cluster, operators, prober, Key(local_namespace, f"gone-{at}"))
        await _made(bench)
        body = await cluster.get(kube.REGISTRY, *bench.key)
        await cluster.delete(kube.REGISTRY, *bench.key, uid=body["metadata"]["uid"])
        disturbed = await bench.disturbed(fault, at)
        await bench.settle()
        # The volume controller lets go of claim and volume in its own time.
        for resource, namespace_of, name in (
            (kube.REGISTRY, local_namespace, bench.key.name),
            (kube.CLAIM, local_namespace, naming.claim_name(bench.key.name)),
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
    local_namespace: str, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober
) -> None:
    bench = Bench(cluster, operators, prober, Key(local_namespace, "later"))
    await _made(bench)
    later = LaterVersion(operators)
    with pytest.raises(InvalidSpecError, match="ofALaterVersion"):
        await bench.operator(later).look(bench.key.name)
    body = await cluster.get(kube.REGISTRY, *bench.key)
    await cluster.delete(kube.REGISTRY, *bench.key, uid=body["metadata"]["uid"])
    await bench.operator(later).look(bench.key.name)
    for resource, namespace_of, name in (
        (kube.REGISTRY, local_namespace, bench.key.name),
        (kube.VOLUME, None, naming.persistent_volume_name(*bench.key)),
    ):
        gone = partial(is_gone, cluster, resource, namespace_of, name)
        await wait_for_async(gone, 30, f"the end of {resource.kind} {name}")


async def test_a_volume_whose_claim_went_is_bound_again_whatever_fault_that_meets(
    local_namespace: str, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober
) -> None:
    undisturbed, *others = (
        Bench(cluster, operators, prober, Key(local_namespace, f"kept-{number}")) for number in range(2 + len(Fault))
    )
    before = {bench: await _leave_its_volume(bench) for bench in (undisturbed, *others)}
    for bench in before:
        await _await_the_garbage_collector(bench)
        await _create(bench)
    writes = await undisturbed.settle()
    expected = await undisturbed.settled_state()
    assert ("StorageReady", "True", "Bound") in expected["conditions"]
    before_it = writes.index("patch PersistentVolume")
    assert before_it > 0
    faults = [(Fault.CRASH_AFTER, before_it), *((fault, before_it + 1) for fault in Fault)]
    for (fault, at), bench in zip(faults, others, strict=True):
        assert await bench.disturbed(fault, at)
        assert await bench.settled_state() == expected, f"{fault} at write {at}"
    for left in before.values():
        after = await cluster.get(kube.VOLUME, None, left["metadata"]["name"])
        assert after["metadata"]["uid"] == left["metadata"]["uid"]
        assert after["spec"]["claimRef"]["uid"] != left["spec"]["claimRef"]["uid"]


class ClaimsBehind(FaultyCluster):
    """A real cluster whose claims are not listed any more: who has seen one goes on seeing it."""

    def __init__(self, cluster: kube.ApiCluster) -> None:
        super().__init__(cluster)
        self.is_behind = False
        self.list = self._list

    async def _list(self, resource: kube.Resource, *arguments: Any, **options: Any) -> AsyncIterator[kube.Object]:
        async for body in self._cluster.list(resource, *arguments, **options):
            if not (self.is_behind and resource is kube.CLAIM):
                yield body


async def test_an_operator_whose_watch_is_behind_takes_no_volume_from_the_next_claim(
    local_namespace: str, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober
) -> None:
    """As one that is told to stop, whose watches end before its passes, beside the next one: the claim was Lost."""
    bench = Bench(cluster, operators, prober, Key(local_namespace, "main"))
    await _made(bench)
    seen = ClaimsBehind(operators)
    behind = bench.operator(seen)
    await behind.look("main")
    seen.is_behind = True
    await _delete_all_but_its_volume(bench)
    await _await_the_garbage_collector(bench)
    await _create(bench)
    await bench.settle()
    await bench.settled_state()
    claim = await cluster.get(kube.CLAIM, local_namespace, naming.claim_name("main"))
    await behind.look("main")
    volume = await cluster.get(kube.VOLUME, None, naming.persistent_volume_name(*bench.key))
    assert volume["spec"]["claimRef"].get("uid") == claim["metadata"]["uid"]


async def test_a_claim_that_lost_its_volume_gets_it_back(
    local_namespace: str, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober
) -> None:
    """Kubernetes binds a claim once: a Registry waited for ever where its volume had been released, or made anew."""
    bench = Bench(cluster, operators, prober, Key(local_namespace, "main"))
    expected = await _made(bench)
    released = {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
    await cluster.patch(kube.VOLUME, None, naming.persistent_volume_name(*bench.key), released)

    async def is_lost() -> bool:
        claim = await cluster.get(kube.CLAIM, local_namespace, naming.claim_name("main"))
        return bool(claim["status"]["phase"] == "Lost")

    await wait_for_async(is_lost, 30, "the claim to lose its volume")
    await bench.settle()
    assert await bench.settled_state() == expected


async def test_a_registry_that_is_made_again_does_not_wait_for_what_no_watch_said_has_gone(
    local_namespace: str, cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober
) -> None:
    """A watch that begins anew shows what is there, as these passes do, and never what went meanwhile."""
    bench = Bench(cluster, operators, prober, Key(local_namespace, "again"))
    storage = {"size": "1Gi", "deletionPolicy": "Delete"}
    operator = bench.operator(operators)
    made = await cluster.create(registry_object("again", namespace=local_namespace, storage=storage))
    await operator.look("again")
    await cluster.delete(kube.REGISTRY, *bench.key, uid=made["metadata"]["uid"])
    await _await_the_garbage_collector(bench)
    again = await cluster.create(registry_object("again", namespace=local_namespace, storage=storage))
    await operator.look("again")
    for resource, name in _parts("again"):
        body = await cluster.get(resource, local_namespace, name)
        assert [owner["uid"] for owner in body["metadata"]["ownerReferences"]] == [again["metadata"]["uid"]]


async def _leave_its_volume(bench: Bench) -> kube.Object:
    """Make a Registry and delete it and its claim as after an uninstall, without our finalizer; its volume as left."""
    await _made(bench)
    return await _delete_all_but_its_volume(bench)


async def _delete_all_but_its_volume(bench: Bench) -> kube.Object:
    await bench.cluster.patch(kube.REGISTRY, *bench.key, {"metadata": {"finalizers": None}})
    namespace, name = bench.key
    left = await bench.cluster.get(kube.VOLUME, None, naming.persistent_volume_name(*bench.key))
    for resource, deleted in ((kube.REGISTRY, name), (kube.CLAIM, naming.claim_name(name))):
        body = await bench.cluster.get(resource, namespace, deleted)
        await bench.cluster.delete(resource, namespace, deleted, uid=body["metadata"]["uid"])
    return left


async def _await_the_garbage_collector(bench: Bench) -> None:
    for resource, name in _parts(bench.key.name):
        gone = partial(is_gone, bench.cluster, resource, bench.key.namespace, name)
        await wait_for_async(gone, 60, f"the garbage collector to take {resource.kind} {name}")


def _parts(registry: str) -> list[tuple[kube.Resource, str]]:
    """Objects of a Registry that the garbage collector takes, if nobody has deleted them."""
    return [
        (kube.CLAIM, naming.claim_name(registry)),
        *((kube.CONFIG_MAP, naming.config_map_name(registry, read_only=each)) for each in (False, True)),
        (kube.SERVICE, registry),
        (kube.DEPLOYMENT, registry),
    ]


async def _create(bench: Bench) -> None:
    namespace, name = bench.key
    await bench.cluster.create(registry_object(name, namespace=namespace, storage=local(name)))


async def _made(bench: Bench) -> dict[str, Any]:
    await _create(bench)
    return await bench.settled_state()
