"""What the API server says of an object may be overtaken by a watch; a listing that failed is made again soon.

tests/e2e/test_operator_resync.py has the listings of a real one.
"""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.resync import BEHIND_SECONDS, Resync
from regkeeper.reconcile.store import Store
from tests.registry_objects import a_registry
from tests.retention_passes import KEY, PlayedCluster

SECONDS = 300.0


class OvertakenCluster(PlayedCluster):
    """By the time that one hears of it that an object is gone, a watch has shown another one of its name."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self.refuses = False

    async def list(self, resource: kube.Resource, *_: Any, **__: Any) -> AsyncIterator[kube.Object]:
        if self.refuses:
            raise kube.TransientError("later", code=429)
        async for body in super().list(resource):
            yield body

    async def get(self, resource: kube.Resource, namespace: str | None, name: str) -> kube.Object:
        self._store.put(self.put(service("another")))
        raise kube.NotFoundError(name, code=404)


def service(uid: str, **metadata: Any) -> kube.Object:
    labels = naming.object_labels(KEY.name)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "main", "labels": labels, "uid": uid, **metadata},
    }


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def cluster(store: Store) -> OvertakenCluster:
    return OvertakenCluster(store)


@pytest.fixture
def resync(cluster: OvertakenCluster, store: Store) -> Resync:
    return Resync(
        cast(kube.Cluster, cluster),
        store,
        kinds=(kube.SERVICE,),
        selector=naming.REGISTRY_LABEL,
        namespaces=[],
        notify=lambda *_: None,
        seconds=SECONDS,
        clock=lambda: 0.0,
    )


def uid_of_service(store: Store) -> str | None:
    known = store.get(kube.SERVICE, KEY.namespace, "main")
    return None if known is None else known["metadata"]["uid"]


async def test_what_is_there_anew_when_a_listing_hears_that_it_is_gone_stays_known(
    cluster: OvertakenCluster, store: Store, resync: Resync
) -> None:
    store.put(cluster.put(service("gone")))
    cluster.objects.clear()
    await resync.compare()
    assert uid_of_service(store) == "another"


async def test_what_is_there_anew_when_its_owner_hears_that_it_is_gone_stays_known(
    cluster: OvertakenCluster, store: Store
) -> None:
    store.put(cluster.put(service("gone", deletionTimestamp="2026-01-01T00:00:00Z")))
    objects = Objects(cast(kube.Cluster, cluster), store)
    assert await objects.find_of(a_registry(namespace=KEY.namespace), kube.SERVICE, KEY.namespace, "main") is None
    assert uid_of_service(store) == "another"


async def test_a_listing_that_failed_is_made_again_soon(cluster: OvertakenCluster, resync: Resync) -> None:
    assert resync.pause() == SECONDS
    cluster.refuses = True
    with pytest.raises(kube.TransientError):
        await resync.compare()
    assert resync.pause() == BEHIND_SECONDS
    cluster.refuses = False
    await resync.compare()
    assert resync.pause() == SECONDS
