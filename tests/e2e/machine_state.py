"""What a cluster could leave behind on the machine, as lines that two moments can be compared by."""

import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import records
from tests.cluster.cache import cache_directory
from tests.cluster.commands import run
from tests.cluster.plan import Plan

_OF_OTHER_TESTS = ("/pytest-of-", "regkeeper-node-", "regkeeper-cgroups-")
"""Of temporary folders, of the agent's nodes and of played clusters: tests beside this one have mounts and cgroups."""

_SETTINGS = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "kernel/panic", "vm/overcommit_memory")


@dataclass(frozen=True)
class MachineState:
    """One line for each thing that there is, and the marks of clusters that others use meanwhile."""

    lines: frozenset[str]
    foreign: frozenset[str]

    def difference(self, other: "MachineState") -> set[str]:
        """What is there at one moment alone and carries no foreign mark."""
        marks = [*self.foreign, *other.foreign, *_OF_OTHER_TESTS]
        if self.foreign != other.foreign:
            marks.append("setting ")  # that of a cluster which has come or gone meanwhile
        return {line for line in self.lines ^ other.lines if not any(mark in f"{line} " for mark in marks)}


def machine_state(own: Collection[str]) -> MachineState:
    """Look at the machine; `own` are the names of the clusters whose traces count."""
    foreign = [plan for name in records.names() if name not in own and (plan := records.load(name))]
    return MachineState(frozenset(_lines()), frozenset(mark for plan in foreign for mark in _marks(plan)))


def _marks(plan: Plan) -> list[str]:
    names = (
        f" {plan.bridge} ",
        f" {plan.bridge}-",
        f"/{plan.bridge}-",
        f"{plan.name} ",
        f"/{plan.name}/",
        f"/{plan.name}.lock",
        f'{plan.name}"',
        plan.cgroup,
    )
    return [*names, f" {str(plan.network)[:-4]}", f" {str(plan.pods)[:-6]}"]


def _lines() -> Iterator[str]:
    for link in Path("/sys/class/net").iterdir():
        yield f"link {link.name}"
    for route in run("ip", "route", "show", "table", "all").splitlines():
        yield f"route {route}"
    for namespace in run("ip", "netns", "list").splitlines():
        yield f"network namespace {namespace}"
    for table in ("filter", "nat", "mangle"):
        for rule in run("iptables", "-w", "-t", table, "-S").splitlines():
            yield f"rule of {table} {rule}"
    for group in Path("/sys/fs/cgroup").glob("*/*/"):
        yield f"cgroup {group}"
    for mount in Path("/proc/self/mounts").read_text().splitlines():
        yield f"mount {mount}"
    for name in _SETTINGS:
        yield f"setting {name} = {Path('/proc/sys', name).read_text().strip()}"
    for directory in (records.ROOT / "clusters", cache_directory() / "clusters"):
        for path in directory.glob("*"):
            yield f"file {path}"
    for process in subprocess.run(
        ["ps", "-ewwo", "args"], check=True, capture_output=True, text=True
    ).stdout.splitlines():
        if str(cache_directory() / "clusters") in process:
            yield f"process {process}"
