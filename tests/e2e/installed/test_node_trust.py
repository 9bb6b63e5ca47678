"""Nodes trust a Registry by itself: pushes, pulls, kubelet's pulls, and every file as it was once it is deleted.

Proves of nodes.md: "One namespace may change nodes by default", "A node that leaves the selector is reverted",
"Byte for byte where nobody else edited meanwhile", "Deleting a Registry waits for the reverts".
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from regkeeper import kube, naming
from tests import docker
from tests.cluster import Cluster
from tests.cluster.commands import CommandError
from tests.cluster.images.system import old_registry_image
from tests.e2e.installed.conftest import FURTHER_HOST, TRUSTED_NAMESPACE, WORKER, MakeRoom, chart_values
from tests.e2e.installed.files_of_nodes import changed, files, files_of_runtimes
from tests.release import Release
from tests.room import SOON, Room, listed, on_node
from tests.waiting import wait_for

pytestmark = pytest.mark.nodes

MASTER = "k8smaster"
NODES = (MASTER, WORKER)
PORT = 5090
HOST = f"{MASTER}:{PORT}"
IMAGE = f"{HOST}/boke/wordpress:latest"
AGENTS = "regkeeper-nodes"
WRITTEN_BY_HAND = '{"registry-mirrors":   ["https://mirror.example"],\n\t"log-level": "info" }'

SPEC = {"access": {"hostPort": {"port": PORT}}, **on_node(MASTER)}


def process(cluster: Cluster, node: str, pid_file: str = "/run/docker.pid") -> str:
    return cluster.node_exec(node, ["cat", pid_file]).stdout.strip()


@contextmanager
def a_container(cluster: Cluster, node: str) -> Iterator[str]:
    """A container that Docker runs on a node; the id of its process."""
    cluster.docker_load(node, old_registry_image())
    cluster.node_exec(node, ["docker", "run", "--detach", "--name=bystander", "registry:2"])
    try:
        yield container_process(cluster, node)
    finally:
        cluster.node_exec(node, ["docker", "rm", "--force", "bystander"])


def container_process(cluster: Cluster, node: str) -> str:
    return cluster.node_exec(node, ["docker", "inspect", "--format={{.State.Pid}}", "bystander"]).stdout.strip()


@pytest.fixture(scope="module")
def room(installed: Cluster) -> Iterator[Room]:
    installed.kubectl("create", "namespace", TRUSTED_NAMESPACE)
    yield Room(installed, TRUSTED_NAMESPACE)
    installed.drop_namespace(TRUSTED_NAMESPACE)


@pytest.fixture(scope="module")
def before(installed: Cluster) -> Iterator[dict[str, dict[str, bytes]]]:
    """What the nodes hold before each test and after it; the worker has a daemon.json of its administrator's.

    dockerd is not restarted in the end, as its rules for published ports would then come after those of pods.
    """
    daemon_json = installed.node(WORKER).root / "etc/docker/daemon.json"

    def write(text: str, mirrors: str) -> None:
        daemon_json.write_text(text)
        installed.node_exec(WORKER, ["sh", "-c", "kill -HUP $(cat /run/docker.pid)"])
        command = ["docker", "info", "--format={{json .RegistryConfig.Mirrors}}"]
        wait_for(lambda: installed.node_exec(WORKER, command).stdout.strip() == mirrors, SOON, "dockerd's mirrors")

    write(WRITTEN_BY_HAND, '["https://mirror.example/"]')
    yield {node: files(installed, node) for node in NODES}
    write('{"registry-mirrors": []}', "[]")
    daemon_json.unlink()


def delete(room: Room, name: str = "main") -> bool:
    """Delete a Registry; whether nodes have forgotten it, as no Event says that the deletion has waited enough.

    It may have, where a machine is busy. The agents go on then.
    """
    uid = room.need("registry", name)["metadata"]["uid"]
    room.delete("registry", name)
    events = [event for event in room.listed(kube.EVENT) if event["involvedObject"].get("uid") == uid]
    return not any(event["reason"] == "NotReverted" for event in events)


def delete_the_last(room: Room, before: dict[str, dict[str, bytes]], name: str = "main") -> None:
    """Delete a Registry after which nothing of ours is left on nodes."""
    if delete(room, name):
        assert not changed(room.cluster, before)
    await_agents_gone(room)
    assert not changed(room.cluster, before)


def await_agents_gone(room: Room) -> None:
    """The DaemonSet goes once every node has said that nothing of ours is left there."""
    wait_for(lambda: not agents(room), SOON, lambda: f"the agents to go: {agents(room)}")


def agents(room: Room) -> list[str]:
    """Names of their DaemonSets."""
    return [body["metadata"]["name"] for body in listed(room.cluster, kube.DAEMON_SET, AGENTS)]


def replace_key(room: Room) -> None:
    """Delete the key that the agents have, and wait until the operator has made another."""
    api, key = room.cluster.api(), kube.SECRET.path(AGENTS, naming.NODE_AGENT_KEY)

    def uid() -> str:
        secret = api.get(key)
        return str(secret["metadata"]["uid"]) if secret else ""

    def another() -> bool:
        # Whatever happens to their pods has the operator look; it does by itself within half a minute.
        nudge = {"metadata": {"annotations": {"nudge": f"{time.monotonic()}"}}}
        for pod in listed(room.cluster, kube.POD, AGENTS):
            api.merge(kube.POD.path(AGENTS, pod["metadata"]["name"]), nudge)
        return uid() not in ("", old)

    old = uid()
    api.delete(key)
    wait_for(another, SOON, "another key")


def is_held(room: Room) -> bool:
    """Whether the deletion of the Registry would wait for nodes."""
    return naming.NODE_TRUST_FINALIZER in room.need("registry")["metadata"].get("finalizers", ())


def agents_told(room: Room) -> int:
    """How many agents run and have been told what to trust."""
    running = [pod for pod in listed(room.cluster, kube.POD, AGENTS) if pod["status"]["phase"] == "Running"]
    return sum(naming.TRUST_ANNOTATION in pod["metadata"].get("annotations", {}) for pod in running)


def pull_by_kubelet(room: Room, image: str) -> None:
    """Have a pod's image pulled on the worker. (It can't run: it holds no program.)"""
    spec = {"containers": [{"name": "one", "image": image, "imagePullPolicy": "Always"}], **on_node(WORKER)}
    room.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pulled"}, "spec": spec})

    def reasons() -> set[str]:
        return {event["reason"] for event in room.listed(kube.EVENT) if event["involvedObject"]["name"] == "pulled"}

    wait_for(lambda: "Pulled" in reasons(), SOON, lambda: f"kubelet to pull {image}: {reasons()}")
    room.kubectl("delete", "pod", "pulled", "--grace-period=0", "--force")


def test_apply_alone_is_enough_and_delete_leaves_no_trace(room: Room, before: dict[str, dict[str, bytes]]) -> None:
    cluster = room.cluster
    daemons = {node: process(cluster, node) for node in NODES}
    docker.load(cluster, WORKER, IMAGE)
    with pytest.raises(CommandError):
        docker.push(cluster, WORKER, IMAGE)
    with a_container(cluster, WORKER) as bystander:
        room.registry(**SPEC)
        trusted = room.await_condition("NodesTrusted", "Trusted")
        address = f"{cluster.node_ip(MASTER)}:{PORT}"
        assert trusted["message"] == f"2/2 nodes trust {address}, {HOST}."
        assert room.status()["trustedNodes"] == "2/2"

        docker.push(cluster, WORKER, IMAGE)
        docker.pull(cluster, MASTER, IMAGE)
        docker.pull(cluster, MASTER, IMAGE.replace(HOST, address))
        pull_by_kubelet(room, IMAGE)
        for image in (IMAGE, IMAGE.replace(HOST, address)):
            cluster.node_exec(MASTER, ["ctr", "images", "pull", "--hosts-dir=/etc/containerd/certs.d", image])

        edited = json.loads((cluster.node(WORKER).root / "etc/docker/daemon.json").read_text())
        assert edited == {**json.loads(WRITTEN_BY_HAND), "insecure-registries": [address, HOST]}
        delete_the_last(room, before)
        assert container_process(cluster, WORKER) == bystander
    assert {node: process(cluster, node) for node in NODES} == daemons
    for node in NODES:
        cluster.node_exec(node, ["docker", "image", "prune", "--all", "--force"])


def test_a_node_that_leaves_the_selector_is_reverted(room: Room, before: dict[str, dict[str, bytes]]) -> None:
    room.registry(**SPEC)
    room.await_condition("NodesTrusted", "Trusted")
    assert room.status()["trustedNodes"] == "2/2"
    room.registry(**SPEC, nodeTrust={"nodeSelector": {"kubernetes.io/hostname": MASTER}})

    def worker_is_as_before() -> bool:
        return files(room.cluster, WORKER) == before[WORKER]

    wait_for(worker_is_as_before, SOON, lambda: f"the worker to be reverted: {files(room.cluster, WORKER)}")
    wait_for(lambda: room.status().get("trustedNodes") == "1/1", SOON, lambda: f"1/1: {room.status()}")
    assert "etc/docker/daemon.json" in files(room.cluster, MASTER)

    room.registry(**SPEC, nodeTrust={"enabled": False})
    wait_for(lambda: not room.condition("NodesTrusted"), SOON, lambda: f"no condition: {room.status()}")
    assert not changed(room.cluster, before)
    # Switched off, it holds nothing up: the finalizer goes after the condition.
    wait_for(lambda: not is_held(room), SOON, lambda: f"the finalizer to go: {room.need('registry')['metadata']}")
    assert "trustedHosts" not in room.status()
    await_agents_gone(room)
    room.delete("registry")


def test_of_two_registries_one_stays(room: Room, before: dict[str, dict[str, bytes]]) -> None:
    room.registry("one", **SPEC, nodeTrust={"hosts": [FURTHER_HOST]})
    # Nothing answers at the further host, whose name nobody knows.

    def lagging() -> list[str]:
        unresolved = f"can't resolve the name of {FURTHER_HOST}"
        return [node["name"] for node in room.status("one").get("nodes", ()) if unresolved in node["message"]]

    # Before that they lag for other reasons: an agent has not started, or has no list yet.
    wait_for(lambda: lagging() == list(NODES), SOON, lambda: f"both nodes to say so: {room.status('one')}")
    assert room.condition("NodesTrusted", "one")["reason"] == "NodesLag"

    replace_key(room)
    other = {"access": {"hostPort": {"port": PORT + 1}}, **on_node(MASTER)}
    room.registry("two", **other)
    room.await_condition("NodesTrusted", "Trusted", "two")

    def left() -> list[list[str]]:
        settings = [json.loads(files(room.cluster, node)["etc/docker/daemon.json"]) for node in NODES]
        return [each["insecure-registries"] for each in settings]

    of_two = [[f"{room.cluster.node_ip(MASTER)}:{PORT + 1}", f"{MASTER}:{PORT + 1}"]] * len(NODES)
    if delete(room, "one"):
        assert left() == of_two
    wait_for(lambda: left() == of_two, SOON, lambda: f"nodes to forget the one: {left()}")
    delete_the_last(room, before, "two")


def test_a_node_that_joins_later_is_trusted_too(
    room: Room, release: Release, before: dict[str, dict[str, bytes]]
) -> None:
    """Issue 4: "A node that joins later is trusted within 5 s of its agent's start"."""
    cluster = room.cluster
    cluster.kubectl("delete", "node", MASTER)
    release.restart()  # else it would take this one for a node for a minute
    room.registry(access={"hostPort": {"port": PORT}}, **on_node(WORKER))
    room.await_condition("NodesTrusted", "Trusted")
    assert room.status()["trustedNodes"] == "1/1"
    assert not changed(cluster, {MASTER: before[MASTER]})
    cluster.rejoin(MASTER)
    wait_for(lambda: room.status().get("trustedNodes") == "2/2", SOON, lambda: f"2/2: {room.status()}")
    image = IMAGE.replace(HOST, f"{WORKER}:{PORT}")
    docker.load(cluster, MASTER, image)
    docker.push(cluster, MASTER, image)
    cluster.node_exec(MASTER, ["docker", "image", "prune", "--all", "--force"])
    delete_the_last(room, before)


def test_other_namespaces_may_not(make_room: MakeRoom, before: dict[str, dict[str, bytes]]) -> None:
    room = make_room()
    room.registry(**SPEC)
    refused = room.await_condition("NodesTrusted", "NotAllowed")
    assert "trust.namespaces" in refused["message"]
    room.await_serving()
    assert not changed(room.cluster, before)
    assert not agents(room)
    assert not is_held(room)
    room.delete("registry")


def test_drift_is_repaired_and_the_agents_come_back(room: Room, before: dict[str, dict[str, bytes]]) -> None:
    """nodes.md: "SIGTERM, eviction and upgrade revert nothing"."""
    room.registry(**SPEC)
    room.await_condition("NodesTrusted", "Trusted")
    trust = {node: files_of_runtimes(room.cluster, node) for node in NODES}
    room.cluster.kubectl("delete", "pods", f"--namespace={AGENTS}", "--all", f"--timeout={SOON}s")
    assert {node: files_of_runtimes(room.cluster, node) for node in NODES} == trust
    path = room.cluster.node(WORKER).root / "etc/containerd/certs.d" / HOST / "hosts.toml"
    wait_for(lambda: agents_told(room) == len(NODES), SOON, "new agents to be told")
    path.unlink()
    wait_for(path.exists, SOON, "the agent to put the file back")
    room.cluster.kubectl("delete", "daemonset", naming.NODE_AGENT, f"--namespace={AGENTS}")
    wait_for(lambda: agents(room), SOON, "the operator to make the DaemonSet again")
    # New agents may need longer to start than a deletion waits for them. They go on after it.
    room.delete("registry")
    await_agents_gone(room)
    assert not changed(room.cluster, before)


def test_an_uninstall_leaves_the_trust_unless_a_value_takes_it_back(
    room: Room, release: Release, before: dict[str, dict[str, bytes]]
) -> None:
    """nodes.md: "`helm uninstall` removes the agents and leaves the trust; a value reverts the nodes first"."""
    cluster = room.cluster
    room.registry(**SPEC)
    room.await_condition("NodesTrusted", "Trusted")
    trust = {node: files_of_runtimes(cluster, node) for node in NODES}
    try:
        release.uninstall()
        assert cluster.kubectl("get", "namespaces", AGENTS, "--ignore-not-found") == ""
        assert {node: files_of_runtimes(cluster, node) for node in NODES} == trust
        docker.load(cluster, WORKER, IMAGE)
        docker.push(cluster, WORKER, IMAGE)
        cluster.node_exec(WORKER, ["docker", "image", "prune", "--all", "--force"])

        release.install(chart_values(revertOnUninstall=True))
        wait_for(lambda: agents_told(room) == len(NODES), SOON, "the agents to be told again")
        room.await_condition("NodesTrusted", "Trusted")
        assert {node: files_of_runtimes(cluster, node) for node in NODES} == trust, "it is still the same"
        release.uninstall()
        assert not changed(cluster, before)
    finally:
        # The next file's tests want it there, and no Registry of ours.
        release.install(chart_values())
        room.delete("registry")
