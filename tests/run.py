"""`make test`: says what it needs, installs it, then runs every check and test, phase by phase.

What fails in one phase does not hide the next.

The phases differ in what they share: unit and engine tests share nothing and run side by side; those of the control
plane share one API server; those of the nodes change a node's Docker and so run one after the other.
"""

import os
import subprocess
import sys
from dataclasses import dataclass

from tests import check
from tests.cluster import requirements

UNITS = "not control_plane and not nodes"


@dataclass(frozen=True)
class Phase:
    """One run of pytest."""

    name: str
    markers: str
    parallel: tuple[str, ...] = ()
    """Options of pytest-xdist."""


PHASES = (
    Phase("units, engine and agent, side by side", UNITS, ("-n", "2", "--dist", "loadgroup")),
    # The tests of a file share their namespaces, and so a worker.
    Phase("API server", "control_plane and not nodes", ("-n", "2", "--dist", "loadfile")),
    Phase("two nodes", "nodes"),
)

NEEDS = """\
Needs: Linux, root, 2 cores, 4 GiB of memory, 10 GiB of disk. Debian packages that are missing are installed, without
starting their services. The first run compiles Kubernetes, etcd, helm and the
registry from Go modules (about 10 minutes) into the user's cache; later ones compile nothing.
REGKEEPER_KUBECONFIG=FILE runs the cluster tests against that cluster; those that need the embedded one then fail.
"""


def missing() -> list[str]:
    """What this machine lacks for the cluster tests, in words."""
    lacks = []
    if sys.platform != "linux":
        lacks.append("Linux (network, mount and PID namespaces)")
    elif os.geteuid() != 0:
        lacks.append("root (namespaces, mounts, a real dockerd)")
    return lacks


def main(arguments: list[str]) -> int:
    print(NEEDS, flush=True)
    if lacks := missing():
        print(f"Missing: {', '.join(lacks)}. The tests that need neither: make test-unit", file=sys.stderr)
        return 1
    if packages := requirements.missing_packages(requirements.TESTS):
        requirements.install(packages)
    print("\n=== static checks", flush=True)
    failed = ["static checks"] if check.main() else []
    for phase in PHASES:
        print(f"\n=== {phase.name}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-m", phase.markers, "--durations=10", *phase.parallel]
        if subprocess.run([*command, *arguments], check=False).returncode:
            failed.append(phase.name)
    if failed:
        print(f"\nFailed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
