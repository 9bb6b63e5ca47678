"""Where passes end depends on the spec alone: not on the one before it, and not on how often they are made."""

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regkeeper import kube, naming
from regkeeper.reconcile.addresses import Prober
from regkeeper.reconcile.queue import Key
from tests.cluster import Cluster
from tests.e2e.faults import Bench
from tests.e2e.valid_specs import OPTIONS
from tests.operator_process import a_namespace, install_crds
from tests.registry_objects import registry_object

pytestmark = pytest.mark.control_plane

APPLIED = (kube.CONFIG_MAP, kube.SERVICE, kube.CLAIM, kube.DEPLOYMENT, kube.DISRUPTION_BUDGET)
NUMBERS = itertools.count()

# A given port of all nodes is one Service's alone, and here two stand side by side.
ACCESS = st.fixed_dictionaries(
    {}, optional={"hostPort": st.fixed_dictionaries({"port": st.integers(1, 29999)}), "nodePort": st.just({})}
)
STORAGE: list[dict[str, Any]] = [
    {"size": "1Gi"},
    {"size": "1Gi", "accessModes": ["ReadWriteMany"]},
    {"ephemeral": {}},
]


@st.composite
def changes(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two valid specs, of which the second may follow the first."""
    kind = draw(st.sampled_from(STORAGE))
    replicas = st.integers(0, 9 if "accessModes" in kind else 1)
    policies = ["Retain", "Delete"] if "size" in kind else ["Retain"]
    storage = st.sampled_from([{**kind, "deletionPolicy": policy} for policy in policies])
    specs = st.fixed_dictionaries({"storage": storage}, optional={**OPTIONS, "access": ACCESS, "replicas": replicas})
    return draw(specs), draw(specs)


@pytest.fixture(scope="module")
def namespaces(control_plane: Cluster) -> Iterator[tuple[str, str]]:
    install_crds(control_plane)
    with ExitStack() as stack:
        yield tuple(stack.enter_context(a_namespace(control_plane, "convergence")) for _ in range(2))  # type: ignore[misc]


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(change=changes())
async def test_a_changed_registry_ends_like_a_new_one(
    control_plane: Cluster,
    namespaces: tuple[str, str],
    cluster: kube.ApiCluster,
    prober: Prober,
    change: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    name = f"main-{next(NUMBERS)}"
    changed, new = (Bench(cluster, prober, Key(namespace, name)) for namespace in namespaces)
    before, after = change
    await cluster.create(registry_object(name, namespace=changed.key.namespace, **before))
    await changed.settle()
    second = registry_object(name, namespace=changed.key.namespace, **after)
    control_plane.kubectl("replace", "--filename=-", stdin=json.dumps(second))
    await changed.settle()
    await cluster.create(registry_object(name, namespace=new.key.namespace, **after))
    await new.settle()
    assert await objects_of(cluster, changed.key) == await objects_of(cluster, new.key)


async def objects_of(cluster: kube.ApiCluster, key: Key) -> list[Any]:
    """What a Registry's objects are and what of them is ours, without what must differ between two Registries."""
    uid = (await cluster.get(kube.REGISTRY, *key))["metadata"]["uid"]
    found = []
    for resource in APPLIED:
        selector = f"{naming.REGISTRY_LABEL}={key.name}"
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
            found.append(json.loads(text.replace(uid, "UID").replace(uid[:8], "UID").replace(key.namespace, "HERE")))
    return found
