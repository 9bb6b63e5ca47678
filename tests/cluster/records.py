"""What stands on this machine: one directory a cluster under /run, so that a reboot forgets what it ended.

A cluster is recorded before anything of it is made. What a crash leaves can thus always be found and removed.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path

from tests.cluster import network
from tests.cluster.cache import cache_directory
from tests.cluster.locks import locked
from tests.cluster.plan import NAME_PATTERN, SLOTS, Plan
from tests.cluster.processes import ProcessTable

ROOT = Path("/run/regkeeper-cluster")
_FORWARDING = ROOT / "ip_forward"


class Extent(IntEnum):
    """How much of a cluster is wanted, or stands."""

    NOTHING = 0
    CONTROL_PLANE = 1
    NODES = 2
    VOLUMES = 3
    """The nodes and a provisioner of volumes, which costs minutes to compile and which a demo does without."""


def directory(name: str) -> Path:
    """Where the cluster of that name is recorded.

    Raises:
        ValueError: it can't be a cluster's name.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(f"a cluster's name has up to 32 lower-case letters, digits and dashes, unlike {name!r}")
    return ROOT / "clusters" / name


def processes(plan: Plan) -> ProcessTable:
    """The recorded processes of a cluster."""
    return ProcessTable(directory(plan.name) / "processes")


@contextmanager
def cluster_lock(name: str) -> Iterator[None]:
    """Nobody else changes the cluster of that name meanwhile."""
    with locked(directory(name).with_name(f"{name}.lock")):
        yield
    _remove_if_empty(ROOT / "clusters", ROOT)


@contextmanager
def users_lock(name: str) -> Iterator[ProcessTable]:
    """The processes that share the cluster of that name; nobody else changes the table meanwhile."""
    path = ROOT / "users" / name
    with locked(path.with_name(f"{name}.lock")):
        yield ProcessTable(path)
        _remove_if_empty(path)
    _remove_if_empty(ROOT / "users", ROOT)


def shared_names() -> list[str]:
    """The names of all that processes share, or that killed ones did."""
    return sorted({path.name.removesuffix(".lock") for path in ROOT.glob("users/*")})


def forget_ended_users(name: str) -> None:
    """Remove what killed processes left that shared something of that name."""
    with users_lock(name) as users:
        users.forget_ended()


def load(name: str) -> Plan | None:
    """The recorded cluster of that name, dead or alive."""
    try:
        record = json.loads((directory(name) / "plan.json").read_text())
    except FileNotFoundError:
        return None
    return Plan(**{**record, "data": Path(record["data"])})


def names() -> list[str]:
    """The names of all recorded clusters."""
    return sorted(path.parent.name for path in ROOT.glob("clusters/*/plan.json"))


def allocate(name: str) -> Plan:
    """Record a new cluster in the first slot whose bridge and subnets are free on this machine.

    Raises:
        RuntimeError: no slot is free.
    """
    with locked(ROOT / "lock"):
        taken = {plan.slot for other in names() if (plan := load(other))}
        routed = network.routed_networks()
        for slot in SLOTS:
            plan = Plan(name, slot, cache_directory() / "clusters" / name, network.outward_mtu())
            overlaps = any(ours.overlaps(route) for ours in (plan.network, plan.pods) for route in routed)
            if slot not in taken and not overlaps and not network.link_exists(plan.bridge):
                if not _FORWARDING.exists():
                    _FORWARDING.write_text(network.FORWARDING.read_text())
                record = directory(name)
                record.mkdir(parents=True)
                partial = record / ".plan"
                partial.write_text(json.dumps({**asdict(plan), "data": str(plan.data)}))
                partial.rename(record / "plan.json")
                return plan
    raise RuntimeError(f"all {len(SLOTS)} slots are taken: `python -m tests.cluster down --all` frees them")


def complete(plan: Plan, extent: Extent) -> None:
    """Record that this much of the cluster was brought up without a fault."""
    (directory(plan.name) / "extent").write_text(str(int(extent)))


def completed(plan: Plan) -> Extent:
    """How much of the cluster was brought up without a fault."""
    try:
        return Extent(int((directory(plan.name) / "extent").read_text()))
    except FileNotFoundError:
        return Extent.NOTHING


def forget(plan: Plan) -> None:
    """Remove a cluster's record; with the last one, put back the machine's forwarding switch."""
    with locked(ROOT / "lock"):
        shutil.rmtree(directory(plan.name))
        if not names() and _FORWARDING.exists():
            network.FORWARDING.write_text(_FORWARDING.read_text())
            _FORWARDING.unlink()


def _remove_if_empty(*paths: Path) -> None:
    """Remove directories, each only if nothing is in it."""
    for path in paths:
        with suppress(OSError):
            path.rmdir()
