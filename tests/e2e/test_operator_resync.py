"""The net under the watches, where no watch is: every change has to be found by listing alone."""

from collections.abc import Iterator

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.resync import BEHIND_SECONDS, CHILDREN, LATEST_SECONDS, Resync
from regkeeper.reconcile.store import Store, version
from tests.cluster import Cluster
from tests.e2e.conftest import Account
from tests.operator_process import a_namespace
from tests.registry_objects import registry_object

pytestmark = pytest.mark.control_plane

SECONDS = 300.0
"""Between two listings where all is well."""


class Net:
    """A resync with its store, a clock of the test's, and whom it notified."""

    def __init__(self, cluster: kube.ApiCluster, namespace: str) -> None:
        self.now = 0.0
        self.store = Store()
        self.notified: list[tuple[Key, str]] = []
        self.resync = Resync(
            cluster,
            self.store,
            kinds=(kube.REGISTRY, *CHILDREN),
            selector=naming.REGISTRY_LABEL,
            namespaces=[namespace],
            notify=lambda key, kind: self.notified.append((key, kind)),
            seconds=SECONDS,
            clock=lambda: self.now,
        )


@pytest.fixture
def namespace(control_plane: Cluster, account: Account) -> Iterator[str]:
    with a_namespace(control_plane, "resync") as name:
        yield name


@pytest.fixture
async def net(cluster: kube.ApiCluster, operators: kube.ApiCluster, namespace: str) -> Net:
    net = Net(operators, namespace)
    await cluster.create(registry_object(namespace=namespace))
    await net.resync.load()
    assert net.notified == [(Key(namespace, "main"), "Registry")]
    net.notified.clear()
    return net


async def test_nothing_is_notified_where_nothing_changed(net: Net) -> None:
    await net.resync.compare()
    assert net.notified == []
    assert net.resync.late() == []
    assert net.resync.pause() == SECONDS


async def test_a_change_that_no_watch_showed_is_found_and_ends_the_operator_in_time(
    net: Net, cluster: kube.ApiCluster, namespace: str
) -> None:
    changed = await cluster.patch(kube.REGISTRY, namespace, "main", {"spec": {"readOnly": True}})
    await net.resync.compare()
    assert net.notified == [(Key(namespace, "main"), "Registry")]
    seen = net.store.registry(Key(namespace, "main"))
    assert seen is not None
    assert seen["spec"]["readOnly"] is True
    assert net.resync.pause() == BEHIND_SECONDS
    net.now = LATEST_SECONDS
    await net.resync.compare()
    assert net.resync.late() == []
    net.now += 1
    await net.resync.compare()
    assert net.resync.late() == [f"Registry {namespace}/main"]
    net.resync.saw(changed)
    assert net.resync.pause() == SECONDS


async def test_what_was_missed_and_is_gone_since_ends_no_operator(
    net: Net, cluster: kube.ApiCluster, namespace: str
) -> None:
    """As pods come and go while the API server is away: no watch will ever show what went before it began."""
    metadata = {"name": "main-config", "namespace": namespace, "labels": naming.object_labels("main")}
    made = await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    await net.resync.compare()
    await cluster.delete(kube.CONFIG_MAP, namespace, "main-config", uid=made["metadata"]["uid"])
    net.now = LATEST_SECONDS + 1
    assert net.resync.late() == [], "no listing has it any more"
    await net.resync.compare()
    assert net.resync.pause() == SECONDS


async def test_a_backup_that_was_restored_is_taken_for_the_truth(
    net: Net, operators: kube.ApiCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its versions are older than those that were seen, which no watch would show either.

    The Registry is never out of the store: to the pass over nodes that would be one that nodes have to forget.
    """
    key = Key(namespace, "main")
    get, there = operators.get, []

    async def look_and_get(resource: kube.Resource, namespace: str | None, name: str) -> kube.Object:
        there.append(net.store.registry(key) is not None)
        return await get(resource, namespace, name)

    monkeypatch.setattr(operators, "get", look_and_get)
    known = net.store.registry(key)
    assert known is not None
    later = {**known["metadata"], "resourceVersion": str(version(known) + 1000)}
    net.store.put({**known, "metadata": later, "spec": {**known["spec"], "readOnly": True}})
    await net.resync.compare()
    restored = net.store.registry(key)
    assert restored is not None
    assert restored["spec"]["readOnly"] is False
    assert there == [True]
    assert net.notified == [(key, "Registry")]
    net.now = LATEST_SECONDS + 1
    assert net.resync.late() == []


async def test_what_is_gone_and_what_is_new_is_found(net: Net, cluster: kube.ApiCluster, namespace: str) -> None:
    key = Key(namespace, "main")
    metadata = {"name": "main-config", "namespace": namespace, "labels": naming.object_labels("main")}
    made = await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    await net.resync.compare()
    assert net.notified == [(key, "ConfigMap")]
    assert net.store.children(key, kube.CONFIG_MAP) != []
    await cluster.delete(kube.CONFIG_MAP, namespace, made["metadata"]["name"], uid=made["metadata"]["uid"])
    await net.resync.compare()
    assert net.notified == [(key, "ConfigMap")] * 2
    assert net.store.children(key, kube.CONFIG_MAP) == []
    registry = await cluster.get(kube.REGISTRY, *key)
    await cluster.delete(kube.REGISTRY, *key, uid=registry["metadata"]["uid"])
    await net.resync.compare()
    assert net.notified[2:] == [(key, "Registry")]
    assert net.store.registry(key) is None
