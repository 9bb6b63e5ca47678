"""The tables of sentences: each test that one names is there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TABLES = sorted(TESTS.glob("*/sentences.md"))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.parent.name)
def test_every_test_that_a_table_names_is_there(table: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", table.read_text()))
    texts = [file.read_text() for file in TESTS.glob("**/test_*.py")]
    there = {name for text in texts for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)}
    assert len(named) > 50
    assert named <= there, named - there


def test_each_room_of_the_specification_has_its_table() -> None:
    assert {table.parent.name for table in TABLES} >= {"engine", "e2e", "nodes"}
