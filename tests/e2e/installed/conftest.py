"""The operator, installed by the chart before the first test of this folder and uninstalled after the last."""

import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest
import yaml

from regkeeper.kube.resources import REGISTRY
from regkeeper.naming import REGISTRY_NAMESPACE_LABEL
from tests.cluster import Cluster
from tests.e2e.installed.story import story
from tests.operator_process import a_namespace
from tests.release import Release, released
from tests.retained_room import RetainedRoom
from tests.room import SOON, Room, listed, on_node
from tests.waiting import wait_for

ROOT = Path(__file__).parent.parent.parent.parent
DIRECTORIES = "/srv/installed"
LOCAL_NAMESPACE = "installed"
"""Its Registries may use each of LOCAL_DIRECTORIES on the worker."""

LOCAL_DIRECTORIES = tuple(
    f"{DIRECTORIES}/{name}"
    for name in (
        "by-2.8",
        "by-2.8-on-3",
        "by-3.1",
        "subtree",
        "planted",
        "linked",
        "exclusive",
        "goes",
        "absent",
        "retained",
    )
)
GOING_NAMESPACE = "installed-going"
"""A namespace that a test deletes; its Registries may use `left` on the worker."""

TRUSTED_NAMESPACE = "installed-trusted"
"""Its Registries may change what nodes trust, as those of the namespace `default` may."""

FURTHER_HOST = "registry.example:5000"
"""A host that they may name besides."""

WORKER = "k8sworker1"
GROUP = 65532
"""Of all volumes of registries."""

MEMORY = Path("/dev/shm")
"""A file system of the machine that its nodes have too."""

GONE = 90  # seconds


class MakeRoom(Protocol):
    """Makes a namespace of a test's own, which goes at the test's end."""

    def __call__(self, labels: Mapping[str, str] | None = None) -> Room: ...


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a failure tell what the cluster was like: it is gone when somebody reads of it."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("installed")
    if report.failed and cluster is not None:
        report.sections += story(cluster)
    return report


@pytest.fixture(scope="package")
def release(two_nodes: Cluster) -> Iterator[Release]:
    """The operator as the chart installs it, with `chart_values`. Who uninstalls it, installs it again."""
    with released(two_nodes, chart_values()) as release:
        yield release


def chart_values(**trust: object) -> dict[str, Any]:
    """The chart's values for these tests, with further ones below `trust`."""
    values: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "demo-values.yaml").read_text())
    rules = [{"namespaces": [LOCAL_NAMESPACE], "nodes": [WORKER], "path": path} for path in LOCAL_DIRECTORIES]
    rules.append({"namespaces": [GOING_NAMESPACE], "nodes": [WORKER], "path": f"{DIRECTORIES}/left"})
    values["localStorage"] += rules
    values["trust"] = {"namespaces": ["default", TRUSTED_NAMESPACE], "hosts": [FURTHER_HOST], **trust}
    return values


@pytest.fixture(scope="package")
def installed(two_nodes: Cluster, release: Release) -> Iterator[Cluster]:
    """Both nodes with the operator. What the tests made is gone before the operator goes."""
    yield two_nodes
    wait_for(lambda: not _registries(two_nodes), GONE, lambda: f"all Registries to go: {_registries(two_nodes)}")


@pytest.fixture
def make_room(installed: Cluster) -> Iterator[MakeRoom]:
    with ExitStack() as stack:

        def make(labels: Mapping[str, str] | None = None) -> Room:
            return Room(installed, stack.enter_context(a_namespace(installed, "installed", labels)))

        yield make


@pytest.fixture
def room(make_room: MakeRoom) -> Room:
    """A namespace of the test's own."""
    return make_room()


@pytest.fixture(scope="package")
def local_room(installed: Cluster) -> Iterator[Room]:
    """The namespace whose Registries may use directories of the worker; each test takes one of its own."""
    installed.kubectl("create", "namespace", LOCAL_NAMESPACE)
    yield Room(installed, LOCAL_NAMESPACE)
    # Even an empty one takes six seconds to go, which nobody has to wait for.
    installed.drop_namespace(LOCAL_NAMESPACE)
    installed.node_exec(WORKER, ["rm", "-rf", DIRECTORIES])


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """A directory that this machine and both nodes see at the same path, as they would an NFS export."""
    path = MEMORY / f"regkeeper-{uuid4().hex[:8]}"
    path.mkdir()
    shutil.chown(path, group=GROUP)
    path.chmod(0o2775)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="package")
def a_retained_registry(local_room: Room) -> Iterator[RetainedRoom]:
    """A Registry on a directory of the worker, reached at a port of the nodes, for all tests of retention."""
    name, path = "retained", f"{DIRECTORIES}/retained"
    local_room.cluster.node_exec(WORKER, ["mkdir", "--parents", path])
    storage = {"local": {"node": WORKER, "path": path}}
    local_room.registry(name, storage=storage, access={"nodePort": {"nodes": [WORKER]}}, **on_node(WORKER))
    local_room.await_serving(name)
    yield RetainedRoom(local_room, name, node=WORKER, path=path)
    local_room.kubectl("delete", "imageretentions", "--all", f"--timeout={SOON}s")
    local_room.delete("registry", name)


@pytest.fixture
def retained(a_retained_registry: RetainedRoom) -> RetainedRoom:
    """The same, taking pushes: the run of a test that failed may have left it being replaced."""
    a_retained_registry.await_pushes()
    return a_retained_registry


def share_directory(room: Room, path: str) -> None:
    """Make a claim `shared` of a directory of each node. It stands for NFS: kubelet gives neither to a group."""
    make_shared_claim(room, {"hostPath": {"path": path}})


def make_shared_claim(room: Room, source: dict[str, object], *, mode: str = "ReadWriteMany") -> str:
    """Make a claim `shared` of a volume with that source; return the volume's name."""
    name = f"{room.namespace}-shared"
    common = {"accessModes": [mode], "storageClassName": ""}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {REGISTRY_NAMESPACE_LABEL: room.namespace}},
        "spec": {
            **common,
            "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": room.namespace, "name": "shared"},
            **source,
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "shared"},
        "spec": {**common, "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}},
    }
    room.apply(volume, claim)
    return name


def hand_made_volume(room: Room, name: str, path: str, mode: str = "ReadWriteOnce") -> None:
    """Make an administrator's PersistentVolume of a directory of the worker, and a claim that is bound to it."""
    metadata = {"name": f"{room.namespace}-{name}"}
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [WORKER]}
    common = {"accessModes": [mode], "storageClassName": ""}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {**metadata, "labels": {REGISTRY_NAMESPACE_LABEL: room.namespace}},
        "spec": {
            **common,
            "capacity": {"storage": "1Gi"},
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
            "claimRef": {"namespace": room.namespace, "name": name},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {**common, "volumeName": metadata["name"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    room.apply(volume, claim)


def _registries(cluster: Cluster) -> list[str]:
    return [body["metadata"]["name"] for body in listed(cluster, REGISTRY)]
