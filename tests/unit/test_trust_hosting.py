"""Which Registry is named in kube-public: the one of the setting, where it may change nodes.

Proves of nodes.md: "KEP-1755 follows the same rule".
"""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust.hosting import LocalRegistryHosting
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.settings import Settings, TrustSettings
from tests.registry_objects import registry_object


class Cluster:
    """The one ConfigMap, as somebody left it."""

    def __init__(self, live: kube.Object | None) -> None:
        self.live = live

    async def get(self, *_: object) -> kube.Object:
        if self.live is None:
            raise kube.NotFoundError("none", code=404)
        return self.live

    async def apply(self, body: kube.Object, *, force: bool) -> kube.Object:
        self.live = body
        return body

    async def delete(self, *_: object, uid: str) -> None:
        assert self.live is not None
        assert self.live["metadata"]["uid"] == uid
        self.live = None


async def is_named(*namespaces: str, live: kube.Object | None = None) -> bool:
    """Whether the Registry images/main, which nodes trusted, is named if these namespaces may change nodes."""
    body = registry_object("main", namespace="images", access={"hostPort": {"port": 5000}})
    body["metadata"]["resourceVersion"] = "1"
    addresses = [{"type": "HostPort", "host": "k8smaster:5000"}]
    body["status"] = {"addresses": addresses, "trustedHosts": ["k8smaster:5000"]}
    store, fake = Store(), Cluster(live)
    store.put(body)
    cluster = cast(kube.Cluster, fake)
    settings = Settings(trust=TrustSettings(namespaces=namespaces, local_registry_hosting="images/main"))
    now = lambda: datetime.now(UTC)  # noqa: E731
    status = TrustStatusWriter(cluster, store, StatusWriter(cluster, store, now), now)
    await LocalRegistryHosting(cluster, store, settings, status, lambda: 0.0).look()
    return fake.live is not None


async def test_a_namespace_that_may_change_nodes_is_named() -> None:
    assert await is_named("images")


@pytest.mark.parametrize("namespaces", [(), ("other",)])
async def test_a_namespace_that_may_not_change_nodes_is_not_named(namespaces: tuple[str, ...]) -> None:
    assert not await is_named(*namespaces)
    ours: dict[str, Any] = {"metadata": {"uid": "uid", "labels": dict(naming.MANAGED_BY)}}
    assert not await is_named(*namespaces, live=ours), "what it was told of while it was allowed goes"
