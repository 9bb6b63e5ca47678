"""Namespaces that may have directories: each is taken once, and who comes too late is told what to raise."""

from pathlib import Path

import pytest

from tests.e2e.directories import NAMESPACES, take_namespace


def test_each_is_taken_once_and_everybody_who_comes_later_is_told_what_to_raise(tmp_path: Path) -> None:
    taken = [take_namespace(tmp_path) for _ in NAMESPACES]
    assert sorted(taken) == sorted(NAMESPACES)
    for _ in range(2):  # an iterator that ended once says nothing more
        with pytest.raises(RuntimeError, match=r"all 80 .* raise MOST_NAMESPACES in .*directories\.py"):
            take_namespace(tmp_path)
