"""docs/guides/rules.md: each picture of what a rule keeps is what the engine does."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.engine.planning import retain
from tests.engine.volumes import DAY, Volume

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "rules.md"

_PICTURE = re.compile(r"^## (.+?)$(?:(?!^## ).)*?```yaml\n(.*?)```\n\n```\n(.*?)```", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"([+-]) (\S+) +(\d+)d(?: = (\S+))?")


class Row(NamedTuple):
    stays: bool
    tag: str
    age: int
    same_as: str | None


PICTURES = {
    heading: (
        yaml.safe_load(spec),
        [Row(sign == "+", tag, int(age) * DAY, same or None) for sign, tag, age, same in _ROW.findall(rows)],
    )
    for heading, spec, rows in _PICTURE.findall(GUIDE.read_text())
}


def test_every_picture_is_found() -> None:
    assert len(PICTURES) == 7
    assert sum(len(rows) for _, rows in PICTURES.values()) == len(
        re.findall(r"^[+-] ", GUIDE.read_text(), re.MULTILINE)
    )


@pytest.mark.parametrize("heading", PICTURES)
def test_the_picture_is_true(volume: Volume, heading: str) -> None:
    spec, rows = PICTURES[heading]
    app = volume.repository("app")
    pushed = {
        row.tag: app.push_image(row.tag, layers=[row.tag.encode()], age=row.age) for row in rows if not row.same_as
    }
    for row in rows:
        if row.same_as:
            app.tag(row.tag, pushed[row.same_as].digest, age=row.age)
    planned = retain(volume, spec)
    assert planned.deleted_tags() == {f"app:{row.tag}" for row in rows if not row.stays}
