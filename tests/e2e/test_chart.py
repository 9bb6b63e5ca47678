"""The chart's life on a real cluster: install, test, upgrade, uninstall, install again."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from regkeeper.distribution import Counts, RegistryClient, open_session, registry_url
from tests.cluster import Cluster
from tests.helm import CHART, NAMESPACE
from tests.registry_content import push
from tests.release import Release, released
from tests.room import SOON
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

PATH = "/srv/chart-test"
PORT = 5077
SELECT_VOLUMES = "--selector=regkeeper.dev/registry-namespace="
KINDS = (
    "serviceaccounts,deployments,services,jobs,pods,roles,rolebindings,clusterroles,clusterrolebindings,"
    "validatingadmissionpolicies,validatingadmissionpolicybindings"
)


@contextmanager
def namespace(cluster: Cluster, name: str) -> Iterator[str]:
    cluster.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def apply_registry(cluster: Cluster, namespace: str, spec: dict[str, Any]) -> None:
    metadata = {"name": "main", "namespace": namespace}
    body = {"apiVersion": "regkeeper.dev/v1alpha1", "kind": "Registry", "metadata": metadata, "spec": spec}
    cluster.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(body))


def await_ready(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("wait", "--for=condition=Ready", "registry/main", "--namespace", namespace, f"--timeout={SOON}s")


def registry_pods(cluster: Cluster, namespace: str) -> set[str]:
    selector = "--selector=regkeeper.dev/registry=main"
    return set(cluster.kubectl("get", "pods", "--namespace", namespace, selector, "--output=name").split())


async def counts(url: str) -> Counts:
    async with open_session() as session:
        return await RegistryClient(session, registry_url(url)).count()


def left_of_the_release(cluster: Cluster) -> list[str]:
    """Everything with the release's label; the operator's pod may take a moment to end."""
    selector = "--selector=app.kubernetes.io/instance=regkeeper"
    return cluster.kubectl("get", KINDS, "--all-namespaces", selector, "--output=name").split()


def older_chart(folder: Path) -> Path:
    """The chart as an earlier version might have been: without a column of the CRD."""
    chart = Path(shutil.copytree(CHART, folder / "regkeeper"))
    description = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**description, "version": "0.0.1"}))
    template = chart / "templates" / "crd-registries.yaml"
    head, column, tail = template.read_text().partition("        - name: Tags\n")
    assert column
    template.write_text(head + "        - name: Labels\n" + tail)
    return chart


def columns(cluster: Cluster) -> list[str]:
    path = "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}"
    return cluster.kubectl("get", "customresourcedefinition", "registries.regkeeper.dev", "--output", path).split()


@pytest.mark.parametrize("version", [4, 3], ids=["helm4", "helm3"])
async def test_install_upgrade_uninstall_and_install_again(
    two_nodes: Cluster, tmp_path: Path, version: Literal[3, 4]
) -> None:
    tenant = f"chart-helm{version}"
    two_nodes.node_exec("k8sworker1", ["mkdir", "-p", PATH])
    values = {"localStorage": [{"namespaces": [tenant], "nodes": ["k8sworker1"], "path": PATH}]}
    spec = {
        "storage": {"local": {"node": "k8sworker1", "path": PATH}},
        "access": {"hostPort": {"port": PORT}},
        "nodeSelector": {"kubernetes.io/hostname": "k8sworker1"},
    }
    url = f"http://{two_nodes.node_ip('k8sworker1')}:{PORT}"
    release = Release(two_nodes, version=version, chart=older_chart(tmp_path))
    with namespace(two_nodes, tenant):
        try:
            release.install(values)
            assert "Tags" not in columns(two_nodes)
            apply_registry(two_nodes, tenant, spec)
            await_ready(two_nodes, tenant)
            digest = push(url, "boke/wordpress", "latest")
            pods = registry_pods(two_nodes, tenant)

            release.chart = CHART
            release.install({**values, "log": {"level": "debug"}})
            assert "Tags" in columns(two_nodes)
            release.test()
            await_ready(two_nodes, tenant)
            assert registry_pods(two_nodes, tenant) == pods, "an upgrade of the operator rolls no registry"

            release.uninstall()
            wait_for(lambda: not left_of_the_release(two_nodes), SOON, lambda: left_of_the_release(two_nodes))
            assert registry_pods(two_nodes, tenant) == pods
            assert await counts(url) == Counts(1, 1, complete=True)
            # Nobody is there to take a finalizer off.
            two_nodes.kubectl("delete", "registry", "main", "--namespace", tenant, f"--timeout={SOON}s")

            release.install(values)
            apply_registry(two_nodes, tenant, spec)
            await_ready(two_nodes, tenant)
            async with open_session() as session:
                assert await RegistryClient(session, registry_url(url)).digest("boke/wordpress", "latest") == digest
            release.uninstall()
            two_nodes.kubectl("delete", "namespace", tenant, f"--timeout={SOON}s")
        finally:
            release.uninstall()
            two_nodes.kubectl("delete", "persistentvolumes", SELECT_VOLUMES + tenant)
            two_nodes.node_exec("k8sworker1", ["rm", "-rf", PATH])


def test_watched_namespaces_alone(two_nodes: Cluster) -> None:
    """The operator gets by with a Role in each, and leaves the Registries of other namespaces alone."""
    with (
        namespace(two_nodes, "chart-watched") as watched,
        namespace(two_nodes, "chart-unwatched") as unwatched,
        released(two_nodes, {"watchNamespaces": [watched]}),
    ):
        for name in (unwatched, watched):
            apply_registry(two_nodes, name, {"storage": {"ephemeral": {}}, "access": {"nodePort": {}}})
        await_ready(two_nodes, watched)
        get = ["get", "registry", "main", "--namespace", unwatched, "--output=jsonpath={.status}"]
        assert json.loads(two_nodes.kubectl(*get)) == {"observedGeneration": -1}
        log = two_nodes.kubectl("logs", "deployment/regkeeper", "--namespace", NAMESPACE)
        assert "forbidden" not in log


def test_install_and_remove_without_helm(two_nodes: Cluster) -> None:
    """deploy/install.yaml, by the commands of docs/install.md."""
    manifest = (CHART.parent.parent / "deploy" / "install.yaml").read_text().replace("regkeeper:0.1.0", "regkeeper:dev")
    with namespace(two_nodes, "chart-plain") as tenant:
        try:
            two_nodes.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=manifest)
            two_nodes.kubectl(
                "rollout", "status", "deployment/regkeeper", "--namespace", NAMESPACE, f"--timeout={SOON}s"
            )
            apply_registry(two_nodes, tenant, {"storage": {"ephemeral": {}}, "access": {"nodePort": {}}})
            await_ready(two_nodes, tenant)
        finally:
            selector = "--selector=app.kubernetes.io/name=regkeeper"
            two_nodes.kubectl("delete", "--filename=-", selector, f"--timeout={SOON}s", stdin=manifest)
        wait_for(lambda: not left_of_the_release(two_nodes), SOON, lambda: left_of_the_release(two_nodes))
        assert registry_pods(two_nodes, tenant)
