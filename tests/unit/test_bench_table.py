"""The document that the benchmarks write."""

from datetime import UTC, datetime
from pathlib import Path

from tests.bench.table import Section, write

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_section_that_is_written_again_stays_apart_from_the_next(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    sections = [Section(title, "What it is.", ("way", "seconds"), [("ours", "1")]) for title in ("First", "Second")]
    sections[0].expect(False, "none")
    for section in sections:
        write(section, now=NOW, document=document)
    text = document.read_text()
    assert text.count("\n\n## ") == 2
    write(sections[0], now=NOW, document=document)
    assert document.read_text() == text
    sections[0].missed.clear()
    write(sections[0], now=NOW, document=document)
    assert document.read_text() == text.replace("**Missed: none**\n\n", "")
