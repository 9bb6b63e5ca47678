"""How many random cases a test tries: some in `make test`, as many as REGKEEPER_CASES says in a benchmark."""

import os

from hypothesis import HealthCheck, settings


def cases(usual: int) -> settings:
    """The settings of a random test: without a deadline, since other work shares the machine."""
    count = int(os.environ.get("REGKEEPER_CASES", usual))
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])
