"""The purge: what it frees, and when; and what stops it."""

import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from regkeeper.commands.reports import note_purged
from regkeeper.retention.errors import NotQuietError, StoppedError
from regkeeper.retention.processes.stop import never
from regkeeper.retention.quarantine.contents import Contents, Entry
from regkeeper.retention.runs import purge
from regkeeper.retention.runs.needed import held_by_other_runs
from regkeeper.retention.runs.purge import Purged
from tests.engine import driver
from tests.engine.running import STATE, Killing, Runner, content, killed, quarantined
from tests.engine.volumes import DAY, SECOND, Volume


def test_a_run_is_purged_when_its_window_is_over_and_not_before(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1")
    deleted = runner.delete("app:v1")
    assert runner.purge(now=volume.now + DAY * SECOND - 1).runs == []
    purged = runner.purge(now=volume.now + DAY * SECOND)
    assert purged.bytes == deleted.plan.deleted_bytes > 0
    assert list((volume.root / STATE / "quarantine").iterdir()) == []
    assert [journal.state for journal in runner.journals()] == ["purged"]


def test_the_next_run_purges_what_is_due(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1")
    volume.repository("app").push_image("v2", layers=[b"two"])
    runner.delete("app:v1")
    outcome = runner.delete("app:v2", now=volume.now + 2 * DAY * SECOND)
    assert outcome.purged[0].runs == [runner.journals()[0].run]


def test_without_a_window_the_run_itself_frees_everything(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1")
    outcome = runner.delete("app:v1", undo_window=0)
    assert quarantined(volume.root) == []
    assert sum(purged.bytes for purged in outcome.purged) == outcome.plan.deleted_bytes


def test_the_loser_against_a_newer_push_is_freed_in_the_end(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    app.push_image("latest", layers=[b"old"])
    runner.delete("app:latest")
    app.push_image("latest", layers=[b"new"], age=0)
    runner.restore()
    assert quarantined(volume.root) != []
    runner.purge()
    assert quarantined(volume.root) == []
    assert app.tag_link("latest").exists()


def test_a_journal_is_forgotten_a_year_after_its_run_has_ended(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    for number in range(3):
        app.push_image(f"v{number}", layers=[b"%d" % number])
    runner.delete("app:v0")
    runner.purge()
    runner.delete("app:v1", now=volume.now + 360 * DAY * SECOND)
    runner.purge(now=volume.now + 361 * DAY * SECOND)
    assert len(runner.journals()) == 2
    runner.delete("app:v2", now=volume.now + 367 * DAY * SECOND)
    runner.purge(now=volume.now + 369 * DAY * SECOND)
    assert [journal.run[:8] for journal in runner.journals()] == ["20270523", "20270530"]


def test_the_directories_of_a_deleted_repository_go_with_the_purge_and_not_before(
    volume: Volume, runner: Runner
) -> None:
    volume.repository("team/app/deep").push_image("v1", layers=[b"deep"])
    volume.repository("team/other").push_image("v1", layers=[b"other"])
    runner.delete("team/app/deep")
    repositories = volume.v2 / "repositories"
    assert (repositories / "team/app/deep").is_dir()
    runner.purge()
    assert [path.name for path in (repositories / "team").iterdir()] == ["other"]


def test_a_repository_that_was_pushed_again_or_has_others_below_it_keeps_its_directory(
    volume: Volume, runner: Runner
) -> None:
    for name in ("team", "team/app", "again"):
        volume.repository(name).push_image("v1", layers=[name.encode()])
    runner.delete("team", "again")
    volume.repository("again").push_image("v1", layers=[b"again"], age=0)
    runner.purge()
    for name in ("team/app", "again"):
        assert volume.repository(name).tag_link("v1").exists()


@pytest.mark.root
def test_an_immutable_directory_of_a_deleted_repository_ends_no_purge(volume: Volume, runner: Runner) -> None:
    volume.repository("team/app").push_image("v1", layers=[b"one"])
    volume.repository("other").push_image("v1", layers=[b"other"])
    runner.delete("team/app")
    directory = volume.repositories / "team"
    subprocess.run(["chattr", "+i", str(directory)], check=True)
    try:
        assert runner.purge().bytes > 0
    finally:
        subprocess.run(["chattr", "-i", str(directory)], check=True)
    assert [journal.state for journal in runner.journals()] == ["purged"]
    assert (directory / "app").is_dir()


def test_of_many_entries_that_can_not_be_removed_some_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    note_purged(Purged(runs=["20260101T000000Z"], stuck=[f"blobs/{number}: no" for number in range(7)]))
    told = capsys.readouterr().err
    assert told.count("the next purge tries again") == 5
    assert "and 2 further entries that can't be removed" in told


def interrupt(runner: Runner, entries: int) -> str:
    """A purge that is stopped behind so many entries; answers the name of its run."""
    answers = iter([None] * entries)
    runner.stop = lambda: next(answers, "SIGTERM")
    with pytest.raises(StoppedError):
        runner.purge()
    runner.stop = never
    (journal,) = runner.journals()
    assert journal.state == "purging"
    return journal.run


def test_restore_never_finishes_an_interrupted_purge(volume: Volume, runner: Runner) -> None:
    """It would free what it was asked to bring back."""
    volume.repository("app").push_image("v1")
    before = content(volume.root)
    runner.delete("app:v1")
    outcome = driver.run(volume, "restore", interrupt(runner, entries=0))
    assert outcome.code == 0
    assert outcome.document["restored"]["missing"] == []
    assert content(volume.root) == before


def test_what_an_interrupted_purge_has_not_freed_comes_back_and_the_rest_is_told(
    volume: Volume, runner: Runner
) -> None:
    image = volume.repository("app").push_image("v1")
    runner.delete("app:v1")
    interrupt(runner, entries=1)
    restored = runner.restore()
    assert restored.missing == ["app:v1"]
    assert volume.repository("app").revision_link(image.digest).exists()
    assert volume.blob_data(image.digest).exists()


def test_the_next_run_finishes_an_interrupted_purge_that_is_due(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1")
    volume.repository("app").push_image("v2", layers=[b"two"])
    deleted = runner.delete("app:v1")
    run = interrupt(runner, entries=3)
    outcome = runner.delete("app:v2", now=volume.now + 2 * DAY * SECOND)
    assert outcome.purged[0].runs == [run]
    assert outcome.purged[0].entries == len(deleted.plan.moves) - 3


def test_a_run_ends_whose_quarantine_somebody_has_removed(volume: Volume, runner: Runner) -> None:
    """On a full volume, by hand: it was due for ever, and so its registry was asked for a purge every hour."""
    volume.repository("app").push_image("v1")
    runner.delete("app:v1")
    (quarantine,) = (volume.root / STATE / "quarantine").iterdir()
    shutil.rmtree(quarantine)
    runner.purge()
    assert [journal.state for journal in runner.journals()] == ["purged"]


def test_a_purge_that_is_killed_at_any_call_is_finished_by_the_next(memory: Path) -> None:
    for call in range(1, 200):
        with TemporaryDirectory(dir=memory) as folder:
            volume = Volume(Path(folder))
            volume.repository("app").push_image("v1")
            runner = Runner(volume.root, volume.now)
            runner.delete("app:v1")
            if not killed(replace(runner, guard=Killing(call)).purge):
                break
            runner.purge()
            assert [journal.state for journal in runner.journals()] == ["purged"], call
            assert not any((volume.root / STATE / "quarantine").iterdir()), call
    assert 20 < call < 199


def test_what_cannot_be_verified_is_not_purged_and_stops_nothing_else(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1")
    volume.repository("app").push_image("v2", layers=[b"two"])
    runner.delete("app:v1")
    (volume.repositories / "moved-away").symlink_to("/nonexistent")
    later = volume.now + 2 * DAY * SECOND
    assert driver.run(volume, "purge", now=later).document["reason"] == "Unverified"
    outcome = runner.delete("app:v2", now=later)
    assert "moved-away: a symbolic link" in outcome.purged[0].unverified
    assert [journal.state for journal in runner.journals()] == ["done", "done"]
    assert driver.run(volume, "restore", runner.journals()[0].run, now=later).code == 0
    assert volume.repository("app").tag_link("v1").exists()


def test_a_time_in_the_past_by_which_ages_were_judged_shortens_no_window(volume: Volume) -> None:
    """The `--now` that a dry run printed is repeated days later: the undo window begins when the run does."""
    volume.now = time.time_ns() - 3 * DAY * SECOND
    volume.repository("app").push_image("v1")
    assert driver.delete(volume, "app:v1").code == 0
    assert driver.run(volume, "purge", now=time.time_ns()).document["purged"]["runs"] == []
    assert driver.run(volume, "purge", now=time.time_ns() + 2 * DAY * SECOND).document["purged"]["runs"] != []


def test_a_clock_that_was_years_ahead_for_one_run_holds_up_the_purge_of_no_later_one(volume: Volume) -> None:
    """Later runs have that one's name with a number, so that their order stays; by which none was ever due."""
    volume.now = time.time_ns()
    volume.repository("app").push_image("v1", "v2")
    runner = Runner(volume.root, volume.now)
    ahead = runner.delete("app:v1", now=volume.now + 3650 * DAY * SECOND).journal
    later = runner.delete("app:v2").journal
    assert ahead is not None
    assert later is not None
    assert ahead.run < later.run
    assert runner.purge(now=volume.now + DAY * SECOND - 9).runs == []
    assert runner.purge(now=volume.now + 2 * DAY * SECOND).runs == [later.run]


@pytest.mark.parametrize("command", ["purge", "delete"])
def test_nothing_is_freed_beside_an_upload(volume: Volume, runner: Runner, command: str) -> None:
    """Whoever writes may be about to need it: a registry whose descriptor cache is on takes a blob for there."""
    volume.repository("app").push_image("v1")
    volume.repository("app").push_image("v2", layers=[b"two"])
    deleted = runner.delete("app:v1")
    later = volume.now + 2 * DAY * SECOND
    volume.repository("app").start_upload("u-1", age=-2 * DAY + 60)
    with pytest.raises(NotQuietError, match="an upload to app"):
        runner.purge(now=later) if command == "purge" else runner.delete("app:v2", now=later)
    assert len(quarantined(volume.root)) > 0
    assert [journal.state for journal in runner.journals()] == ["done"]
    assert deleted.journal is not None


def test_nothing_is_freed_when_something_was_written_meanwhile(
    volume: Volume, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at what is needed and the first removal."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"base"])
    base = volume.put_blob(b"base")
    runner.delete("app:v1")
    volume.repository("other").mount(base, age=0)  # so that something comes back, which is no change by others

    def write_and_look(contents: Contents, runs: set[str]) -> list[Entry]:
        new = volume.repository("new")
        new.mount(base, age=0)
        first = new.layer_link(base).stat().st_ctime_ns
        while new.layer_link(base).parent.parent.stat().st_ctime_ns <= first:  # a tick of the clock later
            (new.layers / "sha256" / "0").mkdir()
            (new.layers / "sha256" / "0").rmdir()
        return held_by_other_runs(contents, runs)

    with monkeypatch.context() as patch:
        patch.setattr(purge, "held_by_other_runs", write_and_look)
        with pytest.raises(NotQuietError, match=r"something writes here: .*new"):
            runner.purge()
    assert runner.purge().entries > 0


def test_what_a_delete_says_it_will_free_is_what_its_purge_frees(volume: Volume, runner: Runner) -> None:
    """Another repository has an old link to the layer, which `delete` leaves alone: the layer is served by it."""
    volume.repository("app").push_image("v1", layers=[b"base", b"one"])
    base = volume.put_blob(b"base")
    volume.repository("other").mount(base)
    deleted = runner.delete("app:v1")
    assert volume.blob_data(base).exists()
    purged = runner.purge()
    assert purged.returned.moves == []
    assert purged.bytes == deleted.plan.deleted_bytes
    runner.retain({})
    assert not volume.blob_data(base).exists()
