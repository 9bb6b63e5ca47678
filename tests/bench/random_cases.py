"""The random tests of the engine with many more cases than `make test` has time for."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

from tests.bench.table import Section

SLICE = 500
"""Cases that a process tries, from a seed of its own: it shows how far it came, and each failure can be repeated."""


def run_cases(title: str, explanation: str, tests: Mapping[str, int]) -> Iterator[Section]:
    """A section about some tests.

    Args:
        title: of the section.
        explanation: what they try.
        tests: how many cases of each test function, or of each in a file.
    """
    section = Section(title, explanation, ("Test", "Cases", "Seeds", "Failed", "Minutes"))
    for test, count in tests.items():
        started = time.monotonic()
        seeds = range(-(-count // SLICE))
        failed = [seed for seed in seeds if not _passes(test, seed)]
        minutes = (time.monotonic() - started) / 60
        which = f"0 to {seeds[-1]}"
        section.rows.append((test, f"{SLICE * len(seeds):,}", which, str(len(failed)), f"{minutes:.0f}"))
        section.expect(not failed, f"every case of {test} passes (--hypothesis-seed={failed})")
    yield section


def _passes(test: str, seed: int) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--hypothesis-seed={seed}", test],
        check=False,
        env={**os.environ, "REGKEEPER_CASES": str(SLICE)},
    )
    return done.returncode == 0
