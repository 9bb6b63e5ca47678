"""Thousands of random sequences of pushes, runs, undos, purges and crashes."""

from collections.abc import Iterator

from tests.bench.random_cases import run_cases
from tests.bench.table import Section

EXPLANATION = """\
Up to 25 steps each on one volume, the process killed before any of its mutating calls: every tag that a registry would
serve can be pulled in full after each step, and nothing is lost before a purge that was due.
"""


def run() -> Iterator[Section]:
    yield from run_cases("Sequences of runs and crashes", EXPLANATION, {"tests/engine/test_sequences.py": 3_000})
