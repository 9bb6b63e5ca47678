"""docs/reference/runtimes.md names tests that there are."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reference" / "runtimes.md"


def functions_of(module: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / "nodes" / f"{module}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_fact_is_shown_by_tests_that_exist() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ") and "::" in line]
    assert len(rows) > 30
    named = {tuple(name.split("::")) for row in rows for name in re.findall(r"`(test_\w+::test_\w+)`", row)}
    assert not [f"{module}::{test}" for module, test in named if test not in functions_of(module)]


def test_no_fact_stands_there_without_a_test() -> None:
    facts = DOCUMENT.read_text().partition("## dockerd")[2]
    for line in facts.splitlines():
        if line.startswith("| ") and not line.startswith("| Fact"):
            assert "::test_" in line, line
