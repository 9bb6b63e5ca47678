"""Planning a deletion against what registries come with: `garbage-collect --dry-run` of distribution 2.8 and 3.1.

REGKEEPER_BENCH_REPOSITORIES makes the volume smaller or larger than 500 repositories.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from regkeeper.retention.processes.spread import processors
from tests.bench.programs import HEADER, Programs, cost, in_turn, load, rows, seconds
from tests.bench.reference_volume import REPOSITORIES, TAGS, forget, prepared, settle
from tests.bench.table import Section

ROUNDS = 3


def run() -> Iterator[Section]:
    repositories = int(os.environ.get("REGKEEPER_BENCH_REPOSITORIES", REPOSITORIES))
    with prepared(repositories) as (folder, root):
        yield measure(folder, root, repositories)
        yield measure_again(folder, root, repositories)


def measure(folder: Path, root: Path, repositories: int) -> Section:
    forget(root)
    programs = Programs(folder, root)
    commands = {
        "floor": programs.floor(),
        "regkeeper": programs.retain("--dry-run"),
        "2.8": programs.collect("2.8"),
        "3.1": programs.collect("3.1"),
        "2.8 -m": programs.collect("2.8", "-m"),
        "3.1 -m": programs.collect("3.1", "-m"),
    }
    costs = in_turn(commands, ROUNDS)
    section = Section(
        "Planning against garbage-collect",
        f"{repositories} repositories of {TAGS} tags, warm cache, whole processes in turn, the median of {ROUNDS}: "
        "`regkeeper retain --dry-run` with `keep: {last: 30}` (mark, rules, plan and 40 lines a repository of reasons; "
        f"{processors()} processes read) "
        "against `garbage-collect --dry-run`, which without `-m` looks for unneeded blobs only. `floor` is a C program "
        "that opens what a first run must open, and does nothing else. Of regkeeper's CPU time a third is calls of the "
        f"system, as in the floor, and an eighth the start of Python and its libraries. {load()}",
        HEADER,
        rows(costs, "regkeeper"),
    )
    ours = seconds(costs, "regkeeper")
    section.expect(seconds(costs, "3.1") >= 10 * ours, "10 times faster than garbage-collect of 3.1")
    section.expect(seconds(costs, "3.1 -m") >= 25 * ours, "25 times faster than garbage-collect -m of 3.1")
    return section


def measure_again(folder: Path, root: Path, repositories: int) -> Section:
    settle(root)
    programs = Programs(folder, root)
    cost(programs.retain(last=TAGS))  # deletes nothing, and remembers
    commands = {
        "floor": programs.floor(),
        "regkeeper, again": programs.retain("--dry-run", last=TAGS),
        "regkeeper, again, with victims": programs.retain("--dry-run"),
    }
    costs = in_turn(commands, 2 * ROUNDS + 1)
    section = Section(
        "Planning again",
        f"The same volume of {repositories} repositories after a run that deleted nothing and remembered what it "
        f"read: a dry run that finds nothing to delete (`keep: {{last: {TAGS}}}`), and one that finds a quarter of the "
        f"tags. Warm cache, the median of {2 * ROUNDS + 1}. A quarter of regkeeper's CPU time is the start of Python "
        f"and its libraries, which no record saves. {load()}",
        HEADER,
        rows(costs, "regkeeper, again"),
    )
    section.expect(
        seconds(costs, "regkeeper, again") <= 1.5 * seconds(costs, "floor"), "again within 1.5 times the floor"
    )
    return section
