"""What all tests of random cases have in common, by tests/conftest.py."""

import time
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies
from hypothesis.internal.conjecture import engine


def test_a_failure_is_made_smaller_for_half_a_minute_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that is a second later at each look at it: hypothesis looks at it around each case."""
    clock = count()
    monkeypatch.setattr(
        engine, "time", SimpleNamespace(monotonic=time.monotonic, perf_counter=lambda: float(next(clock)))
    )
    failures: list[int] = []

    @given(strategies.lists(strategies.integers()))
    def fails(numbers: list[int]) -> None:
        if len(set(numbers)) > 5:
            failures.append(next(clock))
            pytest.fail("too many")

    with pytest.raises(pytest.fail.Exception):
        fails()
    assert 30 < failures[-1] - failures[0] < 100
