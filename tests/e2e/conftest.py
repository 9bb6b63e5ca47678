"""What tests of passes on a real API server share: the server as an administrator and as the operator have it."""

import copy
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from regkeeper import kube
from regkeeper.distribution import open_session
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.endpoints import Prober
from regkeeper.reconcile.trust.questions import Questioner
from tests.chart_account import (
    apply_account,
    await_confinement,
    delete_account,
    operator_account,
    user_of,
    write_kubeconfig,
)
from tests.cluster import Cluster
from tests.cluster.fixtures import in_common
from tests.e2e import directories, tenant
from tests.e2e.asker import Asker, is_refused
from tests.e2e.operated_room import Operated, OperatedRoom
from tests.e2e.refused_objects import FIRST_OF_EACH_POLICY
from tests.e2e.retention_bench import RetentionBench
from tests.e2e.trust_stage import AgentsAccount, Stage
from tests.fake_agents import fake_agents
from tests.operator_process import a_namespace, operator_process
from tests.room import AUTOSCALER
from tests.waiting import wait_for

_LONGEST = Path(__file__).with_name("test_chart.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest file: near the end, it kept one of two workers a minute longer than the other."""
    items.sort(key=lambda item: item.path != _LONGEST)


async def _connected(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, connections: AsyncExitStack) -> kube.ApiCluster:
    with monkeypatch.context() as environment:
        environment.setenv("KUBECONFIG", str(kubeconfig))
        return await connections.enter_async_context(kube.connect())


@pytest.fixture
async def cluster(control_plane: Cluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[kube.ApiCluster]:
    """The API server as an administrator has it, who plays everybody but the operator."""
    async with AsyncExitStack() as connections:
        yield await _connected(control_plane.kubeconfig, monkeypatch, connections)


@dataclass(frozen=True)
class Account:
    """The operator's account, as the chart makes it."""

    kubeconfig: Path
    take_namespace: Callable[[], str]
    """Gives the name of another namespace that may have the directories of `directories.py`."""


@pytest.fixture(scope="session")
def account(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """Its rights, and the admission policies that confine it, for the passes that tests make themselves.

    One for all workers, since as long as they are there, every write of anybody is held against its policies.
    """
    values = {"localStorage": directories.local_storage()}
    release = f"passes-{directories.RUN}"
    make = partial(apply_account, control_plane, values, release=release)
    folder = tmp_path_factory.mktemp("account")
    # That of the whole run, where there are several workers.
    taken = folder.parents[1] if "PYTEST_XDIST_WORKER" in os.environ else folder
    with in_common(release, make, partial(delete_account, control_plane)) as made:
        write_kubeconfig(control_plane, made, folder / "kubeconfig")
        await_confinement(control_plane, made)
        yield Account(folder / "kubeconfig", partial(directories.take_namespace, taken))


@pytest.fixture
async def operators(account: Account, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[kube.ApiCluster]:
    """The API server as the operator has it: with its service account's rights, and confined by the policies."""
    async with AsyncExitStack() as connections:
        yield await _connected(account.kubeconfig, monkeypatch, connections)


@pytest.fixture(scope="session")
def confined(control_plane: Cluster) -> Iterator[Asker]:
    """The account of the tenant's operator, for what tests ask without making it; no operator runs."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant.TENANT}}
    control_plane.api().create(namespace)
    made = apply_account(control_plane, {"localStorage": [tenant.RULE]}, release=tenant.RELEASE)
    asker = Asker(control_plane, tenant.OPERATOR, tenant.TENANT)
    # A policy works from a moment after its making.
    for body, change, message in FIRST_OF_EACH_POLICY:
        changed = copy.deepcopy(body)
        change(changed)
        wait_for(partial(is_refused, asker, changed, message), 30, f"the policy that says: {message}")
    yield asker
    delete_account(control_plane, made)
    control_plane.drop_namespace(tenant.TENANT)


@pytest.fixture(scope="session")
def node(control_plane: Cluster) -> Iterator[str]:
    """The node of `directories.py`; nobody runs it."""
    control_plane.api().apply(directories.node(), manager="kubectl")
    yield directories.NODE
    control_plane.api().delete(kube.NODE.path(None, directories.NODE))


@pytest.fixture
def local_namespace(control_plane: Cluster, account: Account, node: str) -> Iterator[str]:
    """A namespace of a test's own that may have the directories."""
    with a_namespace(control_plane, name=account.take_namespace()) as name:
        yield name


@pytest.fixture
def local_namespaces(control_plane: Cluster, account: Account, node: str) -> Iterator[list[str]]:
    """Four of them, for what a test does at the same time."""
    with ExitStack() as namespaces:
        names = [account.take_namespace() for _ in range(4)]
        yield [namespaces.enter_context(a_namespace(control_plane, name=name)) for name in names]


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with open_session() as session:
        yield Prober(session, session)


@pytest.fixture
def bench(cluster: kube.ApiCluster, operators: kube.ApiCluster, prober: Prober, local_namespace: str) -> RetentionBench:
    """A Registry `main` and its ImageRetentions, in a namespace of their own."""
    return RetentionBench(cluster, operators, prober, Key(local_namespace, "main"))


@pytest.fixture(scope="module")
def operated(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """An operator of one namespace alone, so that others on the same API server go their own ways."""
    with a_namespace(control_plane, "operated") as namespace:
        directory = tmp_path_factory.mktemp("operator")
        kubeconfig = directory / "kubeconfig"
        # A short resync, so that what happens at one happens in these tests.
        settings = {"REGKEEPER_RESYNC_SECONDS": "2", "REGKEEPER_WATCH_NAMESPACES": json.dumps([namespace])}
        with (
            operator_account(control_plane, kubeconfig, {"watchNamespaces": [namespace]}, release=namespace) as made,
            operator_process(kubeconfig, directory, settings) as process,
        ):
            yield Operated(process, namespace, user_of(made))


@pytest.fixture
def room(control_plane: Cluster, operated: Operated) -> Iterator[OperatedRoom]:
    """Its namespace, empty before each test."""
    room = OperatedRoom(control_plane, operated)
    yield room
    room.clear(kube.REGISTRY, propagation="Foreground")
    room.clear(AUTOSCALER, kube.DEPLOYMENT, kube.CLAIM, kube.SERVICE, kube.CONFIG_MAP, kube.EVENT)


@pytest.fixture(scope="session")
def keepers_account(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentsAccount]:
    """The operator's account, for passes over nodes."""
    release = f"keeper-{uuid4().hex[:6]}"
    agents_namespace = f"{release}-nodes"
    trust = {"agentsNamespace": agents_namespace, "localRegistryHosting": "default/main"}
    image = {"repository": "regkeeper", "tag": "dev"}
    kubeconfig = tmp_path_factory.mktemp("keeper") / "kubeconfig"
    with operator_account(control_plane, kubeconfig, {"image": image, "trust": trust}, release=release) as made:
        await_confinement(control_plane, made)
        yield AgentsAccount(kubeconfig, agents_namespace)


@pytest.fixture
async def stage(
    control_plane: Cluster, cluster: kube.ApiCluster, keepers_account: AgentsAccount, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """Three nodes of a test's own. Agents are on those of all stages: one is set at a time (xdist_group "stage")."""
    monkeypatch.setenv("KUBECONFIG", str(keepers_account.kubeconfig))
    async with kube.connect() as operators, fake_agents() as agents, open_session(keep_alive=False) as session:
        questioner = Questioner(session, port=agents.port)
        stage = Stage(control_plane, cluster, operators, keepers_account.agents_namespace, agents, questioner)
        await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.namespace}})
        for number in (1, 2, 3):
            await stage.add_node(number)
        yield stage
        await stage.keeper.close()
        async for registry in cluster.list(kube.REGISTRY, stage.namespace):
            name = registry["metadata"]["name"]
            await cluster.patch(kube.REGISTRY, stage.namespace, name, {"metadata": {"finalizers": None}})
        stage.clear()
