"""`make test`: says what it needs, installs it, then runs every check and test, phase by phase.

What fails in one phase does not hide the next.

The phases differ in what they share: unit and engine tests share nothing and run side by side; those of the control
plane share one API server; those of the nodes change a node's Docker, so each of the two that run at a time has a
cluster of its own. The last mostly wait, for pods and timers, which leaves room for all others beside them.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from tests.cluster import requirements
from tests.cluster.fixtures import KUBECONFIG_VARIABLE

UNITS = "not control_plane and not nodes"
BESIDE_CLUSTERS = "--ignore=tests/e2e"
"""Where none of the units is, though every process that looks for them would import it (tests/conftest.py)."""
GROUPS = ("--dist", "loadgroup")
"""One test after the other to whichever worker is free, but those of an `xdist_group` all to one."""

ON_CLUSTERS = "--override-ini=testpaths=tests/e2e"
"""Where the tests of clusters are: to find them among all others took each process two seconds (tests/conftest.py)."""


@dataclass(frozen=True)
class Phase:
    """One run of pytest, or of another module."""

    name: str
    markers: str = ""
    parallel: tuple[str, ...] = ()
    """Options of pytest-xdist."""
    module: str = "pytest"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Its command line; `arguments` are for pytest."""
        program = [sys.executable, "-m", self.module]
        if self.module != "pytest":
            return program
        return [*program, "-q", "-m", self.markers, "--durations=10", *self.parallel, *arguments]


@dataclass(frozen=True)
class Ended:
    """How a phase went."""

    phase: Phase
    code: int
    """Its exit status."""
    seconds: float
    processor_seconds: float
    """Of its processes that it has waited for, clusters included."""

    def __str__(self) -> str:
        times = f"{self.seconds:.0f} s, {self.processor_seconds:.0f} s of processor time"
        return f"=== {self.phase.name}: {'FAILED' if self.code else 'ok'} ({times})"


LANES = (
    (
        Phase("units, engine and agent, side by side", UNITS, (BESIDE_CLUSTERS, "-n", "2", *GROUPS)),
        # Not beside the units: an API server that two processors are too few for is no fair test of anything.
        # Its tests wait for the server a third of their time, and by now the other lane is at its end.
        Phase("API server", "control_plane and not nodes", (ON_CLUSTERS, "-n", "3", *GROUPS)),
    ),
    # The files in their order, but for the longest (tests/e2e/conftest.py): those of the folder `installed` share an
    # operator, which others install themselves.
    # A worker that took the place of one that crashed would build a third cluster.
    (
        Phase(
            "two nodes",
            "nodes",
            (ON_CLUSTERS, "-n2", "--dist=loadfile", "--no-loadscope-reorder", "--max-worker-restart=0"),
        ),
        # The shorter lane has the time for them.
        Phase("static checks", module="tests.check"),
    ),
)
"""Beside each other, each one phase after the other."""

NEEDS = """\
Needs: Linux, root, 2 cores, 6 GiB of memory, 10 GiB of disk. Debian packages that are missing are installed, without
starting their services. The first run compiles Kubernetes, etcd, helm, the registry, and further runtimes for the node
agent from Go modules (about 15 minutes) into the user's cache; later ones compile nothing.
REGKEEPER_KUBECONFIG=FILE runs the API server's tests against that cluster; those that need the embedded one then fail.
"""


def missing() -> list[str]:
    """What this machine lacks for the cluster tests, in words."""
    lacks = []
    if sys.platform != "linux":
        lacks.append("Linux (network, mount and PID namespaces)")
    elif os.geteuid() != 0:
        lacks.append("root (namespaces, mounts, a real dockerd)")
    return lacks


def embedded_tests() -> list[str]:
    """Names of the tests that the cluster of REGKEEPER_KUBECONFIG can't serve."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "nodes or embedded", "tests/e2e"]
    collected = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line for line in collected.splitlines() if "::" in line]


def run_lanes(lanes: Sequence[Sequence[Phase]], arguments: Sequence[str]) -> list[str]:
    """Run the phases of each lane after each other, and the lanes at the same time; return the names that failed.

    The first lane prints as it goes, each other one when the first has ended.
    """
    first, *others = lanes
    with ThreadPoolExecutor() as beside:
        running = [beside.submit(_run_aside, phase_by_phase, arguments) for phase_by_phase in others]
        failed = []
        for phase in first:
            _announce(phase)
            ended = _run(phase, arguments)
            print(ended, flush=True)
            if ended.code:
                failed.append(phase.name)
        for lane in running:
            for ended, text in lane.result():
                _announce(ended.phase)
                print(text, ended, sep="", flush=True)
                if ended.code:
                    failed.append(ended.phase.name)
    return failed


def _run_aside(phases: Sequence[Phase], arguments: Sequence[str]) -> list[tuple[Ended, str]]:
    """How each phase went, and what it printed."""
    ended = []
    for phase in phases:
        with tempfile.TemporaryFile("w+") as output:
            one = _run(phase, arguments, output)
            output.seek(0)
            ended.append((one, output.read()))
    return ended


def _run(phase: Phase, arguments: Sequence[str], output: IO[str] | None = None) -> Ended:
    # Modules are installed without being compiled, and hundreds of processes import the same ones.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.monotonic()
    process = subprocess.Popen(phase.command(arguments), stdout=output, stderr=output, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(phase, process.returncode, time.monotonic() - began, usage.ru_utime + usage.ru_stime)


def _announce(phase: Phase) -> None:
    print(f"\n=== {phase.name}", flush=True)


def main(arguments: list[str]) -> int:
    print(NEEDS, flush=True)
    if lacks := missing():
        print(f"Missing: {', '.join(lacks)}. The tests that need neither: make test-unit", file=sys.stderr)
        return 1
    if packages := requirements.missing_packages(requirements.TESTS):
        requirements.install(packages)
    if KUBECONFIG_VARIABLE in os.environ:
        print("These tests need the embedded cluster and will fail:", *embedded_tests(), sep="\n  ", flush=True)
    failed = run_lanes(LANES, arguments)
    if failed:
        print(f"\nFailed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
