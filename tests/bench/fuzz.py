"""Minutes of hostile input for the engine."""

from collections.abc import Iterator

from tests.bench.random_cases import run_cases
from tests.bench.table import Section

EXPLANATION = """\
Mutated manifests, links, policies, lists of images in use and arguments: never a traceback, never a deletion of what
the engine could not make sense of.
"""


def run() -> Iterator[Section]:
    yield from run_cases("Hostile input", EXPLANATION, {"tests/engine/test_fuzz.py": 5_000})
