"""`make test`: says what it needs, then runs every test, phase by phase; what fails in one does not hide the next.

The phases differ in what they share: unit and engine tests share nothing and run side by side; those of the control
plane share one API server; those of the nodes change a node's Docker and so run one after the other.
"""

import os
import subprocess
import sys
from dataclasses import dataclass

UNITS = "not control_plane and not nodes"


@dataclass(frozen=True)
class Phase:
    """One run of pytest."""

    name: str
    markers: str
    workers: int


PHASES = (
    Phase("units, engine and agent, side by side", UNITS, 2),
    Phase("API server", "control_plane and not nodes", 2),
    Phase("two nodes", "nodes", 0),
)

NEEDS = """\
Needs: Linux, root, 2 cores, 4 GiB of memory, 10 GiB of disk. The first run compiles Kubernetes, etcd, helm and the
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


def main() -> int:
    print(NEEDS, flush=True)
    if lacks := missing():
        print(f"Missing: {', '.join(lacks)}. The tests that need neither: make test-unit", file=sys.stderr)
        return 1
    failed = []
    for phase in PHASES:
        print(f"\n=== {phase.name}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-m", phase.markers, "--durations=10"]
        if phase.workers:
            command += ["-n", str(phase.workers), "--dist", "loadgroup"]
        if subprocess.run([*command, *sys.argv[1:]], check=False).returncode:
            failed.append(phase.name)
    if failed:
        print(f"\nFailed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
