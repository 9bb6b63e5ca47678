"""The programs that look through a registry's volume, measured as whole processes: ours, `garbage-collect`, a floor."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tests.bench.memory import Peak, watched
from tests.registry_process import registry_program

POLICY = """\
apiVersion: regkeeper.dev/v1alpha1
kind: ImageRetention
metadata: {name: bench}
spec:
  rules: [{name: all, keep: {last: %d}}]
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
    """Its memory at the peak, with that of the processes that it forked."""


class Programs:
    """Command lines of the programs that look through one volume, by the names that the tables give them."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root

    def floor(self, processes: int = 1) -> list[str]:
        """A C program that opens what a first run must open, and does nothing else."""
        program, source = self.folder / "floor", Path(__file__).with_name("floor.c")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
        return [str(program), str(self.root / "docker" / "registry" / "v2"), str(processes)]

    def retain(self, *arguments: str, last: int = 30) -> list[str]:
        policy = self.folder / f"last-{last}.yaml"
        policy.write_text(POLICY % last)
        return self.regkeeper("retain", "--policy", str(policy), *arguments)

    def regkeeper(self, command: str, *arguments: str) -> list[str]:
        installed = Path(sys.executable).with_name("regkeeper")
        return [str(installed), command, "--root", str(self.root), *arguments]

    def collect(self, version: Literal["2.8", "3.1"], *options: str) -> list[str]:
        config = self.folder / "config.yml"
        config.write_text(CONFIG % self.root)
        quiet = ("--quiet",) if version == "3.1" else ()
        return [registry_program(version), "garbage-collect", "--dry-run", *quiet, *options, str(config)]


def in_turn(
    programs: Mapping[str, Sequence[str]], rounds: int, *, before: Callable[[], object] = lambda: None
) -> dict[str, list[Cost]]:
    """The costs of each program, run one after the other, so many times; `before` is called before each.

    Memory is looked at in a round of its own: who looks takes a processor from what is measured, each time.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in programs}
    memory: dict[str, float] = {}
    for round_number in range(rounds + 1):
        for name, command in programs.items():
            before()
            if round_number == 0:
                memory[name] = cost(command).mebibytes
                continue
            costs[name].append(replace(cost(command, look=False), mebibytes=memory[name]))
            print(f"{name}: {costs[name][-1]}", flush=True)
    return costs


def rows(costs: Mapping[str, Iterable[Cost]], ours: str) -> list[tuple[str, ...]]:
    """Rows for a table: program, median time, CPU, peak memory, how many times as long as `ours`."""
    medians = {name: statistics.median(one.seconds for one in every) for name, every in costs.items()}
    return [
        (
            name,
            f"{medians[name]:.2f} s",
            f"{statistics.median(one.cpu_seconds for one in every):.2f} s",
            f"{max(one.mebibytes for one in every):.0f} MiB",
            f"{medians[name] / medians[ours]:.1f}",
        )
        for name, every in costs.items()
    ]


HEADER = ("program", "median", "CPU", "peak memory", "times regkeeper's")


def seconds(costs: Mapping[str, Iterable[Cost]], name: str) -> float:
    return statistics.median(one.seconds for one in costs[name])


def load() -> str:
    """What else the machine did; beside more work than it has cores, CPU says more than the median."""
    return f"Load average at the end: {os.getloadavg()[0]:.1f}."


def cost(command: Sequence[str], *, stdin: bytes = b"", look: bool = True) -> Cost:
    """Run a program to its end.

    Args:
        command: the program.
        stdin: what it reads.
        look: at its memory; otherwise that of its largest process is told.

    Raises:
        RuntimeError: it failed.
    """
    # As in an image, where every module was compiled when it was installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    with watched(process.pid) if look else nullcontext(Peak()) as peak:
        _, status, usage = os.wait4(process.pid, 0)
        took = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    # Of one process the kernel knows the peak exactly, of several nobody does.
    return Cost(took, usage.ru_utime + usage.ru_stime, max(peak.mebibytes, usage.ru_maxrss / 1024))
