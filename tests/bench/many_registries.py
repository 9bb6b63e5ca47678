"""500 Registries with a scheduled ImageRetention each, in a cluster full of other people's objects: what the operator
costs, and how fast it settles.

A control plane without nodes; a stand-in says of the registries' pods that they run, and answers for them. It and the
operators live in the network namespace of a node that is not there, in which all service addresses lead to the
stand-in.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from regkeeper import naming
from regkeeper.settings import Settings
from tests.audit_log import AuditLog
from tests.bench.contents import Contents
from tests.bench.crowd import CONFIG_MAPS, PODS, Crowd
from tests.bench.process_cost import cpu_seconds, peak_memory_mib
from tests.bench.raw_api import Object, RawApi, all_of, raw_api
from tests.bench.table import Section
from tests.chart_account import apply_account, write_kubeconfig
from tests.cluster import Cluster, Extent, network, records
from tests.cluster.commands import run as run_command
from tests.cluster.plan import SERVICES, Plan
from tests.cluster.progress import say
from tests.crds import install_crds
from tests.helm import NAMESPACE as OPERATOR_NAMESPACE
from tests.operator_process import operator_process
from tests.registry_objects import registry_object
from tests.retention_objects import retention_object
from tests.waiting import wait_for_async

ROOT = Path(__file__).parents[2]
REGISTRIES = 500
NAMESPACES = 20
"""Among which they are spread."""
IDLE_SECONDS = Settings().resync_seconds
"""One period of the resync, so that the look at everything that it brings is in the figures."""
LONGEST_SETTLING_SECONDS = 600

MEMORY_MIB = 150
CPU_SHARE = 0.01
RESTART_SECONDS = 60
"""The bounds of issue 3, and of issue 6 for both kinds together."""

NEXT_YEAR = "0 0 1 1 *"
"""No schedule fires while the bench measures."""


@dataclass(frozen=True)
class Idle:
    """What was measured while all was settled."""

    seconds: float
    cpu_shares: list[float]
    """Of a core: regkeeper's, the bare operator's."""
    writes: list[str]
    """Of the account that both use."""
    changes_a_second: float
    """Of foreign objects."""


@dataclass(frozen=True)
class Figures:
    """What one run measured."""

    memory: tuple[float, float]
    """Peaks in MiB: regkeeper's, the bare operator's."""
    idle: Idle
    settling: float
    """Seconds from the first Registry's creation until all were settled."""
    restart: float
    """Seconds from the start of the operator's process until all were settled."""
    load: float
    """The machine's load average at the end."""


def run() -> Iterator[Section]:
    cluster = Cluster("bench-many")
    cluster.up(Extent.CONTROL_PLANE)
    try:
        with tempfile.TemporaryDirectory() as directory:
            yield _section(asyncio.run(_measure(cluster, Path(directory))))
    finally:
        cluster.down()


async def _measure(cluster: Cluster, directory: Path) -> Figures:
    plan = records.load(cluster.name)
    assert plan is not None, "it is up"
    inside = _make_room(plan)
    install_crds(cluster)
    kubeconfig = directory / "kubeconfig"
    write_kubeconfig(cluster, apply_account(cluster, release="bench"), kubeconfig)
    operator = partial(operator_process, kubeconfig, directory, launcher=inside, host=str(plan.nodes[0].address))
    async with raw_api(plan) as api:
        crowd = Crowd(api)
        await crowd.gather()
        say(f"{PODS + CONFIG_MAPS} foreign objects are there")
        with _stand_in(inside, cluster) as stand_in, _bare_operator(inside, kubeconfig) as bare:
            async with crowd.churning():
                with operator() as ours:
                    began = time.monotonic()
                    await _create_registries(api)
                    await _create_retentions(api)
                    await _all_settled(api, grew=0)
                    settling = time.monotonic() - began
                    say(f"{REGISTRIES} Registries are settled; measuring for {IDLE_SECONDS:.0f} s")
                    idle = await _idle(cluster, crowd, ours.process.pid, bare.pid)
                    peak = peak_memory_mib(ours.process.pid)
                stand_in.send_signal(signal.SIGUSR1)
                began = time.monotonic()
                with operator() as again:
                    await _all_settled(api, grew=1)
                    restart = time.monotonic() - began
                    peak = max(peak, peak_memory_mib(again.process.pid))
            return Figures(
                memory=(peak, peak_memory_mib(bare.pid)),
                idle=idle,
                settling=settling,
                restart=restart,
                load=os.getloadavg()[0],
            )


def _make_room(plan: Plan) -> tuple[str, ...]:
    """Make the network namespace of the first node, which goes with the cluster.

    Returns:
        The words that run a command in it.
    """
    node = plan.nodes[0]
    network.create_node(plan, node)
    run_command("ip", "-netns", node.namespace, "route", "add", "local", str(SERVICES), "dev", "lo")
    return "ip", "netns", "exec", node.namespace


def _stand_in(inside: Sequence[str], cluster: Cluster) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    return _program(*inside, sys.executable, "-m", "tests.bench.stand_in", cluster.name)


def _bare_operator(inside: Sequence[str], kubeconfig: Path) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    kopf = (sys.executable, "-m", "kopf", "run", "--quiet", "--all-namespaces")
    return _program(
        *inside, "env", f"KUBECONFIG={kubeconfig}", *kopf, str(Path(__file__).with_name("bare_operator.py"))
    )


@contextmanager
def _program(*command: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program meanwhile, which must not end by itself."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        yield process
        assert process.poll() is None, f"{command} ended by itself"
    finally:
        process.terminate()
        process.wait()


async def _create_registries(api: RawApi) -> None:
    """Create them, each with a volume that its claim will be bound to."""
    names = _names()
    namespaces = [f"team-{number}" for number in range(NAMESPACES)]
    await all_of(api.create("/api/v1/namespaces", {"metadata": {"name": namespace}}) for namespace in namespaces)
    await all_of(api.create("/api/v1/persistentvolumes", _volume(*name)) for name in names)
    await all_of(
        api.create(
            f"/apis/{naming.API_VERSION}/namespaces/{namespace}/registries", registry_object(name, namespace=namespace)
        )
        for namespace, name in names
    )


async def _create_retentions(api: RawApi) -> None:
    """Create one for each Registry."""
    await all_of(
        api.create(
            f"/apis/{naming.API_VERSION}/namespaces/{namespace}/imageretentions", _retention(namespace, registry)
        )
        for namespace, registry in _names()
    )


def _retention(namespace: str, registry: str) -> Object:
    rules = [{"name": "newest", "keep": {"last": 5}}]
    body = retention_object(f"keep-{registry}", namespace=namespace, schedule=NEXT_YEAR, rules=rules)
    body["spec"]["registryRef"]["name"] = registry
    return body


def _names() -> list[tuple[str, str]]:
    return [(f"team-{number % NAMESPACES}", f"registry-{number}") for number in range(REGISTRIES)]


def _volume(namespace: str, registry: str) -> Object:
    return {
        "metadata": {"name": f"{namespace}-{registry}"},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": namespace, "name": naming.claim_name(registry)},
            "hostPath": {"path": f"/volumes/{namespace}/{registry}"},
        },
    }


async def _all_settled(api: RawApi, *, grew: int) -> None:
    """Wait until each Registry is Ready with its storage and tells what its registry holds, and each ImageRetention."""
    lagging: list[Object] = []

    async def all_settled() -> bool:
        items = (await api.get(f"/apis/{naming.API_VERSION}/registries"))["items"]
        policies = (await api.get(f"/apis/{naming.API_VERSION}/imageretentions"))["items"]
        cron_jobs = (await api.get("/apis/batch/v1/cronjobs"))["items"]
        lagging[:] = [item for item in items if not _is_settled(item, grew)]
        lagging.extend(policy for policy in policies if "Ready" not in _true_conditions(policy))
        return len(items) == len(policies) == len(cron_jobs) == REGISTRIES and not lagging

    def describe() -> str:
        return f"all to settle; {len(lagging)} have not, such as {json.dumps(lagging[:1])}"

    await wait_for_async(all_settled, LONGEST_SETTLING_SECONDS, describe)


def _is_settled(registry: Object, grew: int) -> bool:
    counts = (registry["status"].get("repositories"), registry["status"].get("tags"))
    return {"Ready", "StorageReady"} <= _true_conditions(registry) and counts == Contents(
        registry["metadata"]["uid"], grew
    ).counts


def _true_conditions(body: Object) -> set[str]:
    conditions = (body.get("status") or {}).get("conditions", ())
    return {condition["type"] for condition in conditions if condition["status"] == "True"}


async def _idle(cluster: Cluster, crowd: Crowd, *processes: int) -> Idle:
    """Measure while nothing happens to the operators' own objects."""
    log, changes = AuditLog(cluster.audit_log), crowd.changes
    before = [cpu_seconds(process) for process in processes]
    began = time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - began
    shares = [(cpu_seconds(process) - spent) / seconds for process, spent in zip(processes, before, strict=True)]
    return Idle(
        seconds=seconds,
        cpu_shares=shares,
        writes=log.writes_of(f"system:serviceaccount:{OPERATOR_NAMESPACE}:"),
        changes_a_second=(crowd.changes - changes) / seconds,
    )


def _section(figures: Figures) -> Section:
    idle = figures.idle
    section = Section(
        f"{REGISTRIES} Registries",
        f"{REGISTRIES} Registries with claims, and a scheduled ImageRetention each, in {NAMESPACES} namespaces, beside "
        f"{PODS:,} foreign Pods and {CONFIG_MAPS:,} foreign ConfigMaps, of which {idle.changes_a_second:.0f} a second "
        "change all the time. API server and controller manager are real; a stand-in says of the registries' pods that "
        "they run, and answers for them. The bare operator is kopf with one handler that watches the same Registries "
        "and does nothing. Settled: each ImageRetention is Ready, each Registry too, and tells the right numbers of "
        "repositories and tags. Before the restart each registry gets new tags. Idle: "
        f"{idle.seconds:.0f} s, one period of the resync, which looks at every Registry once. CPU is the time of the "
        "process and memory its peak (VmHWM), so other work on the machine (load average "
        f"{figures.load:.1f} at the end) lengthens the two waits above all.",
        ("", "regkeeper", "bare kopf", "ratio", "bound"),
    )
    memory, bare_memory = figures.memory
    share, bare_share = idle.cpu_shares
    writes = 60 * len(idle.writes) / idle.seconds
    section.rows += [
        _row("peak memory", f"{memory:.0f} MiB", f"{bare_memory:.0f} MiB", memory / bare_memory, f"{MEMORY_MIB} MiB"),
        _row("idle CPU", f"{share:.3%}", f"{bare_share:.3%}", share / bare_share, f"{CPU_SHARE:.0%} of a core"),
        ("idle writes a minute", f"{writes:.2g}", "", "", "0"),
        ("restart until all settled", f"{figures.restart:.1f} s", "", "", f"{RESTART_SECONDS} s"),
        (f"{REGISTRIES} created until all settled", f"{figures.settling:.1f} s", "", "", ""),
    ]
    section.expect(memory <= MEMORY_MIB, f"peak memory at most {MEMORY_MIB} MiB")
    section.expect(share <= CPU_SHARE, f"idle CPU at most {CPU_SHARE:.0%} of a core")
    section.expect(not idle.writes, f"no write while idle, but {', '.join(idle.writes[:5])}")
    section.expect(figures.restart <= RESTART_SECONDS, f"settled {RESTART_SECONDS} s after a restart")
    return section


def _row(name: str, ours: str, bare: str, ratio: float, bound: str) -> tuple[str, ...]:
    return name, ours, bare, f"{ratio:.1f}", bound
