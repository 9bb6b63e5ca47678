"""What a cluster could leave behind on the machine, as lines that two moments can be compared by."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import records
from tests.cluster.cache import cache_directory
from tests.cluster.commands import run

_SETTINGS = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "kernel/panic", "vm/overcommit_memory")


def machine_state(but: list[str]) -> set[str]:
    """One line for each thing that there is.

    Args:
        but: names of clusters that others use meanwhile; what carries their marks does not count.
    """
    marks = [mark for name in but if (plan := records.load(name)) for mark in _marks(name, plan.slot)]
    return {line for line in _lines() if not any(mark in f"{line} " for mark in marks)}


def _marks(name: str, slot: int) -> list[str]:
    bridge = f"regkeeper{slot}"
    network = (f" 10.99.{slot}.", f" 10.{224 + slot}.")
    return [f" {bridge} ", f" {bridge}-", f"{name} ", f"/{name}/", f'{name}"', f"regkeeper-{name}", *network]


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
        ["ps", "-eo", "args"], check=True, capture_output=True, text=True
    ).stdout.splitlines():
        if str(cache_directory()) in process:
            yield f"process {process}"
