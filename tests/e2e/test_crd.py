"""The Registry's CRD on a real API server: what apply refuses and says, what it adds, what kubectl shows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.cluster import Cluster
from tests.cluster.commands import CommandError
from tests.registry_objects import LOCAL, SHARED, registry_object
from tests.waiting import wait_for

pytestmark = pytest.mark.control_plane

CRDS = Path(__file__).parents[2] / "crds"
NAMESPACE = "crd-refusals"
CLAIM = {"storage": {"size": "10Gi"}}


@pytest.fixture(scope="module")
def cluster(control_plane: Cluster) -> Iterator[Cluster]:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={CRDS}")
    control_plane.kubectl("wait", "--for=condition=Established", "crd/registries.regkeeper.dev")
    control_plane.kubectl("create", "namespace", NAMESPACE)
    yield control_plane
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def apply(cluster: Cluster, name: str, spec: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
    body = registry_object(name, namespace=NAMESPACE, **spec)
    arguments = ["apply", "--server-side", "--filename=-", "--output=json"]
    if dry_run:
        arguments.append("--dry-run=server")
    answer: dict[str, Any] = json.loads(cluster.kubectl(*arguments, stdin=json.dumps(body)))
    return answer


def refusal(cluster: Cluster, name: str, spec: dict[str, Any]) -> str:
    with pytest.raises(CommandError) as error:
        apply(cluster, name, spec, dry_run=True)
    return str(error.value)


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"storage": {}}, "spec.storage", "set exactly one of size, existingClaim, local and ephemeral"),
        ({"storage": {"size": "1Gi", "ephemeral": {}}}, "spec.storage", "set exactly one of"),
        ({"storage": {"size": "big"}}, "spec.storage", "size: write a quantity above 0, as in 50Gi"),
        ({"storage": {"size": "0"}}, "spec.storage", "size: write a quantity above 0"),
        ({"storage": {"size": "-1Gi"}}, "spec.storage", "size: write a quantity above 0"),
        ({"storage": {"ephemeral": {"sizeLimit": "some"}}}, "spec.storage.ephemeral", "sizeLimit: write a quantity"),
        (
            {"storage": {"existingClaim": "a", "storageClassName": "fast"}},
            "spec.storage",
            "storageClassName: only a claim of ours has a class: set size too, or remove it",
        ),
        (
            {"storage": {"ephemeral": {}, "accessModes": ["ReadWriteMany"]}},
            "spec.storage",
            "accessModes: only a claim of ours takes them from here: set size too, or remove them",
        ),
        (
            {"storage": {"size": "1Gi", "accessModes": ["ReadWriteOnce", "ReadWriteOncePod"]}},
            "spec.storage",
            "accessModes: ReadWriteOncePod allows no other mode beside it: remove one",
        ),
        (
            {"storage": {"size": "1Gi", "accessModes": ["ReadOnlyMany"]}},
            "spec.storage.accessModes[0]",
            "supported values",
        ),
        (
            {"storage": {**LOCAL, "deletionPolicy": "Delete"}},
            "spec.storage",
            "deletionPolicy: a directory of a node is never deleted: set Retain, and remove the directory by hand",
        ),
        (
            {"storage": {"existingClaim": "a", "deletionPolicy": "Delete"}},
            "spec.storage",
            "deletionPolicy: an existing claim is never deleted: set Retain, and delete the claim by hand",
        ),
        (
            {**CLAIM, "replicas": 2},
            "spec",
            "replicas: only one pod can write to this storage: set 1, or use storage with the access mode",
        ),
        ({"storage": LOCAL, "replicas": 2}, "spec", "replicas: only one pod can write to this storage"),
        ({"storage": {"ephemeral": {}}, "replicas": 2}, "spec", "replicas: only one pod can write to this storage"),
        ({**CLAIM, "replicas": -1}, "spec.replicas", "should be greater than or equal to 0"),
        (
            {**CLAIM, "access": {"hostPort": {"port": 65536}}},
            "spec.access.hostPort.port",
            "less than or equal to 65535",
        ),
        (
            {**CLAIM, "access": {"hostPort": {"port": 30000}, "nodePort": {"port": 30000}}},
            "spec.access",
            "hostPort and nodePort can't share a port of the node: choose another one for one of them",
        ),
        (
            {**CLAIM, "podLabels": {"app.kubernetes.io/name": "mine"}},
            "spec.podLabels",
            "are set by the operator: choose other keys",
        ),
        ({**CLAIM, "podLabels": {"team": "not a value"}}, "spec.podLabels.team", "should match"),
        (
            {**CLAIM, "podAnnotations": {"regkeeper.dev/config-hash": "mine"}},
            "spec.podAnnotations",
            "is set by the operator: choose other keys",
        ),
        (
            {**CLAIM, "extraEnv": [{"name": "A"}, {"name": "A"}]},
            "spec.extraEnv",
            'duplicate entries for key [name="A"]',
        ),
        (
            {**CLAIM, "config": {"storage": {"cache": {"blobdescriptor": "inmemory"}}}},
            "spec.config",
            "storage.cache: the cache would answer for images that are gone: remove it",
        ),
        (
            {**CLAIM, "config": {"storage": {"delete": {"enabled": False}}}},
            "spec.config",
            "storage.delete: deletion through the API stays on: remove it, or set spec.readOnly",
        ),
        (
            {**CLAIM, "config": {"storage": {"maintenance": {"readonly": {"enabled": True}}}}},
            "spec.config",
            "storage.maintenance: remove it, and set spec.readOnly to refuse pushes",
        ),
        (
            {**CLAIM, "config": {"storage": {"filesystem": {"rootdirectory": "/srv"}}}},
            "spec.config",
            "storage.filesystem.rootdirectory: remove it, and name the directory in spec.storage.local.path",
        ),
        (
            {**CLAIM, "config": {"storage": {"s3": {"bucket": "mine"}}}},
            "spec.config",
            "storage.s3: images are kept in the volume of spec.storage: remove it",
        ),
        (
            {**CLAIM, "config": {"http": {"addr": ":80"}}},
            "spec.config",
            "http.addr: remove it, and choose the port in spec.access",
        ),
        (
            {**CLAIM, "config": {"http": {"tls": {"certificate": "/crt"}}}},
            "spec.config",
            "http.tls: not supported yet: remove it, and end TLS in front of the Service",
        ),
        (
            {**CLAIM, "config": {"http": {"secret": "abc"}}},
            "spec.config",
            "http.secret: a secret: set REGISTRY_HTTP_SECRET in spec.extraEnv with valueFrom",
        ),
        (
            {**CLAIM, "config": {"redis": {"password": "abc"}}},
            "spec.config",
            "redis.password: a secret: set REGISTRY_REDIS_PASSWORD in spec.extraEnv with valueFrom",
        ),
        (
            {**CLAIM, "config": {"proxy": {"password": "abc"}}},
            "spec.config",
            "proxy.password: a secret: set REGISTRY_PROXY_PASSWORD in spec.extraEnv with valueFrom",
        ),
    ],
)
def test_what_can_not_work_is_refused_by_name(cluster: Cluster, spec: dict[str, Any], field: str, message: str) -> None:
    said = refusal(cluster, "main", spec)
    assert f"{field}:" in said
    assert message in said


@pytest.mark.parametrize("path", ["a", "a/b", "//a", "/a/", "/a//b", "/a/../b", "/a/./b", "/..", "/a\nb", "/a\0b"])
def test_paths_that_are_not_exact_are_refused(cluster: Cluster, path: str) -> None:
    said = refusal(cluster, "main", {"storage": {"local": {"node": "k8smaster", "path": path}}})
    assert "spec.storage.local" in said


@pytest.mark.parametrize("path", ["/a", "/docker/var/lib/registry", "/a/..b/.c", "/mit Leerzeichen/ü"])
def test_exact_paths_are_accepted(cluster: Cluster, path: str) -> None:
    apply(cluster, "main", {"storage": {"local": {"node": "k8smaster", "path": path}}}, dry_run=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 53, "metadata.name: the names of the objects are made from it: write at most 52 characters"),
        ("5000", "metadata.name: the Service has this name: write lower-case letters, digits and dashes"),
        ("a.b", "metadata.name: the Service has this name"),
    ],
)
def test_names_that_no_service_can_have_are_refused(cluster: Cluster, name: str, message: str) -> None:
    assert message in refusal(cluster, name, CLAIM)


def test_the_longest_name_is_accepted(cluster: Cluster) -> None:
    apply(cluster, "a" * 52, CLAIM, dry_run=True)


KIND = "storage: its kind can't change: make a new Registry and copy the images"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"size": "10Gi"}, {"size": "9Gi"}, "storage.size can't shrink: set at least the size that it had"),
        ({"size": "10Gi"}, {"ephemeral": {}}, KIND),
        ({"ephemeral": {}}, {"size": "10Gi"}, KIND),
        (LOCAL, {"size": "10Gi"}, "storage.local can't change, nor come or go"),
        ({"existingClaim": "a"}, LOCAL, "storage.existingClaim can't change, nor come or go"),
        ({"existingClaim": "a"}, {"existingClaim": "b"}, "storage.existingClaim can't change"),
        (LOCAL, {"local": {**LOCAL["local"], "path": "/srv"}}, "storage.local can't change"),
        (LOCAL, {"local": {**LOCAL["local"], "node": "k8sworker1"}}, "storage.local can't change"),
        ({"size": "1Gi"}, {"size": "1Gi", "storageClassName": "fast"}, "storage.storageClassName can't change"),
        ({"size": "1Gi", "storageClassName": "fast"}, {"size": "1Gi"}, "storage.storageClassName can't change"),
        (SHARED, {"size": "10Gi"}, "storage.accessModes can't change"),
    ],
)
def test_storage_stays_what_it_is(
    cluster: Cluster,
    before: dict[str, Any],
    after: dict[str, Any],
    message: str,
) -> None:
    name = f"stays-{crc32(json.dumps([before, after]).encode())}"
    apply(cluster, name, {"storage": before})
    said = refusal(cluster, name, {"storage": after})
    assert "spec: " in said
    assert message in said


def test_a_claim_may_grow_and_change_its_policy(cluster: Cluster) -> None:
    apply(cluster, "grows", CLAIM)
    apply(cluster, "grows", {"storage": {"size": "0.02Ti", "deletionPolicy": "Delete"}})


def test_several_replicas_where_the_storage_may_be_shared(cluster: Cluster) -> None:
    for storage in (SHARED, {"existingClaim": "mine"}):
        apply(cluster, "main", {"storage": storage, "replicas": 3}, dry_run=True)


def test_every_other_option_of_distribution_passes(cluster: Cluster) -> None:
    config = {
        "log": {"level": "debug"},
        "storage": {"delete": {"enabled": True}, "redirect": {"disable": True}},
        "http": {"http2": {"disabled": True}, "headers": {"X-Frame-Options": ["deny"]}},
        "notifications": {"endpoints": [{"name": "a", "url": "https://a.example", "timeout": "1s"}]},
    }
    assert apply(cluster, "main", {**CLAIM, "config": config}, dry_run=True)["spec"]["config"] == config


def test_what_is_left_out_stays_out(cluster: Cluster) -> None:
    """Defaults that the issue asks for, and no more: others may own the rest, and GitOps tools compare."""
    spec = apply(cluster, "main", {**CLAIM, "access": {"hostPort": {}}}, dry_run=True)["spec"]
    assert spec == {
        "storage": {"size": "10Gi", "deletionPolicy": "Retain"},
        "access": {"hostPort": {"port": 5000}},
        "readOnly": False,
    }


def test_a_registry_that_no_operator_has_seen_is_not_current(cluster: Cluster) -> None:
    apply(cluster, "unseen", CLAIM)
    seen = json.loads(cluster.kubectl("get", "registry", "unseen", f"--namespace={NAMESPACE}", "--output=json"))
    assert seen["status"] == {"observedGeneration": -1}
    assert seen["metadata"]["generation"] == 1


def test_kubectl_shows_what_matters(cluster: Cluster) -> None:
    apply(cluster, "shown", CLAIM)
    status = {
        "status": {
            "observedGeneration": 1,
            "imagePrefix": "k8smaster:5000",
            "repositories": 3,
            "tags": 7,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "Serving",
                    "message": "",
                    "lastTransitionTime": "2026-01-02T03:04:05Z",
                }
            ],
        }
    }
    where = f"--namespace={NAMESPACE}"
    patch = f"--patch={json.dumps(status)}"
    cluster.kubectl("patch", "registry", "shown", where, "--subresource=status", "--type=merge", patch)
    header, row = cluster.kubectl("get", "regs", "shown", where, "--output=wide").splitlines()
    assert header.split() == ["NAME", "READY", "ADDRESS", "REPOSITORIES", "TAGS", "AGE", "REASON"]
    name, ready, address, repositories, tags, _, reason = row.split()
    assert (name, ready, address) == ("shown", "True", "k8smaster:5000")
    assert (repositories, tags, reason) == ("3", "7", "Serving")


def test_kubectl_explains(cluster: Cluster) -> None:
    def explained() -> str | None:
        """None until the API server has published the schema, a second or two after the CRD."""
        try:
            return cluster.kubectl("explain", "registry.spec.storage")
        except CommandError:
            return None

    text = wait_for(explained, 30, "kubectl explain registry.spec.storage") or ""
    assert "Where the images are kept" in text
    assert "Size of the claim to make, as in 50Gi. May grow, never shrink." in text
    assert "enum: Retain, Delete" in text
