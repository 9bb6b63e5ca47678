"""Fixtures that share one cluster among all tests, workers of pytest-xdist and even runs of pytest.

The first user brings it up, the last one takes it down. A user that was killed does not count.
"""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from tests.cluster import records
from tests.cluster.api import Api, Wire
from tests.cluster.cluster import Cluster
from tests.cluster.plan import Plan
from tests.cluster.programs import KUBERNETES
from tests.cluster.records import Extent
from tests.crds import install_crds

T = TypeVar("T")

KUBECONFIG_VARIABLE = "REGKEEPER_KUBECONFIG"
_CHECKOUT = hashlib.sha256(os.fsencode(Path(__file__).resolve())).hexdigest()[:6]
"""Two checkouts on one machine share no cluster: their CRDs may differ."""
CONTROL_PLANE_NAME = f"test-cp-{_CHECKOUT}"
RESTARTED_NAME = f"test-restarts-{_CHECKOUT}"
"""A control plane that tests restart, which nobody else's shall see."""
NODES_NAME = "-".join(("test-nodes", _CHECKOUT, *filter(None, [os.environ.get("PYTEST_XDIST_WORKER")])))


class GivenCluster(Cluster):
    """The cluster of REGKEEPER_KUBECONFIG: it has a kubeconfig and clients, and nothing else of the embedded one.

    A test that asks for more fails, with one line that says why.
    """

    def __init__(self, kubeconfig: Path, proxy: str) -> None:
        super().__init__()
        self._kubeconfig = kubeconfig
        self._api = Api(Wire(proxy))

    @property
    def kubeconfig(self) -> Path:
        return self._kubeconfig

    def api(self) -> Api:
        return self._api

    @property
    def _plan(self) -> Plan:
        pytest.fail(
            f"this test needs the embedded cluster (its nodes, audit log or restarts): unset {KUBECONFIG_VARIABLE}",
            pytrace=False,
        )


class PassingControlPlane(Cluster):
    """An API server with its controllers, our CRDs and no node, which goes with the last of its tests."""

    def furnish(self) -> None:
        """Install the CRDs: of a kind that came later the garbage collector learns half a minute after its start."""
        install_crds(self)

    def drop_namespace(self, name: str) -> None:
        """Leave it until then: its end is a hundred requests, again and again where a finalizer keeps an object."""


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """An API server with its controllers and no node, or the cluster of REGKEEPER_KUBECONFIG; with our CRDs."""
    with _cluster(PassingControlPlane(CONTROL_PLANE_NAME), Extent.CONTROL_PLANE) as cluster:
        # Also where it is there already: one that a killed run left may have those of another day.
        install_crds(cluster)
        yield cluster


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[Cluster]:
    """Both nodes with the images of registries and of the operator, or the cluster of REGKEEPER_KUBECONFIG.

    Each worker of pytest-xdist has its own pair: tests change a node's Docker and kill nodes.
    """
    with _cluster(Cluster(NODES_NAME), Extent.VOLUMES) as cluster:
        yield cluster


@contextmanager
def _cluster(own: Cluster, extent: Extent) -> Iterator[Cluster]:
    if given := os.environ.get(KUBECONFIG_VARIABLE):
        with _proxy(Path(given)) as server:
            yield GivenCluster(Path(given), server)
    else:
        with shared(own, extent) as cluster:
            yield cluster


@contextmanager
def _proxy(kubeconfig: Path) -> Iterator[str]:
    """An address where kubectl, which knows every way to authenticate, passes on what a client asks."""
    command = (KUBERNETES.program("kubectl"), f"--kubeconfig={kubeconfig}", "proxy", "--port=0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            # Its first line ends with the address and the port.
            yield f"http://{process.stdout.readline().split()[-1]}"
        finally:
            process.terminate()


@contextmanager
def shared(cluster: Cluster, extent: Extent) -> Iterator[Cluster]:
    """Use a cluster together with other processes: up with the first, down with the last."""
    with in_common(cluster.name, partial(cluster.up, extent), lambda _: cluster.down()):
        yield cluster


@contextmanager
def in_common(name: str, make: Callable[[], T], remove: Callable[[T], None]) -> Iterator[T]:
    """Use something together with other processes: each makes it, which changes nothing then; the last removes it."""
    me = str(os.getpid())
    with records.users_lock(name) as users:
        made = make()
        # Who could not make it never removes it, and may go on for long: the last of the others has to.
        users.record_self(me)
    try:
        yield made
    finally:
        with records.users_lock(name) as users:
            users.forget(me)
            users.forget_ended()
            if not users.names():
                remove(made)
