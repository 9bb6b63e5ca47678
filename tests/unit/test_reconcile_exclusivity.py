"""Who has a volume or a port that only one Registry may have."""

from typing import Any

import pytest

from regkeeper.reconcile.exclusivity import Place, holder_of_place, holder_of_port, place_of, same_place
from tests.registry_objects import LOCAL, registry_object

NODES = {"k8smaster": {"role": "master"}, "k8sworker1": {"role": "worker"}}


def aged(name: str, age: int, **spec: Any) -> dict[str, Any]:
    body = registry_object(name, **spec)
    body["metadata"]["creationTimestamp"] = f"2026-01-{age:02}T00:00:00Z"
    return body


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
    younger, older = aged("younger", 2, storage=one), aged("older", 1, storage=other)
    holder = holder_of_place(younger, place_of(younger), [(older, place_of(older))])
    assert (holder is older) is same
    assert holder_of_place(older, place_of(older), [(younger, place_of(younger))]) is None


def test_a_claim_on_the_same_directory_is_the_same_place() -> None:
    by_claim = Place(claim=("images", "c"), volume="pv", directory=("k8smaster", "/docker/var/lib"))
    assert same_place(by_claim, place_of(registry_object(storage=LOCAL)))


def test_the_same_claim_name_in_another_namespace_is_another_claim() -> None:
    here, there = registry_object(namespace="a"), registry_object(namespace="b")
    assert not same_place(place_of(here), place_of(there))


def test_of_several_the_oldest_is_named_and_equal_age_goes_by_name() -> None:
    storage = {"existingClaim": "c"}
    bodies = [aged("c", 3, storage=storage), aged("a", 1, storage=storage), aged("b", 1, storage=storage)]
    places = [(body, place_of(body)) for body in bodies]
    holder = holder_of_place(bodies[0], places[0][1], places[1:])
    assert holder is not None
    assert holder["metadata"]["name"] == "a"


def on(role: str | None, port: int = 5000) -> dict[str, Any]:
    return {"access": {"hostPort": {"port": port}}, "nodeSelector": {"role": role} if role else {}}


@pytest.mark.parametrize(
    ("younger", "older", "place"),
    [
        (on("master"), on("master"), "k8smaster:5000"),
        (on("master"), on(None), "k8smaster:5000"),
        (on("master"), on("worker"), None),
        (on("master"), on("master", 5001), None),
        (on("master", 30500), {"access": {"nodePort": {"port": 30500}}}, "k8smaster:30500"),
        (on("master"), {}, None),
        ({}, on("master"), None),
    ],
)
def test_a_port_of_a_node_belongs_to_the_oldest(
    younger: dict[str, Any], older: dict[str, Any], place: str | None
) -> None:
    held = holder_of_port(aged("younger", 2, **younger), [aged("older", 1, **older)], NODES)
    assert (held and held[1]) == place
    assert holder_of_port(aged("older", 1, **older), [aged("younger", 2, **younger)], NODES) is None


def test_a_local_volume_ties_its_registry_to_the_node() -> None:
    tied = aged("older", 1, storage=LOCAL, **on(None))
    assert holder_of_port(aged("younger", 2, **on("worker")), [tied], NODES) is None
