"""From `kubectl apply` to ready: a Registry against the same objects applied by hand, in turn, on the two nodes."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import yaml

from regkeeper.api.v1alpha1.registry import Registry
from regkeeper.naming import API_VERSION
from regkeeper.resources.registry import http_secret
from tests.bench.operated_cluster import operated_cluster
from tests.bench.table import SPREAD, Section, added, alternate, spread
from tests.cluster import Cluster
from tests.registry_objects import all_objects
from tests.waiting import wait_for

ROUNDS = 10
BOUND = 0.3
"""Seconds that the operator may add in the median (issue 3)."""
NAMESPACE = "bench"


def run() -> Iterator[Section]:
    with operated_cluster() as cluster:
        cluster.kubectl("create", "namespace", NAMESPACE)
        yield measure(cluster)


def measure(cluster: Cluster) -> Section:
    ours, by_hand = alternate(
        lambda number: apply_registry(cluster, f"registry-{number}"),
        lambda number: apply_by_hand(cluster, f"plain-{number}"),
        rounds=ROUNDS,
    )
    section = Section(
        "Apply to Ready",
        f"`kubectl apply` until `kubectl wait` returns, {ROUNDS} rounds in turn, on two real nodes: a Registry until "
        "it is Ready (it answered with its own header), against the ConfigMap, Secret, claim, Service "
        "and Deployment that the operator would make, applied by hand, until the Deployment is Available.",
        SPREAD,
    )
    section.rows += [spread("Registry", ours), spread("the same objects by hand", by_hand)]
    section.rows.append(("the operator adds", f"{added(ours, by_hand):+.2f} s", "", ""))
    section.expect(added(ours, by_hand) <= BOUND, f"the operator adds at most {BOUND} s in the median")
    return section


def registry_manifest(name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": API_VERSION, "kind": "Registry", "metadata": metadata, "spec": {"storage": {"size": "1Gi"}}}


def apply_registry(cluster: Cluster, name: str) -> float:
    return _timed(cluster, name, [registry_manifest(name)], ("condition=Ready", f"registry/{name}"))


def apply_by_hand(cluster: Cluster, name: str) -> float:
    manifest = registry_manifest(name)
    registry = Registry.model_validate({**manifest, "metadata": {**manifest["metadata"], "uid": name}})
    objects = [http_secret(registry, "value"), *all_objects(registry)]
    for body in objects:
        body["metadata"].pop("ownerReferences", None)
        body["metadata"]["labels"] = {"app": name}
    return _timed(cluster, name, objects, ("condition=Available", f"deployment/{name}"))


def _timed(cluster: Cluster, name: str, objects: list[dict[str, Any]], ready: tuple[str, str]) -> float:
    """Seconds from apply to ready; what was applied is removed again, and awaited, outside the time."""
    text = yaml.safe_dump_all(objects)
    condition, target = ready
    in_namespace = partial(cluster.kubectl, "-n", NAMESPACE)
    began = time.monotonic()
    in_namespace("apply", "-f", "-", stdin=text)
    in_namespace("wait", f"--for={condition}", target, "--timeout=60s")
    took = time.monotonic() - began
    in_namespace("delete", "--wait=false", "-f", "-", stdin=text)
    in_namespace("delete", "--ignore-not-found", "persistentvolumeclaim", f"{name}-storage")
    wait_for(partial(_no_pods, in_namespace), 60, f"the pods of {name} to end")
    return took


def _no_pods(in_namespace: "partial[str]") -> bool:
    return not in_namespace("get", "pods", "-o", "name")
