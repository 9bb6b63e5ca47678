"""Clusters come and go: side by side, again after a crash, and without a trace."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, Extent, records
from tests.e2e.machine_state import machine_state
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

NAMES = ("test-life-a", "test-life-b")


@pytest.fixture(scope="module", autouse=True)
def _no_remains() -> Iterator[None]:
    """One test may find what another has brought up: to begin anew takes some seconds each time."""
    yield
    for name in NAMES:
        Cluster(name).down()


def test_nothing_is_left() -> None:
    cluster = Cluster(NAMES[0])
    cluster.down()
    before = machine_state(NAMES)
    cluster.up()
    cluster.node_exec("k8smaster", ["mkdir", "--parents", "/docker/var/lib/registry", "/etc/docker"])
    cluster.node_exec("k8smaster", ["docker", "network", "create", "of-this-test"])
    during = machine_state(NAMES)
    cluster.down()

    assert len(during.difference(before)) > 20
    assert machine_state(NAMES).difference(before) == set()


def test_up_again_changes_nothing() -> None:
    cluster = Cluster(NAMES[0])
    cluster.up(Extent.CONTROL_PLANE)
    cluster.kubectl("create", "namespace", "kept")
    before = _pids(cluster)
    cluster.up(Extent.CONTROL_PLANE)

    assert _pids(cluster) == before
    assert cluster.kubectl("get", "namespace", "kept", "--output=name") == "namespace/kept\n"


def test_up_after_a_crash_begins_anew() -> None:
    cluster = Cluster(NAMES[0])
    cluster.up(Extent.CONTROL_PLANE)
    cluster.kubectl("create", "namespace", "lost")
    os.kill(_pids(cluster)["etcd"], signal.SIGKILL)
    wait_for(lambda: not cluster.status()["etcd"], 10, "the end of etcd")
    cluster.up(Extent.CONTROL_PLANE)

    assert all(cluster.status().values())
    assert "lost" not in cluster.kubectl("get", "namespaces", "--output=name")


def test_two_stand_side_by_side() -> None:
    first, second = (Cluster(name) for name in NAMES)
    first.up(Extent.CONTROL_PLANE)
    second.up(Extent.CONTROL_PLANE)
    first.kubectl("create", "namespace", "of-the-first")

    assert "of-the-first" not in second.kubectl("get", "namespaces", "--output=name")
    first.down()
    assert second.kubectl("get", "--raw", "/readyz") == "ok"
    assert first.status() == {}


def _pids(cluster: Cluster) -> dict[str, int]:
    plan = records.load(cluster.name)
    assert plan is not None
    table = records.processes(plan)
    return {name: process.pid for name in table.names() if (process := table.get(name))}
