"""The random tests of the engine with many more cases than `make test` has time for."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.bench.table import Section


def run_cases(title: str, explanation: str, test: str, count: int) -> Iterator[Section]:
    """A section about one file of tests, each of which tried `count` cases."""
    section = Section(title, explanation, ("Tests", "Cases each", "Passed", "Failed", "Minutes"))
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", test],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "REGKEEPER_CASES": str(count)},
    )
    sys.stdout.write(done.stdout)
    passed, failed = (
        int(match[1]) if (match := re.search(rf"(\d+) {word}", done.stdout)) else 0 for word in ("passed", "failed")
    )
    minutes = (time.monotonic() - started) / 60
    section.rows.append((test, f"{count:,}", str(passed), str(failed), f"{minutes:.0f}"))
    section.expect(done.returncode == 0 and passed > 0, f"every case of {test} passes")
    yield section
