"""Which directory is behind a PersistentVolume, and when two of them are the same files."""

from typing import Any

import pytest

from regkeeper.reconcile.registry.directories import Directory, directory_of, same_files

HOSTNAME = "kubernetes.io/hostname"


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"nodeAffinity": {"required": {"nodeSelectorTerms": list(terms)}}}


def term(*nodes: str, key: str = HOSTNAME, operator: str = "In", by: str = "matchExpressions") -> dict[str, Any]:
    return {by: [{"key": key, "operator": operator, "values": list(nodes)}]}


LOCAL = {"local": {"path": "/d"}}
HOST_PATH = {"hostPath": {"path": "/d"}}


@pytest.mark.parametrize(
    ("spec", "directory"),
    [
        ({**LOCAL, **affinity(term("a"))}, Directory("/d", frozenset("a"))),
        ({**HOST_PATH, **affinity(term("a"))}, Directory("/d", frozenset("a"))),
        ({**LOCAL, **affinity(term("a", "b"), term("c"))}, Directory("/d", frozenset("abc"))),
        ({**LOCAL, **affinity(term("a", key="metadata.name", by="matchFields"))}, Directory("/d", frozenset("a"))),
        (HOST_PATH, Directory("/d")),
        ({**HOST_PATH, **affinity(term("a"), term("b", key="zone"))}, Directory("/d")),
        ({**LOCAL, **affinity(term("a", operator="NotIn"))}, Directory("/d")),
        ({"nfs": {"server": "filer", "path": "/d"}}, None),
        ({"csi": {"driver": "a", "volumeHandle": "b"}}, None),
    ],
)
def test_what_is_not_said_of_a_volume_is_any_node(spec: dict[str, Any], directory: Directory | None) -> None:
    assert directory_of({"spec": spec}) == directory


def on(path: str, *nodes: str) -> Directory:
    return Directory(path, frozenset(nodes))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (on("/a/b", "x"), on("/a/b", "x"), True),
        (on("/a/b", "x"), on("/a/b", "y"), False),
        (on("/a/b", "x"), on("/a/b", "x", "y"), True),
        (on("/a/b", "x"), on("/a/b"), True),
        (on("/a/b"), on("/a/b/c"), True),
        (on("/a/b"), on("/a/bc"), False),
        (on("/a/b", "x"), on("/", "x"), True),
        (on("/a/b", "x"), on("//a//b", "x"), True),
        (on("/a/b", "x"), on("/a/./b", "x"), True),
        (on("/a/b", "x"), on("/a/b/", "x"), True),
    ],
)
def test_equal_inside_and_above_are_the_same_files_however_they_are_written(
    one: Directory, other: Directory, same: bool
) -> None:
    assert same_files(one, other) is same
    assert same_files(other, one) is same
