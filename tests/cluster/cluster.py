"""The cluster as a whole: up, down, and what tests do to it."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.cluster import cgroups, network, records, requirements, storage
from tests.cluster.api import Api
from tests.cluster.commands import run
from tests.cluster.containerd_store import store_of
from tests.cluster.control_plane import ControlPlane
from tests.cluster.images.operator import operator_image
from tests.cluster.images.system import system_images
from tests.cluster.node import Node
from tests.cluster.plan import CONTROL_PLANE_ROLE, Plan
from tests.cluster.programs import ETCD, KUBERNETES, LOCAL_PATH_PROVISIONER
from tests.cluster.progress import say
from tests.cluster.records import Extent
from tests.waiting import wait_for

_NODES_TIMEOUT = 90  # seconds; takes 8 on a quiet machine


class Cluster:
    """A two-node Kubernetes on this machine, or its control plane alone, under a name."""

    def __init__(self, name: str = "regkeeper") -> None:
        records.directory(name)  # refuses a bad name
        self.name = name

    def up(self, wanted: Extent = Extent.VOLUMES) -> None:
        """Bring it up, or what it lacks; what stands beyond that stays. Remains of a crash are removed first."""
        _prepare_machine(wanted)
        with records.cluster_lock(self.name):
            plan = records.load(self.name)
            if plan and not self._whole(plan):
                say(f"{self.name}: removing what an earlier run left")
                self._remove(plan)
                plan = None
            if plan is None:
                self._start(records.allocate(self.name), wanted)
            else:
                self._restart_ended_services()
                self._extend(plan, wanted)
        say(f"{self.name} is up: KUBECONFIG={self.kubeconfig}")

    def down(self) -> None:
        """Remove the cluster and everything that it left. Does nothing if there is none."""
        with records.cluster_lock(self.name):
            if plan := records.load(self.name):
                self._remove(plan)
                say(f"{self.name}: down")

    def status(self) -> dict[str, bool]:
        """Whether each of its processes and each service of its nodes runs, by name; empty if there is no cluster."""
        plan = records.load(self.name)
        if plan is None:
            return {}
        table = records.processes(plan)
        states = {name: table.alive(name) for name in table.names()}
        for node in self._nodes if records.completed(plan) >= Extent.NODES else []:
            states |= {f"{node.plan.name}/{name}": runs for name, runs in node.service_states().items()}
        return states

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator, for any client on this machine."""
        return self._control_plane.kubeconfig

    @property
    def audit_log(self) -> Path:
        """The API server's audit log of writes: a JSON document a line, at level Metadata."""
        return self._control_plane.audit_log

    @property
    def logs(self) -> Path:
        """Directory of the control plane's logs; a node's are in its /var/log."""
        return self._control_plane.logs

    def node_ip(self, node: str) -> str:
        """A node's address."""
        return str(self._plan.node(node).address)

    def node_exec(self, node: str, command: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on a node as root and collect its output.

        Raises:
            CommandError: it failed and `check` is set.
        """
        return self.node(node).run(command, check=check)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl as an administrator and return what it printed.

        Raises:
            CommandError: it failed.
        """
        return run(KUBERNETES.program("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments, text=stdin)

    def api(self) -> Api:
        """An administrator's client, for what is asked often and is not about kubectl."""
        return self._control_plane.api()

    def furnish(self) -> None:
        """Make on the new API server what its controllers shall find at their start: nothing, on most clusters."""

    def drop_namespace(self, name: str) -> None:
        """Delete a namespace, without waiting for its end."""
        self.api().delete(f"/api/v1/namespaces/{name}")

    def read(self, path: str) -> dict[str, Any] | None:
        """What the API server has at that path, as an administrator sees it; None if nothing is there.

        Raises:
            ApiError: it refused.
            OSError: it does not answer.
        """
        return self.api().get(path)

    def load(self, archive: Path) -> None:
        """Bring the images of a docker archive to both nodes, where kubelet finds them; Docker does not.

        Raises:
            CommandError: it is no such archive.
        """
        _in_parallel([partial(node.import_image, archive) for node in self._nodes])

    def docker_load(self, node: str, archive: Path) -> None:
        """Bring the images of a docker archive to one node's Docker.

        Raises:
            CommandError: it is no such archive.
        """
        self.node(node).docker_load(archive)

    def load_operator(self) -> None:
        """Build the operator's image if the project changed, and bring it to both nodes as `regkeeper:dev`."""
        self.load(operator_image())
        say(f"{self.name}: the operator's image is loaded")

    def restart_etcd(self) -> None:
        """Kill etcd and start it again; returns when the API server is ready."""
        self._control_plane.restart_etcd()

    def restart_api_server(self) -> None:
        """Stop the API server and start it again; returns when it is ready."""
        self._control_plane.restart_api_server()

    def kill_node(self, node: str) -> None:
        """Pull a node's plug; its data stay."""
        self.node(node).kill()

    def start_node(self, node: str) -> None:
        """Boot a killed node; returns when Kubernetes says it is Ready again."""
        machine = self.node(node)
        machine.boot()
        machine.start_kubernetes()
        machine.await_docker()
        self._await_ready([machine])

    def rejoin(self, node: str) -> None:
        """Make a node again of a machine whose Node was deleted; returns when it is Ready."""
        self.restart_kubelet(node)
        self._await_ready([self.node(node)])

    def restart_kubelet(self, node: str) -> None:
        """Restart a node's kubelet; returns when it serves. Its pods go on."""
        machine = self.node(node)
        machine.restart_service("kubelet")
        machine.await_kubelet()

    def restart_dockerd(self, node: str) -> None:
        """Restart a node's dockerd; returns when it answers. Containers that Docker itself ran end."""
        machine = self.node(node)
        machine.restart_service("dockerd")
        machine.await_docker()

    def node(self, name: str) -> Node:
        """One node.

        Raises:
            ValueError: there is none of that name.
        """
        plan = self._plan
        return Node(plan, plan.node(name), records.processes(plan))

    @property
    def _plan(self) -> Plan:
        plan = records.load(self.name)
        if plan is None:
            raise RuntimeError(f"there is no cluster {self.name!r}: `python -m tests.cluster up --name {self.name}`")
        return plan

    @property
    def _control_plane(self) -> ControlPlane:
        plan = self._plan
        return ControlPlane(plan, records.processes(plan))

    @property
    def _nodes(self) -> list[Node]:
        plan = self._plan
        return [Node(plan, node, records.processes(plan)) for node in plan.nodes]

    def _whole(self, plan: Plan) -> bool:
        """Whether just that runs which the last `up` completed: no crash, no killed node."""
        expected = {"etcd", "kube-apiserver", "kube-controller-manager"}
        extent = records.completed(plan)
        if extent >= Extent.NODES:
            expected |= {"kube-scheduler", *(node.process_name for node in self._nodes)}
        if extent >= Extent.VOLUMES:
            expected.add(storage.PROCESS)
        table = records.processes(plan)
        return set(table.names()) == expected and all(table.alive(name) for name in expected)

    def _restart_ended_services(self) -> None:
        """A service that ended in a whole cluster, a test's kubelet perhaps, is no reason to begin anew."""
        for node in self._nodes:
            for name, runs in node.service_states().items():
                if node.alive() and not runs:
                    say(f"{self.name}: starting {name} of {node.plan.name} again")
                    node.start_service(name)

    def _start(self, plan: Plan, extent: Extent) -> None:
        say(f"{self.name}: starting the control plane at {plan.server}")
        shutil.rmtree(plan.data, ignore_errors=True)  # a reboot forgets the record, not the data
        network.create(plan)
        self._control_plane.prepare()
        starts = [self._start_control_plane]
        if extent >= Extent.NODES:
            starts.append(self._boot_nodes)
        _in_parallel(starts)
        records.complete(plan, Extent.CONTROL_PLANE)
        self._extend(plan, extent, booted=True)

    def _extend(self, plan: Plan, extent: Extent, *, booted: bool = False) -> None:
        """Add what the control plane, or the nodes, lack of what is wanted."""
        if records.completed(plan) < Extent.NODES <= extent:
            if not booted:
                self._boot_nodes()
            self._join_nodes()
            records.complete(plan, Extent.NODES)
        if records.completed(plan) < Extent.VOLUMES <= extent:
            storage.start(self._control_plane)
            records.complete(plan, Extent.VOLUMES)

    def _boot_nodes(self) -> None:
        """Start both machines, with all images."""
        store = store_of([*system_images(), operator_image()])
        _in_parallel([partial(self._boot, node, store) for node in self._nodes])

    def _start_control_plane(self) -> None:
        self._control_plane.start_servers()
        self.furnish()
        self._control_plane.start_controllers()
        say(f"{self.name}: the control plane is ready")

    def _boot(self, node: Node, store: Path) -> None:
        node.prepare(self._control_plane.certificates, store)
        node.boot()
        say(f"{self.name}: {node.plan.name} runs containerd and dockerd")

    def _join_nodes(self) -> None:
        """Make Kubernetes nodes of the booted machines."""
        control_plane = self._control_plane
        control_plane.start_scheduler()
        nodes = self._nodes
        _in_parallel([node.start_kubernetes for node in nodes])
        self._await_ready(nodes)
        _in_parallel([node.await_docker for node in nodes])
        say(f"{self.name}: {' and '.join(node.plan.name for node in nodes)} are Ready")

    def _await_ready(self, nodes: Sequence[Node]) -> None:
        api = self._control_plane.api()
        for node in nodes:
            path = f"/api/v1/nodes/{node.plan.name}"
            wait_for(partial(api.get, path), _NODES_TIMEOUT, f"{node.plan.name} to register")
            if node.plan.control_plane:  # kubelet may not give itself this label
                api.merge(path, {"metadata": {"labels": {CONTROL_PLANE_ROLE: ""}}})
        for node in nodes:
            wait_for(partial(_ready, api, node), _NODES_TIMEOUT, f"{node.plan.name} to be Ready")

    def _remove(self, plan: Plan) -> None:
        _in_parallel([node.kill for node in self._nodes])
        ControlPlane(plan, records.processes(plan)).stop()
        cgroups.remove(plan)
        network.remove(plan)
        shutil.rmtree(plan.data, ignore_errors=True)
        records.forget(plan)


def _prepare_machine(wanted: Extent) -> None:
    """Check what the machine has, and compile what it lacks of ours."""
    requirements.require(requirements.CONTROL_PLANE if wanted == Extent.CONTROL_PLANE else requirements.NODES)
    for module in (ETCD, KUBERNETES):
        module.directory()
    if wanted >= Extent.NODES:
        system_images()
    if wanted >= Extent.VOLUMES:
        LOCAL_PATH_PROVISIONER.directory()


def _in_parallel(calls: Sequence[Callable[[], object]]) -> None:
    """Make all calls at once; the first exception is raised when all are done."""
    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()


def _ready(api: Api, node: Node) -> bool:
    answer = api.get(f"/api/v1/nodes/{node.plan.name}") or {}
    conditions = answer.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
