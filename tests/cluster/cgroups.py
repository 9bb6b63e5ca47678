"""Each node's part of the machine's cgroups: `regkeeper-CLUSTER/NODE` in every hierarchy of version 1, or in version 2.

A node's own processes live in its child `system`; kubelet makes `kubepods` beside it, dockerd `docker`.
"""

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.cluster.plan import NodePlan, Plan
from tests.waiting import wait_for

ROOT = Path("/sys/fs/cgroup")
SYSTEM = "system"


def version_1() -> bool:
    """Whether the machine has the older kind, a tree for each resource."""
    return not (ROOT / "cgroup.controllers").exists()


def create(plan: Plan, node: NodePlan) -> None:
    """Make the node's groups."""
    for hierarchy in _hierarchies():
        if not version_1():
            # systemd has done it; a machine without it has no controller below its root.
            _delegate(hierarchy)
        cluster = hierarchy / plan.cgroup
        for group in (cluster, cluster / node.name, cluster / node.name / SYSTEM):
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):  # version 1: a group with an empty set takes no process
                if version_1() and (group / name).exists():
                    (group / name).write_text((hierarchy / name).read_text())
            if not version_1() and group.name != SYSTEM:
                _delegate(group)


def _delegate(group: Path) -> None:
    """Let the groups below have every controller that this one has."""
    controllers = (group / "cgroup.controllers").read_text().split()
    (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))


def process_files(plan: Plan, node: NodePlan) -> list[Path]:
    """The files into which a process writes its pid to join the node."""
    return [hierarchy / plan.cgroup / node.name / SYSTEM / "cgroup.procs" for hierarchy in _hierarchies()]


def remove(plan: Plan) -> None:
    """Remove the groups of all nodes. The processes in them have just been killed."""
    _remove_from_the_bottom([hierarchy / plan.cgroup for hierarchy in _hierarchies()])


def remove_node(plan: Plan, node: NodePlan) -> None:
    """Remove those of one node, as none outlives a machine. Kubelet would wait three seconds for each container's."""
    _remove_from_the_bottom([hierarchy / plan.cgroup / node.name for hierarchy in _hierarchies()])


def _remove_from_the_bottom(tops: Sequence[Path]) -> None:
    wait_for(
        lambda: all(_removed(top) for top in tops),
        timeout=60,
        describe=lambda: f"cgroups to become empty: {[str(top) for top in tops if top.exists()]}",
    )


def _hierarchies() -> Iterator[Path]:
    if not version_1():
        yield ROOT
        return
    for hierarchy in sorted(ROOT.iterdir()):
        if hierarchy.is_dir() and not hierarchy.is_symlink() and (hierarchy / "cgroup.procs").exists():
            yield hierarchy


def _removed(top: Path) -> bool:
    if not top.exists():
        return True
    for group in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
        _remove(group)
    _remove(top)
    return not top.exists()


def _remove(group: Path) -> None:
    try:
        group.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
