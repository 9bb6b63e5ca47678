"""`make test`: says what it needs, installs it, then runs every check and test, phase by phase.

What fails in one phase does not hide the next.

The phases differ in what they share: unit and engine tests share nothing and run side by side; those of the control
plane share one API server; those of the nodes change a node's Docker and so run one after the other. They mostly wait,
for pods and timers, which leaves room for the API server's beside them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

from tests import check
from tests.cluster import requirements
from tests.cluster.fixtures import KUBECONFIG_VARIABLE

UNITS = "not control_plane and not nodes"


@dataclass(frozen=True)
class Phase:
    """One run of pytest."""

    name: str
    markers: str
    parallel: tuple[str, ...] = ()
    """Options of pytest-xdist."""


PHASES = (
    (Phase("units, engine and agent, side by side", UNITS, ("-n", "2", "--dist", "loadgroup")),),
    (
        # The tests of a file share their namespaces, and so a worker.
        Phase("API server", "control_plane and not nodes", ("-n", "2", "--dist", "loadfile")),
        Phase("two nodes", "nodes"),
    ),
)
"""One group after the other; the phases of a group beside each other."""

NEEDS = """\
Needs: Linux, root, 2 cores, 4 GiB of memory, 10 GiB of disk. Debian packages that are missing are installed, without
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


def run_beside_each_other(phases: Sequence[Phase], arguments: Sequence[str]) -> list[str]:
    """Run phases at the same time; return the names of those that failed.

    The first one prints as it goes, each other one when it has ended.
    """
    with ExitStack() as stack:
        running: list[tuple[Phase, subprocess.Popen[bytes], IO[str] | None]] = []
        for phase in phases:
            command = [sys.executable, "-m", "pytest", "-q", "-m", phase.markers, "--durations=10", *phase.parallel]
            output: IO[str] | None = stack.enter_context(tempfile.TemporaryFile("w+")) if running else None
            running.append((phase, subprocess.Popen([*command, *arguments], stdout=output, stderr=output), output))
        failed = []
        for phase, process, written in running:
            print(f"\n=== {phase.name}", flush=True)
            if process.wait():
                failed.append(phase.name)
            if written is not None:
                written.seek(0)
                shutil.copyfileobj(written, sys.stdout)
    return failed


def main(arguments: list[str]) -> int:
    print(NEEDS, flush=True)
    if lacks := missing():
        print(f"Missing: {', '.join(lacks)}. The tests that need neither: make test-unit", file=sys.stderr)
        return 1
    if packages := requirements.missing_packages(requirements.TESTS):
        requirements.install(packages)
    if KUBECONFIG_VARIABLE in os.environ:
        print("These tests need the embedded cluster and will fail:", *embedded_tests(), sep="\n  ", flush=True)
    print("\n=== static checks", flush=True)
    failed = ["static checks"] if check.main() else []
    for group in PHASES:
        failed += run_beside_each_other(group, arguments)
    if failed:
        print(f"\nFailed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
