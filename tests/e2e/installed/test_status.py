"""What tools that wait for a Registry see, of one that no operator has seen and of one that serves.

Proves of registry.md: "The CRD defaults `status.observedGeneration` to -1 … so that kstatus says InProgress before the
operator has seen it (a test with the operator scaled to 0). helm 4's `--wait` covers custom resources, helm 3's does
not".
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.audit_log import AuditLog
from tests.cluster import Cluster
from tests.helm import NAMESPACE, helm
from tests.registry_objects import registry_object
from tests.room import SOON, Room
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes


@contextmanager
def no_operator(cluster: Cluster) -> Iterator[None]:
    """The operator scaled to 0 for a while."""

    def scale(replicas: int, condition: str) -> None:
        cluster.kubectl("scale", "deployment/regkeeper", f"--namespace={NAMESPACE}", f"--replicas={replicas}")
        selector = "--selector=app.kubernetes.io/component=operator"
        cluster.kubectl(
            "wait", "pods", selector, f"--namespace={NAMESPACE}", f"--for={condition}", f"--timeout={SOON}s"
        )

    scale(0, "delete")
    try:
        yield
    finally:
        scale(1, "create")
        cluster.kubectl("rollout", "status", "deployment/regkeeper", f"--namespace={NAMESPACE}", f"--timeout={SOON}s")


def chart_with_a_registry(folder: Path, room: Room) -> Path:
    """A user's chart that holds a Registry, among other things perhaps."""
    (folder / "templates").mkdir()
    (folder / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "mine", "version": "0.1.0"}))
    body = registry_object(namespace=room.namespace, storage={"ephemeral": {}}, access={"nodePort": {}})
    (folder / "templates" / "registry.yaml").write_text(json.dumps(body))
    return folder


def test_helm_waits_for_a_registry(room: Room, tmp_path: Path) -> None:
    chart = chart_with_a_registry(tmp_path, room)
    options: list[str | Path] = ["mine", chart, "--install", "--wait", f"--namespace={room.namespace}"]
    kubeconfig = room.cluster.kubeconfig
    with no_operator(room.cluster):
        gave_up = helm("upgrade", *options, "--timeout=10s", kubeconfig=kubeconfig, check=False)
        assert gave_up.returncode
        assert "InProgress" in gave_up.stdout + gave_up.stderr
        assert room.status() == {"observedGeneration": -1}
    helm("upgrade", *options, f"--timeout={SOON}s", kubeconfig=kubeconfig)
    assert room.condition("Ready")["status"] == "True"


def test_helm_3_does_not_wait_for_a_registry(room: Room, tmp_path: Path) -> None:
    """docs/install.md says so; if a later helm 3 does, the docs are to change."""
    chart = chart_with_a_registry(tmp_path, room)
    options: list[str | Path] = ["mine", chart, "--wait", f"--namespace={room.namespace}", f"--timeout={SOON}s"]
    with no_operator(room.cluster):
        helm("install", *options, kubeconfig=room.cluster.kubeconfig, version=3)
        assert room.status() == {"observedGeneration": -1}


def test_a_registry_that_is_ready_is_not_written_to(room: Room) -> None:
    """registry.md: "'No write' is counted in the API server's audit log"; here with kubelets that write too."""
    room.registry("quiet", storage={"size": "1Gi"}, access={"nodePort": {}})
    room.await_serving("quiet")
    wait_for(lambda: "repositories" in room.status("quiet"), SOON, "its counts")
    log = AuditLog(room.cluster.audit_log)
    # Each asks for a pass over it, and the next Registry's are after them in the queue.
    room.kubectl("annotate", "registry", "quiet", "mine=yes")
    room.kubectl("label", "deployment", "quiet", "mine=yes")
    room.registry("later")
    room.await_serving("later")
    writes = log.writes_of(f"system:serviceaccount:{NAMESPACE}:")
    assert writes, "those to the later one are seen"
    assert [write for write in writes if "quiet" in write] == []
