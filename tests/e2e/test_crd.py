"""The Registry's CRD on a real API server: what apply refuses and says, what it adds, what kubectl shows."""

import json
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest

from regkeeper.api.v1alpha1.node_trust import MAXIMUM_HOSTS
from tests.applying import Place
from tests.cluster import Cluster
from tests.cluster.commands import CommandError
from tests.operator_process import a_namespace
from tests.registry_objects import LOCAL, SHARED, registry_object
from tests.waiting import wait_for

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("crd")]

CLAIM = {"storage": {"size": "10Gi"}}


@pytest.fixture(scope="module")
def place(control_plane: Cluster) -> Iterator[Place]:
    with a_namespace(control_plane, "crd") as namespace:
        yield Place(control_plane, namespace)


def apply(place: Place, name: str, spec: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
    return place.apply(registry_object(name, namespace=place.namespace, **spec), dry_run=dry_run)


def refusal(place: Place, name: str, spec: dict[str, Any]) -> str:
    return place.refusal(registry_object(name, namespace=place.namespace, **spec))


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
def test_what_can_not_work_is_refused_by_name(place: Place, spec: dict[str, Any], field: str, message: str) -> None:
    said = refusal(place, "main", spec)
    assert f"{field}:" in said
    assert message in said


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("registry.example:65536", "a port is at most 65535: correct it"),
        ("registry.example:99999", "a port is at most 65535: correct it"),
        ("[fd00::1]:65536", "a port is at most 65535: correct it"),
        ("registry.example:0", "should match"),
        ("registry.example:05000", "should match"),
        ("registry.example", "should match"),
        ("http://registry.example:5000", "should match"),
        ("registry.example:5000/path", "should match"),
        ("*.example:5000", "should match"),
        ("10.0.0.0/8", "should match"),
        ("10.0.0.0/8:5000", "should match"),
        ("_default", "should match"),
        ("fd00::1:5000", "should match"),
        ("Registry.example:5000", "should match"),
        ("docker.io:443", "a public registry is never trusted in plain HTTP: remove it"),
        ("registry-1.docker.io:5000", "a public registry is never trusted in plain HTTP"),
        ("eu.gcr.io:80", "a public registry is never trusted in plain HTTP"),
    ],
)
def test_hosts_that_no_node_may_trust_are_refused(place: Place, host: str, message: str) -> None:
    said = refusal(place, "main", {**CLAIM, "nodeTrust": {"hosts": ["registry.example:5000", host]}})
    assert "spec.nodeTrust.hosts" in said
    assert message in said


def test_the_most_hosts_that_a_registry_may_have_are_accepted(place: Place) -> None:
    """Their rules' cost is bounded by their number and length, so that all of them pass together."""
    long = ".".join(["a" * 61] * 4)
    hosts = [f"{long[number:]}:65535" for number in range(6)] + ["[fd00::1]:1", "notdocker.io:5000"]
    assert len(hosts) == MAXIMUM_HOSTS
    apply(place, "main", {**CLAIM, "nodeTrust": {"hosts": hosts}}, dry_run=True)
    assert "at most 8 items" in refusal(place, "main", {**CLAIM, "nodeTrust": {"hosts": [*hosts, "a.example:1"]}})


@pytest.mark.parametrize("path", ["a", "a/b", "//a", "/a/", "/a//b", "/a/../b", "/a/./b", "/..", "/a\nb", "/a\0b"])
def test_paths_that_are_not_exact_are_refused(place: Place, path: str) -> None:
    said = refusal(place, "main", {"storage": {"local": {"node": "k8smaster", "path": path}}})
    assert "spec.storage.local" in said


@pytest.mark.parametrize("path", ["/a", "/docker/var/lib/registry", "/a/..b/.c", "/mit Leerzeichen/ü"])
def test_exact_paths_are_accepted(place: Place, path: str) -> None:
    apply(place, "main", {"storage": {"local": {"node": "k8smaster", "path": path}}}, dry_run=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 53, "metadata.name: the names of the objects are made from it: write at most 52 characters"),
        ("5000", "metadata.name: the Service has this name: write lower-case letters, digits and dashes"),
        ("a.b", "metadata.name: the Service has this name"),
    ],
)
def test_names_that_no_service_can_have_are_refused(place: Place, name: str, message: str) -> None:
    assert message in refusal(place, name, CLAIM)


def test_the_longest_name_is_accepted(place: Place) -> None:
    apply(place, "a" * 52, CLAIM, dry_run=True)


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
    place: Place,
    before: dict[str, Any],
    after: dict[str, Any],
    message: str,
) -> None:
    name = f"stays-{crc32(json.dumps([before, after]).encode())}"
    apply(place, name, {"storage": before})
    said = refusal(place, name, {"storage": after})
    assert "spec: " in said
    assert message in said


def test_a_claim_may_grow_and_change_its_policy(place: Place) -> None:
    apply(place, "grows", CLAIM)
    apply(place, "grows", {"storage": {"size": "0.02Ti", "deletionPolicy": "Delete"}})


def test_several_replicas_where_the_storage_may_be_shared(place: Place) -> None:
    for storage in (SHARED, {"existingClaim": "mine"}):
        apply(place, "main", {"storage": storage, "replicas": 3}, dry_run=True)


def test_every_other_option_of_distribution_passes(place: Place) -> None:
    config = {
        "log": {"level": "debug"},
        "storage": {"delete": {"enabled": True}, "redirect": {"disable": True}},
        "http": {"http2": {"disabled": True}, "headers": {"X-Frame-Options": ["deny"]}},
        "notifications": {"endpoints": [{"name": "a", "url": "https://a.example", "timeout": "1s"}]},
    }
    assert apply(place, "main", {**CLAIM, "config": config}, dry_run=True)["spec"]["config"] == config


def test_what_is_left_out_stays_out(place: Place) -> None:
    """Defaults that the issue asks for, and no more: others may own the rest, and GitOps tools compare."""
    spec = apply(place, "main", {**CLAIM, "access": {"hostPort": {}}}, dry_run=True)["spec"]
    assert spec == {
        "storage": {"size": "10Gi", "deletionPolicy": "Retain"},
        "access": {"hostPort": {"port": 5000}},
        "readOnly": False,
    }


def test_a_registry_that_no_operator_has_seen_is_not_current(place: Place) -> None:
    apply(place, "unseen", CLAIM)
    seen = json.loads(place.kubectl("get", "registry", "unseen", "--output=json"))
    assert seen["status"] == {"observedGeneration": -1}
    assert seen["metadata"]["generation"] == 1


def test_kubectl_shows_what_matters(place: Place) -> None:
    apply(place, "shown", CLAIM)
    status = {
        "status": {
            "observedGeneration": 1,
            "imagePrefix": "k8smaster:5000",
            "trustedNodes": "2/2",
            "repositories": 3,
            "tags": 7,
            "usage": {"used": 4096, "measured": "2026-01-02T03:04:05Z"},
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
    patch = f"--patch={json.dumps(status)}"
    place.kubectl("patch", "registry", "shown", "--subresource=status", "--type=merge", patch)
    header, row = place.kubectl("get", "regs", "shown", "--output=wide").splitlines()
    assert header.split() == ["NAME", "READY", "ADDRESS", "NODES", "REPOSITORIES", "TAGS", "AGE", "USED", "REASON"]
    name, ready, address, nodes, repositories, tags, _, used, reason = row.split()
    assert (name, ready, address, nodes) == ("shown", "True", "k8smaster:5000", "2/2")
    assert (repositories, tags, used, reason) == ("3", "7", "4096", "Serving")


def test_kubectl_explains(place: Place) -> None:
    def explained() -> str | None:
        """None until the API server has published the schema, a second or two after the CRD."""
        try:
            return place.kubectl("explain", "registry.spec.storage")
        except CommandError:
            return None

    text = wait_for(explained, 30, "kubectl explain registry.spec.storage") or ""
    assert "Where the images are kept" in text
    assert "Size of the claim to make, as in 50Gi. May grow, never shrink." in text
    assert "enum: Retain, Delete" in text
