"""The groups of a cluster's nodes in a real hierarchy of version 2, on machines of either kind.

A machine of version 1 has the kernel's version 2 as well, with the controllers that it does not use itself.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster import cgroups
from tests.cluster.plan import Plan

pytestmark = pytest.mark.root

PLAN = Plan(f"cgroups-{os.getpid()}", 0, Path("/nowhere"), 1500)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where version 2 is mounted, with the controllers for its groups as they were, given back at the end."""
    subprocess.run(["mount", "-t", "cgroup2", "none", tmp_path], check=True)
    control = tmp_path / "cgroup.subtree_control"
    before = control.read_text().split()
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    yield tmp_path
    cgroups.remove(PLAN)
    for name in set(control.read_text().split()) - set(before):
        with suppress(OSError):  # another checkout's tests give it to their groups
            control.write_text(f"-{name}")
    subprocess.run(["umount", tmp_path], check=True)


def test_a_node_has_every_controller_for_its_pods_and_its_own_processes_in_a_leaf(root: Path) -> None:
    """A group whose children have controllers takes no process (the kernel's cgroup-v2.rst, "No Internal Process
    Constraint"), and kubelet needs the controllers in the groups that it makes beside `system`.
    """
    controllers = (root / "cgroup.controllers").read_text()
    assert controllers.split()
    for node in PLAN.nodes:
        cgroups.create(PLAN, node)
        (file,) = cgroups.process_files(PLAN, node)
        join = f"echo $$ >{file} && cat /proc/self/cgroup"
        joined = subprocess.run(["sh", "-ec", join], check=True, capture_output=True, text=True).stdout
        assert f"0::/{PLAN.cgroup}/{node.name}/system\n" in joined
        kubepods = root / PLAN.cgroup / node.name / "kubepods"
        kubepods.mkdir()
        assert (kubepods / "cgroup.controllers").read_text() == controllers


def test_nothing_is_left_of_them(root: Path) -> None:
    for node in PLAN.nodes:
        cgroups.create(PLAN, node)
        (root / PLAN.cgroup / node.name / "docker" / "container").mkdir(parents=True)
    cgroups.remove(PLAN)
    assert not (root / PLAN.cgroup).exists()


def test_those_of_a_node_go_with_it_and_no_other(root: Path) -> None:
    first, second = PLAN.nodes
    for node in PLAN.nodes:
        cgroups.create(PLAN, node)
    (root / PLAN.cgroup / first.name / "kubepods" / "container").mkdir(parents=True)
    cgroups.remove_node(PLAN, first)
    assert not (root / PLAN.cgroup / first.name).exists()
    assert (root / PLAN.cgroup / second.name).exists()
