"""The tables that the benchmarks write to docs/benchmarks.md: one section a benchmark, replaced when it runs again."""

import os
import platform
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"

INTRODUCTION = """\
# Benchmarks

Written by `make bench` (`python -m tests.bench NAME…` for some). Each figure was measured in one run beside its peer,
so the ratios hold where absolute times, on a shared machine, do not.
"""


@dataclass
class Section:
    """One benchmark's results: rows under a header, the text that explains them, and the bounds that were missed."""

    title: str
    explanation: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def expect(self, holds: bool, bound: str) -> None:
        """Record whether a bound holds; a missed one stands in the document and fails the run."""
        if not holds:
            self.missed.append(bound)

    def markdown(self, *, now: datetime) -> str:
        lines = [f"## {self.title}", "", self.explanation.strip(), ""]
        lines += ["| " + " | ".join(self.header) + " |", "|" + "---|" * len(self.header)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += ["", f"{now:%Y-%m-%d}, {machine()}.", ""]
        lines += [f"**Missed: {bound}**\n" for bound in self.missed]
        return "\n".join(lines)


SPREAD = ("", "median", "fastest", "slowest")
"""The header over rows of `spread`."""


def spread(name: str, seconds: list[float]) -> tuple[str, ...]:
    """A row of what was measured several times."""
    return name, *(f"{figure:.2f} s" for figure in (statistics.median(seconds), min(seconds), max(seconds)))


def alternate(
    ours: Callable[[int], float], theirs: Callable[[int], float], *, rounds: int
) -> tuple[list[float], list[float]]:
    """Measure both in turn, so that a machine that slows down slows both; a first round warms images and caches up.

    Args:
        ours: given the number of the round, the seconds that it took.
        theirs: the same of the peer.
        rounds: that count.
    """
    measured = [(ours(number), theirs(number)) for number in range(rounds + 1)][1:]
    return [mine for mine, _ in measured], [peers for _, peers in measured]


def added(ours: list[float], theirs: list[float]) -> float:
    """Seconds by which the median of ours is above that of theirs."""
    return statistics.median(ours) - statistics.median(theirs)


def machine() -> str:
    """The machine in a few words: cores, memory, kernel, Python."""
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return (
        f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), {gibibytes:.0f} GiB, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


def write(section: Section, *, now: datetime, document: Path = DOCUMENT) -> None:
    """Put the section into the document in the place of its earlier self, or at the end."""
    text = document.read_text() if document.exists() else INTRODUCTION
    mine = section.markdown(now=now).rstrip() + "\n\n"
    earlier = re.compile(rf"^## {re.escape(section.title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    text = earlier.sub(lambda _: mine, text) if earlier.search(text) else f"{text.rstrip()}\n\n{mine}"
    document.write_text(text.rstrip() + "\n")
