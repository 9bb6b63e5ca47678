"""The two-node cluster is what it claims to be: two machines, real programs, one network."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.cluster.images.system import OLD_REGISTRY_IMAGE, REGISTRY_IMAGE, SHELL_IMAGE
from tests.cluster.images.tiny import tiny_image
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

CONTROL_PLANE, WORKER = "k8smaster", "k8sworker1"
TIMEOUT = 90  # seconds


@pytest.fixture
def namespace(two_nodes: Cluster) -> Iterator[str]:
    name = f"cluster-{uuid.uuid4().hex[:8]}"
    two_nodes.kubectl("create", "namespace", name)
    yield name
    two_nodes.kubectl("delete", "namespace", name, "--wait=false")


def test_nodes_have_their_roles(two_nodes: Cluster) -> None:
    nodes = {node["metadata"]["name"]: node for node in _get(two_nodes, "nodes")["items"]}

    assert set(nodes) == {CONTROL_PLANE, WORKER}
    role = "node-role.kubernetes.io/control-plane"
    assert nodes[CONTROL_PLANE]["metadata"]["labels"][role] == ""
    assert {"key": role, "effect": "NoSchedule"} in nodes[CONTROL_PLANE]["spec"]["taints"]
    assert "taints" not in nodes[WORKER]["spec"]


@pytest.mark.parametrize("node", [CONTROL_PLANE, WORKER])
def test_a_node_is_a_machine_of_its_own(two_nodes: Cluster, node: str) -> None:
    def processes() -> list[str]:
        return two_nodes.node_exec(node, ["ps", "-e", "--format=comm"]).stdout.split()

    def has_one_of_each() -> bool:
        return all(processes().count(name) == 1 for name in ("dockerd", "containerd", "kubelet"))

    hostname = two_nodes.node_exec(node, ["hostname"]).stdout.strip()

    # What one of them starts has its name until it is another program.
    wait_for(has_one_of_each, TIMEOUT, lambda: f"one of each: {processes()}")
    assert "kube-apiserver" not in processes()
    assert hostname == node


def test_what_a_node_writes_stays_there(two_nodes: Cluster) -> None:
    name = f"/cluster-test-{uuid.uuid4().hex}"
    for directory in ("/", "/etc", "/var/lib", "/opt", "/root", "/tmp", "/run"):
        two_nodes.node_exec(WORKER, ["touch", directory.rstrip("/") + name])

    assert not [
        path for path in ("/", "/etc", "/var/lib", "/opt", "/root", "/tmp", "/run") if Path(path + name).exists()
    ]
    two_nodes.node_exec(CONTROL_PLANE, ["test", "!", "-e", f"/etc{name}"])


def test_a_pod_with_host_pid_sees_its_node_alone(two_nodes: Cluster, namespace: str) -> None:
    pod = _pod("looks", WORKER, SHELL_IMAGE, ["sh", "-c", "ps -o comm"], hostPID=True)
    _apply(two_nodes, namespace, pod)
    _await_phase(two_nodes, namespace, "looks", "Succeeded")
    seen = two_nodes.kubectl("--namespace", namespace, "logs", "looks").split()

    assert seen.count("dockerd") == 1
    assert seen[1] == "tini"


@pytest.mark.parametrize("image", [REGISTRY_IMAGE, OLD_REGISTRY_IMAGE])
def test_a_registry_serves_across_nodes(two_nodes: Cluster, namespace: str, image: str) -> None:
    """As any uid, on a read-only root, from a pod of the other node, by its own address and its Service's."""
    server = _pod("registry", CONTROL_PLANE, image, None, labels={"app": "registry"})
    server["spec"]["containers"][0]["securityContext"] = {"runAsUser": 4711, "readOnlyRootFilesystem": True}
    server["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/var/lib/registry"}]
    server["spec"] |= {"volumes": [{"name": "data", "emptyDir": {}}], "securityContext": {"fsGroup": 4711}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "registry"},
        "spec": {"selector": {"app": "registry"}, "ports": [{"port": 80, "targetPort": 5000}]},
    }
    _apply(two_nodes, namespace, server, service)
    _await_phase(two_nodes, namespace, "registry", "Running")
    address = _get(two_nodes, "pod", "registry", namespace)["status"]["podIP"]
    service_address = _get(two_nodes, "service", "registry", namespace)["spec"]["clusterIP"]

    ask = "for host in $HOSTS; do until nc $host </dev/null; do sleep 0.2; done; done"
    client = _pod(
        "client", WORKER, SHELL_IMAGE, ["sh", "-c", ask.replace("$HOSTS", f'"{address} 5000" "{service_address} 80"')]
    )
    _apply(two_nodes, namespace, client)
    _await_phase(two_nodes, namespace, "client", "Succeeded")


def test_docker_runs_what_was_loaded(two_nodes: Cluster, tmp_path: Path) -> None:
    name = f"runs.example/{uuid.uuid4().hex}:1"
    two_nodes.docker_load(WORKER, tiny_image(name, name, 2, tmp_path))
    container = two_nodes.node_exec(WORKER, ["docker", "run", "--detach", name]).stdout.strip()
    running = two_nodes.node_exec(WORKER, ["docker", "ps", "--no-trunc", "--format={{.ID}} {{.Image}}"]).stdout
    two_nodes.node_exec(WORKER, ["docker", "rm", "--force", container])

    assert f"{container} {name}" in running


def test_a_claim_is_provisioned_and_its_class_cannot_expand(two_nodes: Cluster, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    pod = _pod("writes", WORKER, SHELL_IMAGE, ["sh", "-c", "echo kept > /data/file"])
    pod["spec"]["containers"][0] |= {
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "securityContext": {"runAsUser": 4711},
    }
    pod["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    _apply(two_nodes, namespace, claim, pod)
    _await_phase(two_nodes, namespace, "writes", "Succeeded")

    assert _get(two_nodes, "pvc", "data", namespace)["status"]["phase"] == "Bound"
    assert "allowVolumeExpansion" not in _get(two_nodes, "storageclass", "local-path")


def test_kubelet_restarted_pods_go_on(two_nodes: Cluster, namespace: str) -> None:
    _apply(two_nodes, namespace, _pod("stays", WORKER, SHELL_IMAGE, ["sleep", "600"]))
    _await_phase(two_nodes, namespace, "stays", "Running")
    before = _get(two_nodes, "pod", "stays", namespace)["status"]["containerStatuses"]
    two_nodes.restart_kubelet(WORKER)

    assert _get(two_nodes, "pod", "stays", namespace)["status"]["containerStatuses"] == before


def test_dockerd_restarted_keeps_images(two_nodes: Cluster, tmp_path: Path) -> None:
    name = f"kept.example/{uuid.uuid4().hex}:1"
    two_nodes.docker_load(WORKER, tiny_image(name, name, 1, tmp_path))
    two_nodes.restart_dockerd(WORKER)

    assert name in two_nodes.node_exec(WORKER, ["docker", "images", "--format={{.Repository}}:{{.Tag}}"]).stdout


def test_a_node_that_lost_power_comes_back(two_nodes: Cluster, namespace: str) -> None:
    _apply(two_nodes, namespace, _pod("returns", WORKER, SHELL_IMAGE, ["sleep", "600"]))
    _await_phase(two_nodes, namespace, "returns", "Running")
    two_nodes.node_exec(WORKER, ["mkdir", "--parents", "/docker/var/lib/registry"])
    two_nodes.kill_node(WORKER)
    two_nodes.start_node(WORKER)

    two_nodes.node_exec(WORKER, ["test", "-d", "/docker/var/lib/registry"])
    wait_for(lambda: _restarts(two_nodes, namespace, "returns") == 1, TIMEOUT, lambda: f"{_pods(two_nodes, namespace)}")


def test_the_control_plane_survives_restarts(two_nodes: Cluster, namespace: str) -> None:
    two_nodes.kubectl("--namespace", namespace, "create", "configmap", "kept")
    two_nodes.restart_etcd()
    two_nodes.restart_api_server()

    assert _get(two_nodes, "configmap", "kept", namespace)["metadata"]["name"] == "kept"


def test_the_audit_log_has_every_write(two_nodes: Cluster, namespace: str) -> None:
    two_nodes.kubectl("--namespace", namespace, "create", "configmap", "audited")
    # Whole lines: the server goes on writing.
    events = [json.loads(line) for line in two_nodes.audit_log.read_text().rpartition("\n")[0].splitlines()]
    writes = [
        event
        for event in events
        if event["verb"] == "create" and event.get("objectRef", {}).get("namespace") == namespace
    ]

    assert [event["objectRef"]["name"] for event in writes if event["objectRef"]["resource"] == "configmaps"].count(
        "audited"
    ) == 1


def _pod(
    name: str, node: str, image: str, command: list[str] | None, labels: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        **({"command": command} if command else {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            **spec,
        },
    }


def _apply(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl("--namespace", namespace, "apply", "--server-side", "--filename=-", stdin=document)


def _get(cluster: Cluster, kind: str, name: str = "", namespace: str = "default") -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        cluster.kubectl("--namespace", namespace, "get", kind, *([name] if name else []), "--output=json")
    )
    return answer


def _await_phase(cluster: Cluster, namespace: str, pod: str, phase: str) -> None:
    condition = f"--for=jsonpath={{.status.phase}}={phase}"
    cluster.kubectl("--namespace", namespace, "wait", f"pod/{pod}", condition, f"--timeout={TIMEOUT}s")


def _restarts(cluster: Cluster, namespace: str, pod: str) -> int:
    body = cluster.read(f"/api/v1/namespaces/{namespace}/pods/{pod}")
    assert body is not None, f"{pod} is not there"
    [status] = body["status"]["containerStatuses"]
    return int(status["restartCount"]) if status["ready"] else -1


def _pods(cluster: Cluster, namespace: str) -> str:
    return cluster.kubectl("--namespace", namespace, "get", "pods", "--output=wide")
