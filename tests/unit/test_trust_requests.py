"""What can't be known of a Registry at the moment makes no node forget."""

from typing import Any, cast

import pytest

from regkeeper import kube, naming
from regkeeper.reconcile.conditions import State
from regkeeper.reconcile.nodes import Nodes
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.store import Store
from regkeeper.reconcile.trust.farewell import Farewell
from regkeeper.reconcile.trust.requests import RequestReader, Requests
from regkeeper.reconcile.trust.status import TrustStatusWriter
from regkeeper.settings import Settings, TrustSettings
from tests.registry_objects import registry_object

FORBIDDEN = kube.ForbiddenError("RBAC says no", code=403)
CONFLICT = kube.ConflictError("it changed", code=409)


class Stage:
    """One Registry, and an API server that refuses what is asked about it."""

    def __init__(self, *, trusted: bool, held: bool, namespace: str = "images") -> None:
        body: dict[str, Any] = registry_object(namespace=namespace, access={"hostPort": {"port": 5000}})
        body["metadata"] |= {"uid": "uid", "resourceVersion": "1"}
        if held:
            body["metadata"]["finalizers"] = [naming.NODE_TRUST_FINALIZER]
        body["status"] = {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "HostPort", "host": "k8smaster:5000"}],
            "trustedHosts": ["k8smaster:5000"] if trusted else [],
        }
        self.refusing: dict[str, Exception] = {}
        self.store = Store()
        self.store.put(body)

    async def address(self, node: str) -> str | None:
        self._answer("address")
        return None

    async def hold(self, body: kube.Object) -> None:
        self._answer("hold")

    async def free(self, body: kube.Object) -> None:
        self._answer("free")

    async def state(self, body: kube.Object, state: State) -> None:
        self._answer("state")

    def _answer(self, question: str) -> None:
        if question in self.refusing:
            raise self.refusing[question]

    async def read(self, **refusing: Exception) -> Requests:
        self.refusing = refusing
        reader = RequestReader(
            store=self.store,
            settings=Settings(trust=TrustSettings(namespaces=("images",))),
            nodes=cast(Nodes, self),
            status=cast(TrustStatusWriter, self),
            farewell=cast(Farewell, self),
            again=lambda: None,
        )
        return await reader.read(None)


@pytest.mark.parametrize("error", [FORBIDDEN, CONFLICT])
@pytest.mark.parametrize(("trusted", "held"), [(True, True), (False, True), (True, False)])
async def test_a_refused_question_about_a_trusted_registry_is_a_doubt(
    error: Exception, trusted: bool, held: bool
) -> None:
    requests = await Stage(trusted=trusted, held=held).read(address=error)
    assert (requests.wishes, requests.leaving, requests.in_doubt) == ({}, [], True)


async def test_a_refused_question_about_a_registry_that_no_node_trusts_holds_up_nobody() -> None:
    assert not (await Stage(trusted=False, held=False).read(address=FORBIDDEN)).in_doubt
    tenants = Stage(trusted=False, held=True, namespace="tenant")
    assert not (await tenants.read(free=FORBIDDEN)).in_doubt, "a tenant can put our finalizer there"


async def test_a_finalizer_that_is_refused_is_a_doubt_though_its_status_is_refused_too() -> None:
    assert (await Stage(trusted=False, held=False).read(hold=FORBIDDEN, state=FORBIDDEN)).in_doubt


async def test_what_is_known_is_no_doubt() -> None:
    requests = await Stage(trusted=True, held=True).read()
    assert (list(requests.wishes), requests.leaving, requests.in_doubt) == ([Key("images", "main")], [], False)
