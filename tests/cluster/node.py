"""One node, seen from the machine: a process 1 in namespaces of its own, and ways into it."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.cluster import cgroups, containerd_store, network
from tests.cluster.commands import CommandError, failure
from tests.cluster.node_files import node_files, services
from tests.cluster.plan import NodePlan, Plan
from tests.cluster.processes import ProcessTable
from tests.cluster.programs import KUBERNETES
from tests.waiting import wait_for

_INIT = Path(__file__).with_name("node_init.py")
_INSIDE = "/run/regkeeper-node"
_PYTHON = str(Path(sys.executable).resolve())
_BOOT_TIMEOUT = 60  # seconds; takes a fraction of one
_KUBELET_PORT = 10250
_HIDDEN = ("cni", "containerd", "docker", "kubernetes")
"""Directories of the machine's /etc that a node doesn't see."""


@dataclass(frozen=True)
class Node:
    """A running or killed node of a cluster."""

    cluster: Plan
    plan: NodePlan
    processes: ProcessTable

    @property
    def data(self) -> Path:
        """What the node keeps over a reboot."""
        return self.cluster.data / "nodes" / self.plan.name

    @property
    def root(self) -> Path:
        """The node's root directory as the machine sees it while the node runs, its /run and /etc included."""
        return Path(f"/proc/{self._first_process()}/root")

    @property
    def environment(self) -> dict[str, str]:
        """Of everything that runs in the node."""
        path = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{KUBERNETES.directory()}"
        return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8"}

    def prepare(self, certificates: Path, store: Path) -> None:
        """Write the node's files, once in its life; `store` is what its containerd has from the start."""
        (self.data / "root/var/lib").mkdir(parents=True)
        containerd_store.link(store, self.data / "root/var/lib/containerd")
        (self.data / "etc-work").mkdir()
        for name in _HIDDEN:
            hidden = self.data / "etc" / name
            hidden.mkdir(parents=True)
            os.setxattr(hidden, "trusted.overlay.opaque", b"y")
        for name, content in node_files(self.cluster, self.plan, certificates).items():
            path = self.data / "etc" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600 if name.endswith((".key", ".kubeconfig")) else 0o644)
            path.write_text(content)
        (self.data / "spec.json").write_text(json.dumps(self._specification()))

    def boot(self) -> None:
        """Start the machine, with containerd and dockerd; returns when containerd answers."""
        cgroups.create(self.cluster, self.plan)
        network.create_node(self.cluster, self.plan)
        namespaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=SIGKILL"]
        init = ["tini", "--", _PYTHON, "-I", str(_INIT), "boot", str(self.data / "spec.json")]
        command = self._joined(["nsenter", f"--net=/run/netns/{self.plan.namespace}", *namespaces, *init])
        log = self.data / "boot.log"
        self.processes.start(self.process_name, command, log, self.environment)
        wait_for(self._booted, _BOOT_TIMEOUT, lambda: f"{self.plan.name} to boot: {log.read_text()}")
        self.start_service("containerd")
        wait_for(lambda: self._answers("run/containerd/containerd.sock"), _BOOT_TIMEOUT, f"{self._log('containerd')}")
        self.start_service("dockerd")

    def start_kubernetes(self) -> None:
        """Start kubelet and kube-proxy; the API server should be ready, or they retry at growing intervals."""
        self.start_service("kubelet")
        self.start_service("kube-proxy")

    def await_docker(self) -> None:
        """Return when dockerd answers."""
        wait_for(lambda: self._answers("run/docker.sock"), _BOOT_TIMEOUT, f"{self._log('dockerd')}")

    def await_kubelet(self) -> None:
        """Return when kubelet serves the API server's requests."""
        wait_for(self._kubelet_serves, _BOOT_TIMEOUT, f"{self._log('kubelet')}")

    def alive(self) -> bool:
        """Whether the node's process 1 runs."""
        return self.processes.alive(self.process_name)

    def kill(self) -> None:
        """Pull the plug: kill process 1, and with it all others; mounts and network go, data stay."""
        if self.alive():
            os.kill(self._first_process(), signal.SIGKILL)
        self.processes.stop(self.process_name, first=None)  # `unshare` ends with its child
        network.remove_node(self.plan)
        cgroups.remove_node(self.cluster, self.plan)

    def start_service(self, name: str) -> None:
        """Start containerd, dockerd, kubelet or kube-proxy; does not wait until it serves."""
        self.run([_PYTHON, "-I", f"{_INSIDE}/node_init.py", "start", name])

    def restart_service(self, name: str) -> None:
        """End a service, wait until it is gone and start it again; does not wait until it serves."""
        self.run([_PYTHON, "-I", f"{_INSIDE}/node_init.py", "stop", name])
        self.start_service(name)

    def service_states(self) -> dict[str, bool]:
        """Whether each service runs, by its name."""
        return {name: self._service_runs(name) for name in services(self.cluster, self.plan, KUBERNETES.directory())}

    def command(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` in the node, as a child of the caller."""
        target = str(self._first_process())
        enter = ["nsenter", "--target", target, "--net", "--mount", "--uts", "--ipc", "--pid", "--"]
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return self._joined([*enter, "env", "-i", *variables, f"TERM={os.environ.get('TERM', 'dumb')}", *command])

    def run(
        self, command: Sequence[str], *, stdin: IO[bytes] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the node and collect its output.

        Raises:
            CommandError: it failed and `check` is set.
        """
        source = stdin or subprocess.DEVNULL
        done = subprocess.run(self.command(command), stdin=source, capture_output=True, text=True, check=False)
        if check and done.returncode:
            line = shlex.join(command)
            raise CommandError(f"{self.plan.name}: {line}: exit {done.returncode}: {failure(done)}")
        return done

    def import_image(self, archive: Path) -> None:
        """Bring the images of a docker archive into containerd, where kubelet finds them."""
        with archive.open("rb") as content:
            self.run(["ctr", "--namespace", "k8s.io", "images", "import", "-"], stdin=content)

    def docker_load(self, archive: Path) -> None:
        """Bring the images of a docker archive into Docker."""
        with archive.open("rb") as content:
            self.run(["docker", "load", "--quiet"], stdin=content)

    @property
    def process_name(self) -> str:
        return f"node-{self.plan.name}"

    def _joined(self, command: Sequence[str]) -> list[str]:
        """The command, run after joining the node's cgroups."""
        files = [str(path) for path in cgroups.process_files(self.cluster, self.plan)]
        script = f'for file in {" ".join(files)}; do echo $$ > "$file"; done; exec "$@"'
        return ["/bin/sh", "-ec", script, "sh", *command]

    def _first_process(self) -> int:
        """The node's process 1: the only child of the recorded process, which is `unshare`."""
        process = self.processes.get(self.process_name)
        if process is None or not process.alive():
            raise RuntimeError(f"the node {self.plan.name} does not run")
        [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return int(child)

    def _booted(self) -> bool:
        if not self.alive():
            raise RuntimeError(f"{self.plan.name} ended: {(self.data / 'boot.log').read_text()}")
        try:
            return (self.root / f".{_INSIDE}/booted").exists()
        except ValueError:  # the child is not there yet
            return False

    def _service_runs(self, name: str) -> bool:
        if not self.alive():
            return False
        try:
            pid = (self.root / f".{_INSIDE}/{name}.pid").read_text()
            return (self.root / "proc" / pid / "cmdline").read_text() != ""  # a zombie's is empty
        except FileNotFoundError:
            return False

    def _answers(self, path: str) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.root / path))
            except OSError:
                return False
        return True

    def _kubelet_serves(self) -> bool:
        try:
            socket.create_connection((str(self.plan.address), _KUBELET_PORT), timeout=1).close()
        except OSError:
            return False
        return True

    def _log(self, service: str) -> Path:
        return self.data / "root/var/log" / f"{service}.log"

    def _specification(self) -> dict[str, Any]:
        binds = {Path("/usr"), Path(sys.base_prefix), KUBERNETES.directory()}
        pods = str(self.cluster.pods)
        masquerade = ["iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-s", pods, "!", "-d", pods, "-j"]
        return {
            "hostname": self.plan.name,
            "root": str(self.data / "root"),
            "etc": ["/etc", str(self.data / "etc"), str(self.data / "etc-work")],
            "binds": sorted(str(path) for path in binds),
            "commands": [[*masquerade, "MASQUERADE"]],
            "services": services(self.cluster, self.plan, KUBERNETES.directory()),
            "environment": self.environment,
        }
