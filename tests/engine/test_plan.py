"""What people and programs see of a plan."""

import io
import json
import os
from pathlib import Path

import pytest

from regkeeper.commands.answering import note
from regkeeper.retention.planning.printing import print_plan
from regkeeper.retention.wording import shown, size_of
from tests.engine.planning import delete, retain
from tests.engine.volumes import DAY, Volume, snapshot

KEEP_ONE = {"rules": [{"name": "releases", "keep": {"last": 1}}]}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path)
    app = volume.repository("team/app")
    app.push_image("v9", layers=[b"9"], age=9 * DAY)
    app.push_image("v10", layers=[b"10"], age=8 * DAY)
    return volume


def test_a_person_reads_what_goes_what_stays_and_why_each(volume: Volume) -> None:
    plan = retain(volume, KEEP_ONE).plan
    output = io.StringIO()
    print_plan(plan, output)
    lines = output.getvalue().splitlines()
    assert lines[0].startswith("team/app: 1 of 2 tags to delete, ")
    assert lines[1].startswith("  - v9  delete: covered by rule policy-0/releases")
    assert lines[2].startswith("  + v10  kept: among the last 1 (policy-0/releases)")
    assert lines[-2].startswith("Looked at 1 repository, to delete: 1 tag, 1 manifest, 2 layer links, 3 blobs.")
    assert lines[-1] == f"Plan {plan.hash}"


def test_a_person_reads_of_all_repositories_or_of_those_that_lose_something(volume: Volume) -> None:
    volume.repository("team/other").push_image("v1")
    plan = delete(volume, "team/app:v9").plan
    for whole, headings in ((True, ["team/app:", "team/other:"]), (False, ["team/app:"])):
        output = io.StringIO()
        print_plan(plan, output, whole=whole)
        shown = [line.split()[0] for line in output.getvalue().splitlines() if not line.startswith(" ")]
        assert shown == [*headings, "Looked", "Plan"]


def test_a_program_reads_one_document(volume: Volume) -> None:
    plan = retain(volume, {**KEEP_ONE, "delete": ["other:v1"]}).plan
    document = json.loads(json.dumps(plan.document()))
    assert document["outcome"] == "ready"
    assert document["hash"] == plan.hash
    assert document["unmatched"] == ["other:v1"]
    assert document["totals"]["deletedBytes"] == sum(move.bytes for move in plan.moves)
    tags = {row["tag"]: row["deleted"] for row in document["repositories"][0]["tags"]}
    assert tags == {"v9": True, "v10": False}


def test_a_tag_without_a_link_was_pushed_at_no_time(volume: Volume) -> None:
    (volume.repository("team/app").tags / "unlinked").mkdir()
    plan = retain(volume, KEEP_ONE).plan
    (row,) = [row for row in plan.document()["repositories"][0]["tags"] if row["tag"] == "unlinked"]
    assert (row["digest"], row["pushed"]) == (None, None)
    output = io.StringIO()
    print_plan(plan, output)
    (line,) = [line for line in output.getvalue().splitlines() if "unlinked" in line]
    assert line.endswith("· pushed at an unknown time")


def test_planning_changes_nothing_not_even_a_directorys_time(volume: Volume) -> None:
    volume.empty(volume.repository("team/app").tag_link("v9"))
    before = snapshot(volume.root)
    retain(volume, KEEP_ONE)
    assert snapshot(volume.root) == before


def test_names_can_not_steer_a_terminal(volume: Volume) -> None:
    os.rename(volume.repositories / "team", volume.repositories / "te\x1b[2Jam")
    output = io.StringIO()
    print_plan(retain(volume, KEEP_ONE).plan, output)
    emptied = retain(volume, {"rules": [{"keep": {"last": 0}}]}, limited=True).plan
    print_plan(emptied, output)
    assert "te\\x1b[2Jam/app would lose its last tag" in output.getvalue()
    assert "\x1b" not in output.getvalue()
    assert shown("a\x1bb") == "a\\x1bb"


def test_what_a_command_notes_can_not_steer_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal has names of repositories; elsewhere than on a terminal typer leaves such things out."""
    said: list[str] = []
    monkeypatch.setattr("typer.echo", lambda text, err: said.append(text))
    note("refused: te\x1b[2Jam would lose its last tag")
    assert said == ["regkeeper: refused: te\\x1b[2Jam would lose its last tag"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1,023 bytes"),
        (1536, "1.5 KiB (1,536 bytes)"),
        (1 << 30, "1.0 GiB (1,073,741,824 bytes)"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert size_of(number) == text
