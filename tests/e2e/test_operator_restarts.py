"""The operator goes on, with no restart of its own, when the API server and etcd restart."""

import json
import signal
from collections.abc import Callable, Iterator

import pytest

from regkeeper import kube
from tests.chart_account import operator_account
from tests.cluster import Cluster, Extent
from tests.cluster.commands import CommandError
from tests.cluster.fixtures import RESTARTED_NAME, shared
from tests.crds import install_crds
from tests.operator_process import OperatorProcess, operator_process
from tests.registry_objects import registry_object
from tests.retention_objects import retention_object
from tests.waiting import wait_for

pytestmark = [pytest.mark.control_plane, pytest.mark.xdist_group("operator-restarts")]

SOON = 90  # seconds; takes 3 on a quiet machine


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A control plane of its own: nobody else's tests shall see the restarts."""
    with shared(Cluster(RESTARTED_NAME), Extent.CONTROL_PLANE) as own:
        install_crds(own)
        yield own


@pytest.fixture(scope="module")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    directory = tmp_path_factory.mktemp("restarts")
    kubeconfig = directory / "kubeconfig"
    with operator_account(cluster, kubeconfig, release="suite"), operator_process(kubeconfig, directory) as running:
        yield running


def test_what_goes_while_no_watch_is_there_is_missed_long_before_the_next_listing_by_the_clock(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    """Its watches begin anew then: they show what is there, of Registries and of runs, and never what went."""
    api = cluster.api()
    api.create(registry_object("kept", namespace="default", storage={"size": "1Gi"}))
    rules = [{"name": "all", "keep": {"last": 2}}]
    api.create(retention_object(namespace="default", registryRef={"name": "kept"}, schedule="@yearly", rules=rules))
    paths = [kube.SERVICE.path("default", "kept"), kube.CRON_JOB.path("default", "keep-last")]

    def uids() -> list[str]:
        return [body["metadata"]["uid"] for body in map(cluster.read, paths) if body is not None]

    wait_for(lambda: len(uids()) == len(paths), SOON, "the Service and the CronJob")
    operator.process.send_signal(signal.SIGSTOP)
    try:
        cluster.restart_api_server()
        before = uids()
        for path in paths:
            api.delete(path)
        assert uids() == []
    finally:
        operator.process.send_signal(signal.SIGCONT)
    wait_for(lambda: len(uids()) == len(paths), SOON, "others in their place")
    assert not set(before) & set(uids())


@pytest.mark.parametrize("restart", [Cluster.restart_api_server, Cluster.restart_etcd])
def test_drift_after_a_restart_is_repaired(
    cluster: Cluster, operator: OperatorProcess, restart: Callable[[Cluster], None]
) -> None:
    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps(registry_object(namespace="default", storage={"ephemeral": {}}))
    )
    wait_for(lambda: uid_of_service(cluster), SOON, "the Service")
    restart(cluster)
    before = uid_of_service(cluster)
    cluster.kubectl("delete", "service", "main")
    wait_for(lambda: uid_of_service(cluster) not in (None, before), SOON, "another Service")
    assert operator.process.poll() is None
    wait_for(lambda: operator.probe("/livez")[0] == 200, SOON, "an operator that is well")


def uid_of_service(cluster: Cluster) -> str | None:
    try:
        return cluster.kubectl("get", "service", "main", "--output=jsonpath={.metadata.uid}")
    except CommandError as error:
        if "NotFound" in str(error):
            return None
        raise
