"""What becomes of an object whose name somebody else takes, or which somebody else rewrites, while we apply it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from regkeeper import kube, naming
from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.reconcile import conditions
from regkeeper.reconcile.objects import Objects
from regkeeper.reconcile.status import StatusWriter
from regkeeper.reconcile.store import Store
from regkeeper.resources.registry import service
from tests.cluster import Cluster
from tests.e2e.conftest import Account
from tests.operator_process import a_namespace
from tests.registry_objects import registry_object
from tests.retention_objects import retention_object

pytestmark = pytest.mark.control_plane

MOMENT = "2026-01-01T00:00:00Z"


@pytest.fixture
def namespace(control_plane: Cluster, account: Account) -> Iterator[str]:
    with a_namespace(control_plane, "objects") as name:
        yield name


@pytest.fixture
async def registry(cluster: kube.ApiCluster, namespace: str) -> Registry:
    """One that is there: the garbage collector takes at once what belongs to a Registry that is not."""
    return Registry.model_validate(await cluster.create(registry_object(namespace=namespace)))


class SlowCluster(kube.ApiCluster):
    """The real one, seen by who asked for an object before somebody else made it."""

    def __init__(self, cluster: kube.ApiCluster) -> None:
        super().__init__(cluster._client)

    async def get(self, resource: kube.Resource, namespace: str | None, name: str) -> kube.Object:
        raise kube.NotFoundError(f"{name} is not there", code=404)


class RewritingCluster(kube.ApiCluster):
    """The real one behind a webhook that has its own mind about a field, and counts what it is asked."""

    def __init__(self, cluster: kube.ApiCluster) -> None:
        super().__init__(cluster._client)
        self.applied = 0

    async def apply(self, body: kube.Object, *, force: bool) -> kube.Object:
        self.applied += 1
        rewritten = {**body, "data": {**body["data"], "image": "mirror/registry"}}
        return await super().apply(rewritten, force=force)


def config_map(registry: Registry, **data: str) -> kube.Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**service(registry)["metadata"], "name": "main-config"},
        "data": data,
    }


@pytest.fixture
def foreign(control_plane: Cluster, registry: Registry) -> None:
    """A ConfigMap by the name of the Registry's, as somebody else made it."""
    make = ("create", "configmap", "main-config", "--from-literal=mine=yes")
    control_plane.kubectl(*make, f"--namespace={registry.metadata.namespace}")


async def require_untouched(cluster: kube.ApiCluster, namespace: str) -> None:
    left = await cluster.get(kube.CONFIG_MAP, namespace, "main-config")
    assert left["data"] == {"mine": "yes"}
    assert "ownerReferences" not in left["metadata"]
    assert naming.REGISTRY_LABEL not in left["metadata"].get("labels", {})


@pytest.mark.usefixtures("foreign")
async def test_an_object_that_somebody_made_just_before_us_is_left_alone(
    cluster: kube.ApiCluster, operators: kube.ApiCluster, namespace: str, registry: Registry
) -> None:
    objects = Objects(SlowCluster(operators), Store())
    with pytest.raises(kube.InvalidError, match="the operator may touch only what belongs to a Registry"):
        await objects.ensure(registry, config_map(registry, ours="yes"))
    await require_untouched(cluster, namespace)


@pytest.mark.usefixtures("foreign")
async def test_where_no_policy_holds_us_it_is_given_back(
    cluster: kube.ApiCluster, namespace: str, registry: Registry
) -> None:
    """As an administrator: the operator that the chart installs does not get so far."""
    objects = Objects(SlowCluster(cluster), Store())
    with pytest.raises(kube.ConflictError, match="ConfigMap main-config was made by kubectl-create just now"):
        await objects.ensure(registry, config_map(registry, ours="yes"))
    await require_untouched(cluster, namespace)


async def test_what_a_webhook_rewrites_is_applied_once_for_each_change(
    operators: kube.ApiCluster, registry: Registry
) -> None:
    store = Store()
    rewriting = RewritingCluster(operators)
    objects = Objects(rewriting, store)
    desired = config_map(registry, image="registry", level="info")
    for _ in range(3):
        await objects.ensure(registry, desired)
    assert rewriting.applied <= 2
    before = rewriting.applied
    for _ in range(3):
        await objects.ensure(registry, {**desired, "data": {"image": "registry", "level": "debug"}})
    assert rewriting.applied == before + 1


async def test_a_condition_that_somebody_added_meanwhile_is_not_lost(
    cluster: kube.ApiCluster, operators: kube.ApiCluster, namespace: str
) -> None:
    """A merge patch replaces the list of conditions, as it was when the pass began."""
    seen = await cluster.create(registry_object(namespace=namespace))
    foreign = {"type": "Scanned", "status": "True", "reason": "Clean", "message": "", "lastTransitionTime": MOMENT}
    await cluster.patch_status(kube.REGISTRY, namespace, "main", {"status": {"conditions": [foreign]}})
    writer = StatusWriter(operators, Store(), lambda: datetime.now(UTC))
    states = {conditions.READY: conditions.true("Serving", "It answers.")}
    with pytest.raises(kube.ConflictError):
        await writer.write(seen, states)
    await writer.write(await cluster.get(kube.REGISTRY, namespace, "main"), states)
    after = await cluster.get(kube.REGISTRY, namespace, "main")
    assert [condition["type"] for condition in after["status"]["conditions"]] == ["Scanned", "Ready"]


async def test_what_a_status_says_no_more_is_gone_also_from_within_it(
    cluster: kube.ApiCluster, operators: kube.ApiCluster, namespace: str
) -> None:
    """A merge patch keeps what it does not name: a run would be told with what was true of the one before."""
    await cluster.create(retention_object("keep-last", namespace=namespace))
    run = {"job": "earlier", "uid": "1", "outcome": "Done", "message": "", "run": "20260101T000000Z"}
    earlier = {"lastRun": {**run, "resumedAfter": "4s"}, "policyRun": "ab"}
    await cluster.patch_status(kube.IMAGE_RETENTION, namespace, "keep-last", {"status": earlier})
    writer = StatusWriter(operators, Store(), lambda: datetime.now(UTC))
    last = {"job": "later", "uid": "2", "outcome": "Running", "message": "", "started": MOMENT}
    states = {conditions.READY: conditions.true("Waiting", "It runs.")}
    await writer.write(await cluster.get(kube.IMAGE_RETENTION, namespace, "keep-last"), states, {"lastRun": last})
    after = await cluster.get(kube.IMAGE_RETENTION, namespace, "keep-last")
    assert after["status"].keys() == {"lastRun", "conditions", "observedGeneration"}
    assert after["status"]["lastRun"] == last


async def test_another_object_of_the_name_is_a_conflict_and_a_word_about_uids_is_not(
    operators: kube.ApiCluster, registry: Registry
) -> None:
    desired = config_map(registry, a="b")
    made = await operators.apply(desired, force=False)
    other = {**desired["metadata"], "uid": "0f5e9a3c-0000-4000-8000-000000000000"}
    with pytest.raises(kube.ConflictError):
        await operators.apply({**desired, "metadata": other}, force=True)
    odd = {**desired["metadata"], "uid": made["metadata"]["uid"], "labels": {"a": "metadata.uid is no label!"}}
    with pytest.raises(kube.InvalidError, match=r"metadata\.uid"):
        await operators.apply({**desired, "metadata": odd}, force=True)
