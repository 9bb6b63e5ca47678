"""Engine and oracle on 20,000 random registries: the same survivors, the same victims, the same bytes."""

from collections.abc import Iterator

from tests.bench.random_cases import run_cases
from tests.bench.table import Section

EXPLANATION = """\
Random registries (every kind of manifest, sharing, nested repositories, referrers, damage) and random policies, judged
by the engine and by a second implementation, written from the specification alone (`tests/engine/oracle.py`).
"""


def run() -> Iterator[Section]:
    counts = {"": 15_000, "_on_what_is_about_others": 5_000, "_on_the_limits": 1_000}
    tests = {f"tests/engine/test_oracle.py::test_engine_and_oracle_agree{on}": count for on, count in counts.items()}
    yield from run_cases("Engine and oracle agree", EXPLANATION, tests)
