"""Commands that only read see a volume on which a run has not ended as it will be once that run is rolled back."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from regkeeper.cli import app
from regkeeper.commands.reading import reading
from regkeeper.retention.errors import StoppedError
from regkeeper.retention.planning.asking import Inquiry, ask
from regkeeper.retention.policies.policy import merge
from regkeeper.retention.quarantine.moves import Move
from regkeeper.retention.quarantine.storage import no_guard
from regkeeper.retention.runs.quiet import Mode
from regkeeper.retention.runs.recovery import recover
from regkeeper.retention.runs.restore import undo
from regkeeper.retention.volume.inspection import inspect
from regkeeper.retention.volume.usage import measure
from tests.engine.cases import cases
from tests.engine.driver import delete, run
from tests.engine.memory import folder_in_memory
from tests.engine.planning import UNLIMITED, policies
from tests.engine.registry_history import History, build
from tests.engine.running import Runner
from tests.engine.strategies import SPECS, histories
from tests.engine.volumes import DAY, SECOND, Volume, snapshot

KEEP_ONE = {"rules": [{"keep": {"last": 1}}], "delete": ["old/**"]}


@dataclass(frozen=True)
class Seen:
    """Everything that reading commands find."""

    plan: dict[str, Any]
    moves: list[Move]
    usage: dict[str, Any]
    inspection: dict[str, Any]


def see(volume: Volume, *specs: dict[str, Any]) -> Seen:
    intent = merge(policies(*({"limits": UNLIMITED, **spec} for spec in specs)))
    with reading(str(volume.root)) as seen:
        plan = ask(
            seen.volume,
            seen.reader,
            seen.journals,
            Inquiry(intent=intent, in_use=None, mode=Mode.OFFLINE),
            now=volume.now + 60 * SECOND,
        )
        return Seen(
            without_reasons(plan.document()),
            list(plan.moves),
            measure(seen.volume, seen.reader).document(),
            inspect(seen.volume, seen.reader, deep=True).document(),
        )


def without_reasons(document: dict[str, Any]) -> dict[str, Any]:
    """A plan without the texts that name one of several tags or parents, whichever was read first."""
    for repository in document["repositories"]:
        for row in (*repository["tags"], *repository["manifests"]):
            del row["reason"]
    return document


def interrupt(volume: Volume, spec: dict[str, Any], *, after: int) -> None:
    """Begin a run that stops after some moves."""
    moved: list[Move] = []
    runner = Runner(volume.root, volume.now, mode=Mode.OFFLINE, progress=moved.append)
    runner.stop = lambda: "enough" if len(moved) == after else None
    with pytest.raises(StoppedError):
        runner.retain(spec)


def roll_back(volume: Volume) -> None:
    with Runner(volume.root, volume.now).changing() as (opened, journals):
        assert recover(opened, journals, now=volume.now).rolled_back


@cases(30)
@given(
    history=histories(),
    spec=SPECS,
    others=st.lists(SPECS, min_size=1, max_size=2),
    share=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_a_dry_run_beside_an_open_journal_plans_what_the_rollback_leaves(
    history: History, spec: dict[str, Any], others: list[dict[str, Any]], share: float
) -> None:
    with folder_in_memory() as folder:
        volume = Volume(Path(folder))
        build(volume, history)
        planned = len(see(volume, spec).moves)
        assume(planned)
        interrupt(volume, spec, after=int(share * planned))
        before = snapshot(volume.root)
        seen = see(volume, *others)
        assert snapshot(volume.root) == before
        roll_back(volume)
        now = see(volume, *others)
        assert now.plan == seen.plan
        assert now.moves == seen.moves
        assert now == seen


@dataclass
class AtRename:
    """A guard that stops the renaming at one number."""

    number: int
    seen: int = 0

    def __call__(self, call: str) -> None:
        self.seen += call == "rename"
        if self.seen == self.number:
            raise StoppedError("enough")


@pytest.mark.parametrize("number", range(2, 9))  # the first one is that of the mark
def test_a_dry_run_beside_an_undo_that_was_interrupted_plans_what_its_end_leaves(volume: Volume, number: int) -> None:
    """What a second run took, because nothing but the first one's images needed it, comes back too."""
    app = volume.repository("team/app")
    app.push_image("v1", layers=[b"base", b"one"], age=30 * DAY)
    volume.repository("old/thing").push_image("latest", layers=[b"old"], age=90 * DAY)
    runner = Runner(volume.root, volume.now)
    # The links are too young for the first run, so that the second one takes them, with the empty repositories.
    for link in volume.repositories.glob("**/_layers/*/*/link"):
        os.utime(link, ns=(volume.now, volume.moment(DAY / 2)))
    undone = runner.retain({"rules": [{"keep": {"last": 0}}]}).journal
    assert undone is not None
    assert runner.retain({"garbage": {"deleteAfter": "0s"}}).journal is not None
    runner.guard = AtRename(number)
    with pytest.raises(StoppedError), runner.changing() as (opened, journals):
        undo(opened, journals, undone, volume.now)
    before = snapshot(volume.root)
    other_rules = {"rules": [{"keep": {"pushedWithin": "1d"}}]}
    seen = see(volume, other_rules)
    assert snapshot(volume.root) == before
    runner.guard = no_guard
    with runner.changing() as (opened, journals):
        recover(opened, journals, now=volume.now)
    assert see(volume, other_rules) == seen
    assert seen.plan["totals"]["deletedTags"] == 2


@pytest.fixture
def interrupted(volume: Volume) -> Volume:
    """A run has moved all but the last two entries; all of one repository among them."""
    app = volume.repository("team/app")
    app.push_image("v1", layers=[b"base", b"one"], age=30 * DAY)
    app.push_image("v2", layers=[b"base", b"two"], age=10 * DAY)
    volume.repository("old/thing").push_image("latest", layers=[b"old"], age=90 * DAY)
    interrupt(volume, KEEP_ONE, after=len(see(volume, KEEP_ONE).moves) - 2)
    assert not app.tag_link("v1").exists()
    return volume


def test_what_was_pushed_since_is_seen_in_the_place_of_what_was_moved(interrupted: Volume) -> None:
    newer = interrupted.repository("team/app").push_image("v1", layers=[b"newer"], age=60)
    seen = see(interrupted, {})
    (row,) = [row for entry in seen.plan["repositories"] for row in entry["tags"] if row["tag"] == "v1"]
    assert row["digest"] == newer.digest
    roll_back(interrupted)
    assert see(interrupted, {}) == seen


def test_a_push_that_failed_since_hides_nothing_of_what_was_moved(interrupted: Volume) -> None:
    """On a full volume it leaves the directory of a link without one."""
    interrupted.repository("team/app").tag_link("v1").parent.mkdir(parents=True)
    seen = see(interrupted, {})
    (row,) = [row for entry in seen.plan["repositories"] for row in entry["tags"] if row["tag"] == "v1"]
    assert row["digest"] is not None
    roll_back(interrupted)
    assert see(interrupted, {}) == seen


@pytest.mark.parametrize("command", ["check", "du"])
def test_a_report_is_the_same_before_and_after_the_rollback_and_tells_of_the_run(
    command: str, interrupted: Volume
) -> None:
    before = CliRunner().invoke(app, [command, "--json", "--root", str(interrupted.root)])
    assert before.exit_code == 0
    assert "has not ended" in before.stderr
    roll_back(interrupted)
    after = CliRunner().invoke(app, [command, "--json", "--root", str(interrupted.root)])
    assert after.stdout == before.stdout
    assert after.stderr == ""


def test_a_list_has_what_an_open_run_has_moved(interrupted: Volume) -> None:
    listed = CliRunner().invoke(app, ["list", "--root", str(interrupted.root)])
    assert listed.stdout.split() == ["old/thing:latest", "team/app:v1", "team/app:v2"]
    assert "has not ended" in listed.stderr


def test_a_dry_run_of_delete_finds_what_an_open_run_has_moved(interrupted: Volume) -> None:
    before = snapshot(interrupted.root)
    outcome = delete(interrupted, "--dry-run", "team/app:v1")
    assert outcome.code == 0
    assert outcome.document["totals"]["deletedTags"] == 1
    assert snapshot(interrupted.root) == before


def test_a_list_finds_journals_that_lie_elsewhere(volume: Volume, tmp_path: Path) -> None:
    volume.repository("old/thing").push_image("latest", layers=[b"old"], age=90 * DAY)
    journals = tmp_path / "journals"
    journals.mkdir()
    moved: list[Move] = []
    runner = Runner(volume.root, volume.now, journal=journals, progress=moved.append)
    runner.stop = lambda: "enough" if moved else None
    with pytest.raises(StoppedError):
        runner.retain({"delete": ["old/**"]})
    listed = CliRunner().invoke(app, ["list", "--root", str(volume.root), "--journal", str(journals)])
    assert listed.stdout.split() == ["old/thing:latest"]


def test_runs_shows_the_open_run(interrupted: Volume) -> None:
    outcome = run(interrupted, "runs")
    assert [item["state"] for item in outcome.document["runs"]] == ["open"]
    assert "has not ended" in outcome.errors
