"""Where passes end depends on the spec alone: not on the one before it, and not on how often they are made."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regkeeper import kube, naming
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.registry.endpoints import Prober
from tests.cluster import Cluster
from tests.e2e.conftest import Account
from tests.e2e.directories import local
from tests.e2e.faults import Bench
from tests.e2e.valid_specs import OPTIONS
from tests.operator_process import a_namespace
from tests.registry_objects import registry_object

pytestmark = pytest.mark.control_plane

APPLIED = (kube.CONFIG_MAP, kube.SERVICE, kube.VOLUME, kube.CLAIM, kube.DEPLOYMENT, kube.DISRUPTION_BUDGET)
NUMBERS = itertools.count()

# A given port of all nodes is one Service's alone, and here two stand side by side.
ACCESS = st.fixed_dictionaries(
    {}, optional={"hostPort": st.fixed_dictionaries({"port": st.integers(1, 29999)}), "nodePort": st.just({})}
)
STORAGE: list[dict[str, Any]] = [
    {"size": "1Gi"},
    {"size": "1Gi", "accessModes": ["ReadWriteMany"]},
    {"existingClaim": "one"},
    local("main"),
    {"ephemeral": {}},
]
"""Of the existing claim and the local directory each Registry has one of its own."""


@st.composite
def changes(draw: st.DrawFn, kind: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two valid specs with a kind of storage, of which the second may follow the first."""
    replicas = st.integers(0, 9 if "accessModes" in kind or "existingClaim" in kind else 1)
    policies = ["Retain", "Delete"] if "size" in kind else ["Retain"]
    storage = st.sampled_from([{**kind, "deletionPolicy": policy} for policy in policies])
    specs = st.fixed_dictionaries({"storage": storage}, optional={**OPTIONS, "access": ACCESS, "replicas": replicas})
    return draw(specs), draw(specs)


@pytest.fixture(scope="module")
def namespaces(control_plane: Cluster, account: Account, node: str) -> Iterator[tuple[str, str]]:
    first, second = account.take_namespace(), account.take_namespace()
    with a_namespace(control_plane, name=first), a_namespace(control_plane, name=second):
        yield first, second


def with_storage_of_its_own(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The same spec, where it names a claim or a directory for the Registry of that name alone."""
    storage = spec["storage"]
    if "existingClaim" in storage:
        storage = {**storage, "existingClaim": f"claim-of-{name}"}
    if "local" in storage:
        storage = {**storage, **local(name)}
    return {**spec, "storage": storage}


@pytest.mark.parametrize("kind", STORAGE, ids="-".join)
@settings(
    max_examples=2,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_a_changed_registry_ends_like_a_new_one(
    control_plane: Cluster,
    namespaces: tuple[str, str],
    cluster: kube.ApiCluster,
    operators: kube.ApiCluster,
    prober: Prober,
    kind: dict[str, Any],
    data: st.DataObject,
) -> None:
    name = f"random-{next(NUMBERS)}"
    changed, new = (Bench(cluster, operators, prober, Key(namespace, name)) for namespace in namespaces)
    before, after = (with_storage_of_its_own(name, spec) for spec in data.draw(changes(kind)))
    await cluster.create(registry_object(name, namespace=changed.key.namespace, **before))
    await changed.settle()
    second = registry_object(name, namespace=changed.key.namespace, **after)
    control_plane.api().replace(second)
    await changed.settle()
    await cluster.create(registry_object(name, namespace=new.key.namespace, **after))
    await new.settle()
    if "local" in after["storage"]:
        # Bound by the volume controller, in its own time.
        await changed.settled_state()
        await new.settled_state()
    assert await objects_of(cluster, changed.key) == await objects_of(cluster, new.key)


async def objects_of(cluster: kube.ApiCluster, key: Key) -> list[Any]:
    """What a Registry's objects are and what of them is ours, without what must differ between two Registries."""
    uid = (await cluster.get(kube.REGISTRY, *key))["metadata"]["uid"]
    found = []
    for resource in APPLIED:
        selector = f"{naming.REGISTRY_LABEL}={key.name}"
        if not resource.namespaced:
            selector += f",{naming.REGISTRY_NAMESPACE_LABEL}={key.namespace}"
        async for body in cluster.list(resource, key.namespace, label_selector=selector):
            metadata = body["metadata"]
            (owned,) = [
                entry["fieldsV1"]
                for entry in metadata["managedFields"]
                if entry["manager"] == naming.FIELD_MANAGER and entry["operation"] == "Apply"
            ]
            spec = body.get("spec", {})
            for field in ("clusterIP", "clusterIPs"):
                spec.pop(field, None)
            for field in ("uid", "resourceVersion"):
                spec.get("claimRef", {}).pop(field, None)
            for port in spec.get("ports", ()):
                port["nodePort"] = "nodePort" in port
            for annotated in (metadata, spec.get("template", {}).get("metadata", {})):
                # The hash is of a text with the uid; the revision counts the changes.
                for annotation in (naming.CONFIG_HASH_ANNOTATION, "deployment.kubernetes.io/revision"):
                    annotated.get("annotations", {}).pop(annotation, None)
            kept = {part: metadata.get(part) or {} for part in ("name", "labels", "annotations", "ownerReferences")}
            # Parsed: whether the uid in it needs quotes depends on its first digit.
            data = {file: yaml.safe_load(text) for file, text in body.get("data", {}).items()}
            text = json.dumps([resource.kind, kept, spec, data, owned], sort_keys=True)
            for own, common in (
                (naming.persistent_volume_name(*key), "VOLUME"),
                (uid, "UID"),
                (uid[:8], "UID"),
                (key.namespace, "HERE"),
            ):
                text = text.replace(own, common)
            found.append(json.loads(text))
    return found
