"""What only one Registry may have: a volume, and a port of a node."""

from typing import Any

import pytest

from regkeeper.reconcile.registry.conflicts import (
    Claimant,
    Directory,
    Place,
    PortClaimant,
    directory_of,
    held_ports,
    holder_of_place,
    holder_of_port,
    place_of,
    same_files,
    same_place,
    wanted_ports,
)
from tests.registry_objects import LOCAL, registry_object

HOSTNAME = "kubernetes.io/hostname"


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"nodeAffinity": {"required": {"nodeSelectorTerms": list(terms)}}}


def term(*nodes: str, key: str = HOSTNAME, operator: str = "In", by: str = "matchExpressions") -> dict[str, Any]:
    return {by: [{"key": key, "operator": operator, "values": list(nodes)}]}


LOCAL_SOURCE = {"local": {"path": "/d"}}
HOST_PATH = {"hostPath": {"path": "/d"}}


@pytest.mark.parametrize(
    ("spec", "directory"),
    [
        ({**LOCAL_SOURCE, **affinity(term("a"))}, Directory("/d", frozenset("a"))),
        ({**HOST_PATH, **affinity(term("a"))}, Directory("/d", frozenset("a"))),
        ({**LOCAL_SOURCE, **affinity(term("a", "b"), term("c"))}, Directory("/d", frozenset("abc"))),
        (
            {**LOCAL_SOURCE, **affinity(term("a", key="metadata.name", by="matchFields"))},
            Directory("/d", frozenset("a")),
        ),
        (HOST_PATH, Directory("/d")),
        ({**HOST_PATH, **affinity(term("a"), term("b", key="zone"))}, Directory("/d")),
        ({**LOCAL_SOURCE, **affinity(term("a", operator="NotIn"))}, Directory("/d")),
        ({"nfs": {"server": "filer", "path": "/d"}}, None),
        ({"csi": {"driver": "a", "volumeHandle": "b"}}, None),
    ],
)
def test_what_is_not_said_of_a_volume_is_any_node(spec: dict[str, Any], directory: Directory | None) -> None:
    assert directory_of({"spec": spec}) == directory


def directory_on(path: str, *nodes: str) -> Directory:
    return Directory(path, frozenset(nodes))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (directory_on("/a/b", "x"), directory_on("/a/b", "x"), True),
        (directory_on("/a/b", "x"), directory_on("/a/b", "y"), False),
        (directory_on("/a/b", "x"), directory_on("/a/b", "x", "y"), True),
        (directory_on("/a/b", "x"), directory_on("/a/b"), True),
        (directory_on("/a/b"), directory_on("/a/b/c"), True),
        (directory_on("/a/b"), directory_on("/a/bc"), False),
        (directory_on("/a/b", "x"), directory_on("/", "x"), True),
        (directory_on("/a/b", "x"), directory_on("//a//b", "x"), True),
        (directory_on("/a/b", "x"), directory_on("/a/./b", "x"), True),
        (directory_on("/a/b", "x"), directory_on("/a/b/", "x"), True),
    ],
)
def test_equal_inside_and_above_are_the_same_files_however_they_are_written(
    one: Directory, other: Directory, same: bool
) -> None:
    assert same_files(one, other) is same
    assert same_files(other, one) is same


NODES = {"k8smaster": {"role": "master"}, "k8sworker1": {"role": "worker"}}


def aged(name: str, age: int, **spec: Any) -> dict[str, Any]:
    body = registry_object(name, **spec)
    body["metadata"]["creationTimestamp"] = f"2026-01-{age:02}T00:00:00Z"
    return body


def claimant(name: str, age: int, storage: dict[str, Any], *, holds: bool = False) -> Claimant:
    body = aged(name, age, storage=storage)
    return Claimant(body, holds)


def local(path: str, node: str = "k8smaster") -> dict[str, Any]:
    return {"local": {"node": node, "path": path}}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"existingClaim": "c"}, {"existingClaim": "c"}, True),
        ({"existingClaim": "c"}, {"existingClaim": "d"}, False),
        ({"existingClaim": "older-storage"}, {"size": "1Gi"}, True),
        (local("/a/b"), local("/a/b"), True),
        (local("/a/b"), local("/a/b/c"), True),
        (local("/a/b/c"), local("/a/b"), True),
        (local("/a/b"), local("/a/bc"), False),
        (local("/a/b"), local("/a/b", node="k8sworker1"), False),
        ({"size": "1Gi"}, {"size": "1Gi"}, False),
        ({"ephemeral": {}}, {"ephemeral": {}}, False),
    ],
)
def test_equal_inside_and_above_are_the_same_place(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    younger, older = (
        place_of(registry_object(name, storage=storage)) for name, storage in (("younger", one), ("older", other))
    )
    assert same_place(younger, older) is same
    assert same_place(older, younger) is same


@pytest.mark.parametrize(
    ("younger_holds", "older_holds", "younger_wins"),
    [(True, False, True), (False, True, False), (True, True, False), (False, False, False)],
)
def test_who_has_a_place_keeps_it_and_else_the_oldest_does(
    younger_holds: bool, older_holds: bool, younger_wins: bool
) -> None:
    storage = {"existingClaim": "c"}
    younger = claimant("younger", 2, storage, holds=younger_holds)
    older = claimant("older", 1, storage, holds=older_holds)
    assert holder_of_place(younger, [older]) is (None if younger_wins else older.registry)
    assert holder_of_place(older, [younger]) is (younger.registry if younger_wins else None)


def test_a_claim_on_the_same_directory_is_the_same_place() -> None:
    by_claim = Place(
        claim=("images", "c"), volume="pv", directory=Directory("/docker/var/lib", frozenset({"k8smaster"}))
    )
    assert same_place(by_claim, place_of(registry_object(storage=LOCAL)))


def test_the_same_claim_name_in_another_namespace_is_another_claim() -> None:
    here, there = registry_object(namespace="a"), registry_object(namespace="b")
    assert not same_place(place_of(here), place_of(there))


def test_of_several_the_oldest_is_named_and_equal_age_goes_by_name() -> None:
    storage = {"existingClaim": "c"}
    claimants = [claimant("c", 3, storage), claimant("a", 1, storage), claimant("b", 1, storage)]
    holder = holder_of_place(claimants[0], claimants[1:])
    assert holder is not None
    assert holder["metadata"]["name"] == "a"


def on(role: str | None, port: int = 5000) -> dict[str, Any]:
    return {"access": {"hostPort": {"port": port}}, "nodeSelector": {"role": role} if role else {}}


def on_port(name: str, age: int, held: dict[int, set[str]] | None = None, **spec: Any) -> PortClaimant:
    return PortClaimant(aged(name, age, **spec), held or {})


SERVING = {5000: {"k8smaster"}}


@pytest.mark.parametrize(
    ("spec", "held", "place"),
    [
        (on("master"), SERVING, "k8smaster:5000"),
        (on("master"), {5000: {"k8smaster", "k8sworker1"}}, "k8smaster:5000"),
        (on("master"), {5000: {"k8sworker1"}}, None),
        (on("master"), {5001: {"k8smaster"}}, None),
        (on("master", 30500), {30500: set(NODES)}, "k8smaster:30500"),
        ({"access": {"nodePort": {"port": 30500}}}, {30500: {"k8sworker1"}}, "k8sworker1:30500"),
        (on("master"), {}, None),
        ({}, SERVING, None),
    ],
)
@pytest.mark.parametrize("age", [1, 3])
def test_a_port_of_a_node_belongs_to_who_has_it_of_whatever_age(
    spec: dict[str, Any], held: dict[int, set[str]], place: str | None, age: int
) -> None:
    newcomer = on_port("newcomer", 2, **spec)
    found = holder_of_port(newcomer, wanted_ports(newcomer.registry, NODES), [on_port("other", age, held)])
    assert (found and found[1]) == place


def test_of_two_that_have_a_port_the_oldest_keeps_it() -> None:
    older, younger = on_port("older", 1, SERVING, **on("master")), on_port("younger", 2, SERVING, **on("master"))
    wanted = wanted_ports(older.registry, NODES)
    assert holder_of_port(older, wanted, [younger]) is None
    assert holder_of_port(younger, wanted, [older]) == (older.registry, "k8smaster:5000")


def test_a_local_volume_ties_its_registry_to_the_node() -> None:
    assert wanted_ports(aged("tied", 1, storage=LOCAL, **on(None)), NODES) == {5000: {"k8smaster"}}


def test_ports_are_held_by_pods_by_the_last_addresses_and_by_the_service() -> None:
    ports = [{"containers": [{"ports": [{"hostPort": 5000, "containerPort": 5000}]}]}]
    placed, pending = ({"spec": {**ports[0], "nodeName": node}} for node in ("k8smaster", None))
    assert held_ports({}, [placed, pending], None, NODES) == {5000: {"k8smaster"}}
    assert held_ports({}, [{**placed, "status": {"phase": "Failed"}}], None, NODES) == {}, "it was evicted"
    addresses = [{"type": "HostPort", "host": "k8sworker1:5001"}, {"type": "ClusterIP", "host": "a.b.svc:5000"}]
    assert held_ports({"status": {"addresses": addresses}}, [], None, NODES) == {5001: {"k8sworker1"}}
    service = {"spec": {"ports": [{"port": 5000, "nodePort": 30500}]}}
    assert held_ports({}, [], service, NODES) == {30500: set(NODES)}
    assert held_ports({}, [{"spec": {"nodeName": "k8smaster"}}], {"spec": {"ports": [{"port": 1}]}}, NODES) == {}
