"""Engine and oracle on 20,000 random registries: the same survivors, the same victims, the same bytes."""

from collections.abc import Iterator

from tests.bench.random_cases import run_cases
from tests.bench.table import Section

EXPLANATION = """\
Random registries (every kind of manifest, sharing, nested repositories, referrers, damage) and random policies, judged
by the engine and by a second implementation, written from the specification alone (`tests/engine/oracle.py`).
"""


def run() -> Iterator[Section]:
    agree, limits = "test_engine_and_oracle_agree", "test_engine_and_oracle_agree_on_the_limits"
    tests = {f"tests/engine/test_oracle.py::{agree}": 20_000, f"tests/engine/test_oracle.py::{limits}": 1_000}
    yield from run_cases("Engine and oracle agree", EXPLANATION, tests)
