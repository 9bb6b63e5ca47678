"""A running operator and its ImageRetentions on a control plane: whatever changes wakes the passes that it concerns."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from regkeeper import kube
from regkeeper.distribution import open_session
from regkeeper.handlers.operator import Operator
from regkeeper.handlers.watches import Watches
from regkeeper.reconcile.registry.endpoints import Prober
from regkeeper.reconcile.trust.questions import Questioner
from regkeeper.resources.lease import Stage
from tests.cluster import Cluster
from tests.e2e.conftest import Account
from tests.e2e.directories import NODE, settings
from tests.e2e.retention_bench import DONE, KEEP_TWO, SWITCH, RetentionBench
from tests.operator_process import OperatorProcess, operator_process
from tests.waiting import wait_for_async

pytestmark = pytest.mark.control_plane

SOON = 30  # seconds; takes three on a quiet machine


@pytest.fixture
def operator(bench: RetentionBench, account: Account, tmp_path: Path) -> Iterator[OperatorProcess]:
    """One of the bench's namespace."""
    rules = [rule.model_dump(mode="json") for rule in settings(*bench.key).local_storage]
    environment = {
        "REGKEEPER_WATCH_NAMESPACES": json.dumps([bench.key.namespace]),
        "REGKEEPER_LOCAL_STORAGE": json.dumps(rules),
    }
    with operator_process(account.kubeconfig, tmp_path, environment) as process:
        yield process


def bind(control_plane: Cluster, pod: kube.Object, node: str) -> None:
    """Assign a pod to a node, as the scheduler does."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    control_plane.api().post(f"{kube.POD.path(namespace, name)}/binding", binding)


async def until(bench: RetentionBench, holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Play the kubelet until something holds."""

    async def step() -> bool:
        await bench.kubelet.step()
        return await holds()

    await wait_for_async(step, SOON, what)


@pytest.mark.usefixtures("operator")
async def test_a_registry_that_serves_again_last_of_all_is_told_of(bench: RetentionBench) -> None:
    """Nothing else changes any more then: what the operator itself writes about the Registry is no news to it."""
    bench.kubelet.script = lambda _: (SWITCH, None)
    await bench.make(**KEEP_TWO)

    async def is_running() -> bool:
        return await bench.stage() == Stage.RUNNING

    await until(bench, is_running, "the run to begin")
    bench.kubelet.starts = False
    bench.kubelet.script = lambda _: (SWITCH, DONE)

    async def is_all_but_served() -> bool:
        said = await bench.condition_of_registry("Reconciling")
        return await bench.is_at_rest("Done") and said.get("reason") == "Progressing"

    await until(bench, is_all_but_served, "all to have happened but that the next pod serves")
    assert "resumedAfter" not in (await bench.status())["lastRun"]
    bench.kubelet.starts = True

    async def is_told() -> bool:
        return "resumedAfter" in (await bench.status())["lastRun"]

    await until(bench, is_told, "the status to say when it served as before")


@pytest.mark.usefixtures("operator")
async def test_a_registry_whose_runs_left_pods_is_deleted_and_made_anew(
    bench: RetentionBench, control_plane: Cluster
) -> None:
    """Kubernetes keeps a claim that is deleted while a pod names it, be it one that has ended. Those of runs stay for
    their logs, and the next Registry of the name waited for the claim as long.
    """
    await bench.make(**KEEP_TWO)

    async def has_run() -> bool:
        return await bench.is_at_rest("Done")

    await until(bench, has_run, "a run to end")
    claim = await bench.need(kube.CLAIM, bench.claim)
    async for pod in bench.cluster.list(kube.POD, bench.key.namespace, label_selector="job-name"):
        # Only such a pod counts. Nobody schedules here.
        bind(control_plane, pod, NODE)
    registry = await bench.need(kube.REGISTRY, "main")
    await bench.cluster.delete(kube.REGISTRY, *bench.key, uid=registry["metadata"]["uid"])

    async def is_gone() -> bool:
        return await bench.get(kube.REGISTRY, "main") is None

    await until(bench, is_gone, "the Registry to go")
    await bench.make_registry()

    async def is_back() -> bool:
        found = await bench.get(kube.CLAIM, bench.claim)
        return found is not None and found["metadata"]["uid"] != claim["metadata"]["uid"]

    await until(bench, is_back, "the next Registry to have a claim of its own")
    assert (await bench.status())["lastRun"]["outcome"] == "Done"


@pytest.fixture
async def blind_operator(
    bench: RetentionBench, operators: kube.ApiCluster, prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """One whose watches show nothing, as after kopf#204: it has only the listings that check them."""

    async def see_nothing(_: Watches) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Watches, "run", see_nothing)
    chosen = {"watch_namespaces": (bench.key.namespace,), "resync_seconds": 1}
    async with open_session(keep_alive=False) as session:
        operator = Operator(
            operators,
            settings(*bench.key).model_copy(update=chosen),
            prober,
            Questioner(session),
            asyncio.get_running_loop().time,
        )
        running = asyncio.create_task(operator.run())
        await wait_for_async(lambda: operator.is_synced, SOON, "the operator to begin")
        yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.usefixtures("blind_operator")
async def test_what_a_listing_shows_of_a_registry_concerns_its_policies_too(bench: RetentionBench) -> None:
    """A listing may just be faster than the watch, which has no news then."""
    await bench.retain(**KEEP_TWO, schedule="0 0 1 1 *")

    def says(reason: str) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            return (await bench.condition("Ready")).get("reason") == reason

        return holds

    await wait_for_async(says("RegistryNotFound"), SOON, "the policy to miss its Registry")
    await bench.make_registry()
    await wait_for_async(says("Scheduled"), SOON, "the policy to have its Registry")
    registry = await bench.need(kube.REGISTRY, "main")
    await bench.cluster.delete(kube.REGISTRY, *bench.key, uid=registry["metadata"]["uid"])
    await wait_for_async(says("RegistryNotFound"), SOON, "the policy to miss its Registry again")
