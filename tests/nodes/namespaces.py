"""The namespaces of one node on this machine: a network, mount, PID, UTS and IPC namespace, and what runs in them.

`/etc` is an overlay, `/run` a tmpfs, `/var/lib/{docker,containerd,regkeeper,rancher}` live in a temporary directory, so
that nothing of the machine changes. Leaving the context kills the node's PID 1, which ends everything in it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.waiting import wait_for

ADDRESS = "10.99.0.11"
SECOND_ADDRESS = "10.99.0.12"
ADDRESS_V6 = "fd99::11"

_SET_UP = f"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$NODE/up" "$NODE/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$NODE/up,workdir=$NODE/work" overlay /etc
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p /etc/docker /etc/containerd
hostname node
ip link set lo up
ip address add {ADDRESS}/24 dev lo
ip address add {SECOND_ADDRESS}/24 dev lo
ip -6 address add {ADDRESS_V6}/64 dev lo nodad
printf '127.0.0.1 localhost\\n::1 localhost\\n{ADDRESS} node master.example\\n{ADDRESS_V6} six.example\\n' > /etc/hosts
printf 'hosts: files\\n' > /etc/nsswitch.conf
: > /etc/resolv.conf
rm -f /etc/docker/daemon.json /etc/default/docker
touch "$NODE/ready"
exec sleep infinity
"""


_COLLECTOR = {"GOGC": "400"}
"""Go's garbage collector took a quarter of the time of dockerds that start and of what they start."""


class Daemon:
    """A program that runs in the node."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Its pid as the node sees it."""
        status = Path(f"/proc/{self.host_pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])

    @property
    def host_pid(self) -> int:
        """Its pid as the machine sees it: nsenter waits for a child of the node's PID namespace."""
        return int(wait_for(self._children, 5, f"{self.name} in the node")[0])

    def _children(self) -> list[str]:
        return Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()

    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def stop(self, kind: int = signal.SIGTERM) -> None:
        """End it, if it does not end by itself meanwhile."""
        children = wait_for(lambda: not self.running() or self._children(), 5, f"{self.name} in the node")
        if isinstance(children, list):
            with suppress(ProcessLookupError):
                os.kill(int(children[0]), kind)
        self._process.wait(15)


class Namespaces:
    """A node without anything of its own in it; a context manager."""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="regkeeper-node-"))
        with (self.folder / "node.log").open("wb") as log:
            self._holder = subprocess.Popen(
                [
                    *("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc"),
                    *("--kill-child=SIGKILL", "tini", "--", "sh", "-c", _SET_UP),
                ],
                env={**os.environ, "NODE": str(self.folder)},
                stderr=log,
            )
        wait_for((self.folder / "ready").exists, 10, "the node's namespaces")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self._init = int(children[0])
        self.root = Path(f"/proc/{self._init}/root")
        self._daemons: list[Daemon] = []
        self._talker: subprocess.Popen[str] | None = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._talker is not None:
            self._talker.communicate()
        os.kill(self._init, signal.SIGKILL)
        self._holder.wait(10)
        for daemon in self._daemons:
            daemon._process.wait(10)
        wait_for(lambda: not Path(f"/proc/{self._init}").exists(), 10, "the end of the node")
        for cgroup in Path("/sys/fs/cgroup").glob(f"*{self.cgroup}"):
            for folder, _, _ in os.walk(cgroup, topdown=False):
                Path(folder).rmdir()
        shutil.rmtree(self.folder)

    @property
    def cgroup(self) -> str:
        """For the node's containers, in every hierarchy of cgroups v1; removed with the node."""
        return f"/{self.folder.name}"

    def command(self, *command: str) -> list[str]:
        """The command line that runs `command` inside."""
        return ["nsenter", "-t", str(self._init), "-n", "-m", "-p", "-u", "-i", "--", *command]

    def run(
        self, *command: str, check: bool = True, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            self.command(*command),
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            env={**os.environ, **(env or {})},
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def start(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> Daemon:
        log = self.folder / f"{name}-{len(self._daemons)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                # A daemon started under nohup would ignore the signal that tests send.
                self.command("env", "--default-signal=HUP", *command),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **_COLLECTOR, **(env or {})},
            )
        daemon = Daemon(name, process, log)
        self._daemons.append(daemon)
        return daemon

    @property
    def python(self) -> tuple[str, ...]:
        """This environment's Python, which is at the same place in the node."""
        return (sys.executable,)

    def stop_all(self, name: str) -> None:
        """End every program that was started under this name."""
        for daemon in self._daemons:
            if daemon.name == name:
                daemon.stop()

    def path(self, path: str) -> Path:
        """A path of the node as this process reaches it."""
        return self.root / path.lstrip("/")

    def converse(self, program: Path, line: str) -> str:
        """Say a line to a Python program of ours that runs in the node, started at the first, and return its answer."""
        if self._talker is None:
            self._talker = subprocess.Popen(
                self.command(sys.executable, str(program)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._talker.stdin
        assert self._talker.stdout
        self._talker.stdin.write(line + "\n")
        self._talker.stdin.flush()
        return self._talker.stdout.readline().strip()
