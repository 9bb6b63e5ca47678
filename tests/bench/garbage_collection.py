"""Planning a deletion against what registries come with: `garbage-collect --dry-run` of distribution 2.8 and 3.1.

Whole processes are timed, in turn, on one volume with a warm cache; `floor` is a C program that opens the same files
and does nothing else. REGKEEPER_BENCH_REPOSITORIES makes the volume smaller or larger than 500 repositories.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.bench.reference_volume import TAGS, ReferenceVolume
from tests.bench.table import Section
from tests.registry_process import registry_program

ROUNDS = 3
POLICY = """\
apiVersion: regkeeper.dev/v1alpha1
kind: ImageRetention
metadata: {name: bench}
spec:
  rules: [{name: all, keep: {last: 30}}]
  protect: {inUse: false}
"""
CONFIG = """\
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}
http: {addr: "127.0.0.1:0"}
"""


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    seconds: float
    cpu_seconds: float
    mebibytes: float
    """Its largest resident set."""


def run() -> Iterator[Section]:
    repositories = int(os.environ.get("REGKEEPER_BENCH_REPOSITORIES", "500"))
    with tempfile.TemporaryDirectory(prefix="regkeeper-bench-") as folder:
        root = Path(folder) / "volume"
        ReferenceVolume(root, repositories=repositories, now=time.time()).write()
        yield measure(Path(folder), root, repositories)


def measure(folder: Path, root: Path, repositories: int) -> Section:
    programs = _programs(folder, root)
    costs: dict[str, list[Cost]] = {name: [] for name in programs}
    for turn in range(-1, ROUNDS):  # turn -1 warms the cache up
        for name, command in programs.items():
            cost = _cost(command)
            if turn >= 0:
                costs[name].append(cost)
    medians = {name: statistics.median(cost.seconds for cost in measured) for name, measured in costs.items()}
    ours = medians["regkeeper"]
    section = Section(
        "Planning against garbage-collect",
        f"{repositories} repositories of {TAGS} tags, warm cache, whole processes in turn, the median of {ROUNDS}: "
        "`regkeeper retain --dry-run` with `keep: {last: 30}` (mark, rules, plan and 40 lines a repository of reasons) "
        "against `garbage-collect --dry-run`, which without `-m` looks for unneeded blobs only.",
        ("program", "median", "CPU", "peak RSS", "times regkeeper's"),
    )
    for name, measured in costs.items():
        cpu = statistics.median(cost.cpu_seconds for cost in measured)
        memory = max(cost.mebibytes for cost in measured)
        ratio = f"{medians[name] / ours:.1f}"
        section.rows.append((name, f"{medians[name]:.2f} s", f"{cpu:.2f} s", f"{memory:.0f} MiB", ratio))
    section.expect(medians["3.1"] >= 10 * ours, "10 times faster than garbage-collect of 3.1")
    section.expect(medians["3.1 -m"] >= 25 * ours, "25 times faster than garbage-collect -m of 3.1")
    return section


def _programs(folder: Path, root: Path) -> dict[str, list[str]]:
    policy, config, floor = folder / "policy.yaml", folder / "config.yml", folder / "floor"
    policy.write_text(POLICY)
    config.write_text(CONFIG % root)
    source = Path(__file__).with_name("floor.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-o", str(floor), str(source)], check=True)
    versions: tuple[tuple[Literal["2.8", "3.1"], tuple[str, ...]], ...] = (("2.8", ()), ("3.1", ("--quiet",)))
    collect = {
        version: [registry_program(version), "garbage-collect", "--dry-run", *quiet, str(config)]
        for version, quiet in versions
    }
    return {
        "floor": [str(floor), str(root / "docker" / "registry" / "v2")],
        "regkeeper": [
            *(sys.executable, "-m", "regkeeper", "retain", "--dry-run"),
            *("--policy", str(policy), "--root", str(root)),
        ],
        **collect,
        **{f"{version} -m": [*command[:-1], "-m", command[-1]] for version, command in collect.items()},
    }


def _cost(command: list[str]) -> Cost:
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
