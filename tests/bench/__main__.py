"""`make bench`, or `python -m tests.bench NAME…`: runs the benchmarks, prints and writes their tables.

Each benchmark is a module of this folder with a function `run() -> Iterator[Section]`. Exit status 1: a bound that the
project promises was missed.
"""

import os
import sys
from datetime import UTC, datetime
from importlib import import_module

from tests.bench.table import write

BENCHMARKS: tuple[str, ...] = (
    "apply_to_ready",
    "cold_cache",
    "fuzz",
    "garbage_collection",
    "gate",
    "images_in_use",
    "many_deletions",
    "many_registries",
    "million_blobs",
    "node_agent",
    "node_trust",
    "oracle",
    "sequences",
    "trusted_nodes",
)


def main(names: list[str]) -> int:
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"No such benchmark: {', '.join(sorted(unknown))}. There are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    # An installed regkeeper has its modules compiled. Where the variable is set, one that is run from its sources would
    # compile them anew at each start, a seventh of a second.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    missed = 0
    for name in names or BENCHMARKS:
        print(f"=== {name}", flush=True)
        for section in import_module(f"tests.bench.{name}").run():
            now = datetime.now(UTC)
            print(section.markdown(now=now), flush=True)
            write(section, now=now)
            missed += len(section.missed)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
