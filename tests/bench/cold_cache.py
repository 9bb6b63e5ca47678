"""Planning a deletion on a volume of which the kernel knows nothing yet, against `garbage-collect` of 3.1."""

import os
from collections.abc import Iterator
from pathlib import Path

from regkeeper.retention.planning.planner import WAITING
from regkeeper.retention.processes.touching import THREADS, TOUCHERS
from tests.bench.programs import HEADER, Programs, in_turn, load, rows, seconds
from tests.bench.reference_volume import REPOSITORIES, TAGS, forget, prepared
from tests.bench.table import Section

ROUNDS = 2

AT_ONCE = TOUCHERS * THREADS
"""Processes of the floor that wait for the storage at once, as many as regkeeper has threads that do."""


def run() -> Iterator[Section]:
    with prepared(REPOSITORIES) as (folder, root):
        forget(root)
        programs = Programs(folder, root)
        commands = {
            "floor": programs.floor(),
            f"floor, {AT_ONCE} processes": programs.floor(AT_ONCE),
            "regkeeper": programs.retain("--dry-run"),
            "3.1": programs.collect("3.1"),
        }
        costs = in_turn(commands, ROUNDS, before=drop_caches)
        section = Section(
            "Planning with a cold cache",
            f"{REPOSITORIES} repositories of {TAGS} tags; page cache, inodes and directory entries were dropped before "
            f"each process (`drop_caches`), the median of {ROUNDS}. While the storage makes it wait, regkeeper "
            f"reads in {WAITING} processes, and {TOUCHERS} with {THREADS} threads each touch ahead of them what they "
            f"read; the floor is one, and {AT_ONCE}, which shows what kernel and storage alone take. {load()}",
            HEADER,
            rows(costs, "regkeeper"),
        )
        section.expect(
            seconds(costs, "3.1") >= 10 * seconds(costs, "regkeeper"),
            "10 times faster than garbage-collect of 3.1 on a cold cache",
        )
        yield section


def drop_caches() -> None:
    """Make the kernel forget what it read; needs root."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
