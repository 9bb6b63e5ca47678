"""docs/guides/documents.md: it has every field that the commands print, each command's under its heading."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regkeeper.retention.errors import RetentionError
from tests.engine import driver
from tests.engine.driver import Outcome
from tests.engine.volumes import DAY, SECOND, Volume

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "documents.md"


def fields(value: Any) -> Iterator[str]:
    """The names of all fields in a document."""
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from fields(inner)


def documented(heading: str) -> set[str]:
    """What stands between backquotes under a heading, and what it refers to."""
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", GUIDE.read_text(), re.DOTALL | re.MULTILINE))
    names = set(re.findall(r"`(\w+)`", sections[heading]))
    return names | documented("`purge`") if "as below" in sections[heading] else names


def assert_documented(heading: str, outcome: Outcome) -> None:
    assert set(fields(outcome.document)) <= documented(heading), outcome.document


def test_the_guide_has_every_reason_of_a_failure() -> None:
    every, below = set(), [RetentionError]
    while below:
        error = below.pop()
        every.add(error.reason)
        below += error.__subclasses__()
    assert len(every) > 5
    assert every <= documented("A failure, of any command")


def test_the_guide_has_every_field(filled: Volume) -> None:
    filled.repository("broken").push_image("v1")
    filled.empty(filled.repository("broken").tag_link("v1"))
    for arguments in (["--dry-run"], []):
        for spec in ({"rules": [{"keep": {"last": 0}}], "delete": ["app:v1", "app:v9"]}, {"delete": ["app:v?"]}):
            assert_documented("`retain` and `delete`", driver.retain(filled, spec, arguments=arguments))
    filled.repository("app").push_image("v4", layers=[b"4"], age=30 * DAY)
    assert_documented("`retain` and `delete`", driver.delete(filled, "app:v4"))
    assert_documented("`runs`", driver.run(filled, "runs"))
    assert_documented("`du`", driver.run(filled, "du"))
    assert_documented("`check`", driver.run(filled, "check"))
    restored = driver.run(filled, "restore")
    assert_documented("`restore`", restored)
    (run,) = restored.document["restored"]["runs"]
    assert_documented("`restore`", driver.run(filled, "restore", run, "--forget"))
    failed = driver.run(filled, "restore", "20200101T000000Z")
    assert set(failed.document) == {"outcome", "reason", "message"} <= set(re.findall(r'"(\w+)":', GUIDE.read_text()))
    assert failed.document["reason"] in documented("A failure, of any command")
    driver.delete(filled, "app:v4")
    assert_documented("`purge`", driver.run(filled, "purge", now=filled.now + 2 * DAY * SECOND))
