"""The journal's file: what a crash tore is not part of it, what is damaged is told, names keep the order of runs."""

import errno
import json
import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regkeeper.retention.errors import DamagedJournalError, RefusedError, StoppedError, StorageError
from regkeeper.retention.processes.stop import never
from regkeeper.retention.quarantine import history
from regkeeper.retention.quarantine.journal import State, decode_move, encode_move
from regkeeper.retention.quarantine.journals import Journals, open_journals
from regkeeper.retention.quarantine.moves import Kind, Move
from regkeeper.retention.volume.layout import open_volume
from tests.engine import driver
from tests.engine.running import STATE, Runner, content, copied
from tests.engine.volumes import SECOND, Volume, snapshot

MOVES = [
    Move(Kind.TAG, "repositories/a/_manifests/tags/v1", "a", "v1", 0, (1, 2), "sha256:" + "0" * 64),
    Move(Kind.BLOB, "blobs/sha256/00/" + "0" * 64, "", "sha256:" + "0" * 64, 7, None),
]


def planned(runner: Runner) -> Path:
    """A journal that has planned `MOVES`."""
    with runner.changing() as (_, journals):
        journal = journals.begin(run="20260101T000000Z", command="retain", undo_window=60, now=5)
        journals.plan(journal, plan="p", policies={"policy": "r"}, moves=MOVES)
    return runner.root / STATE / "journals" / "20260101T000000Z"


@given(
    st.builds(
        Move,
        st.sampled_from(Kind),
        st.text(st.characters(codec=None)),
        st.text(st.characters(codec=None)),
        st.text(st.characters(codec=None)),
        st.integers(0, 1 << 60),
        st.none() | st.tuples(st.integers(0, 1 << 60), st.integers(0, 1 << 60)),
        st.text(max_size=10),
    )
)
def test_a_line_is_read_as_it_was_written(move: Move) -> None:
    line = encode_move(move)
    assert line.count(b"\n") == 1
    assert decode_move(line) == move


def test_every_stage_is_read_again(runner: Runner) -> None:
    planned(runner)
    with runner.changing() as (_, journals):
        journal = journals.load("20260101T000000Z")
        assert (journal.state, journal.count, journal.bytes) == (State.OPEN, 2, 7)
        began = datetime(2026, 1, 1, tzinfo=UTC).timestamp()  # as the name tells: `now` is long past
        assert journal.purge_due == (began + 60) * 10**9
        assert [move for _, move in journals.moves(journal.run)] == MOVES
        assert list(journals.moves_backwards(journal.run)) == [(1, MOVES[1]), (0, MOVES[0])]
        assert journals.enter(journal, State.DONE, 9) == journals.load(journal.run)


def test_wherever_a_plan_is_cut_off_nothing_is_open(runner: Runner) -> None:
    """Before "open" is durable no rename is made, so a shorter file means that nothing was moved."""
    file = planned(runner)
    content = file.read_bytes().rstrip(b"\0")
    for length in range(len(content)):
        file.write_bytes(content[:length])
        assert [journal.state for journal in runner.journals()] == [State.UNPLANNED]
        file.write_bytes(content[:length] + bytes(100))
        assert [journal.state for journal in runner.journals()] == [State.UNPLANNED]


def test_a_torn_later_line_does_not_count(runner: Runner) -> None:
    file = planned(runner)
    content = file.read_bytes().rstrip(b"\0")
    line = b'{"state":"done","at":9}\n'
    for length in range(len(line)):
        file.write_bytes(content + line[:length] + bytes(100))
        assert [journal.state for journal in runner.journals()] == [State.OPEN]


def test_later_lines_need_no_space(runner: Runner) -> None:
    file = planned(runner)
    size = file.stat().st_size
    with runner.changing() as (_, journals):
        journals.enter(journals.load("20260101T000000Z"), State.DONE, 9)
    assert file.stat().st_size == size


@pytest.mark.parametrize("damage", [b"{}\n", b'{"regkeeper": 2}\n', b"nonsense\n"])
def test_a_damaged_journal_stops_whoever_would_change_something(volume: Volume, runner: Runner, damage: bytes) -> None:
    planned(runner).write_bytes(damage)
    with pytest.raises(DamagedJournalError, match="20260101T000000Z can't be understood"):
        runner.delete("app:v1")


def test_a_journal_that_lost_moves_is_damaged(runner: Runner) -> None:
    file = planned(runner)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(line for line in lines if not line.startswith(b'["blob"')))
    with pytest.raises(DamagedJournalError, match="announces 2 moves and has 1"):
        runner.journals()


def test_a_move_of_a_damaged_kind_ends_no_rollback(volume: Volume, runner: Runner) -> None:
    """It was passed over: the run counted as rolled back, and the tag stayed away."""
    app = volume.repository("app")
    app.push_image("v1")
    runner.stop = lambda: "enough" if not app.tag_link("v1").exists() else None
    with pytest.raises(StoppedError):
        runner.delete("app:v1")
    runner.stop = never
    (file,) = (volume.root / STATE / "journals").iterdir()
    sound = file.read_bytes()
    file.write_bytes(sound.replace(b'["tag"', b'["tbg"'))
    with pytest.raises(DamagedJournalError, match="of a kind that is known"):
        runner.restore()
    file.write_bytes(sound)
    runner.restore()
    assert app.tag_link("v1").exists()


def test_a_quarantine_without_its_journal_stops_the_run(volume: Volume, runner: Runner, tmp_path: Path) -> None:
    """It may be that of an open run, whose journal was written elsewhere."""
    elsewhere = tmp_path / "journals"
    elsewhere.mkdir()
    volume.repository("app").push_image("v1")
    runner.journal = elsewhere
    runner.delete("app:v1")
    with pytest.raises(RefusedError, match="--journal"):
        Runner(volume.root, volume.now).delete("app:v1")
    runner.restore()
    assert volume.repository("app").tag_link("v1").exists()


def test_a_journal_directory_elsewhere_must_exist(volume: Volume, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as raised:
        Runner(volume.root, volume.now, journal=tmp_path / "missing").delete("app:v1")
    assert raised.value.errno == errno.ENOENT
    assert "--journal" in str(raised.value)


def test_names_keep_the_order_of_runs_when_the_clock_goes_back(runner: Runner) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    names = []
    with runner.changing() as (_, journals):
        for moment in (noon, noon, noon.replace(hour=11), noon.replace(hour=13)):
            names.append(journals.next_run(moment))
            journals.begin(run=names[-1], command="retain", undo_window=0, now=0)
        assert journals.runs() == names
    assert names == ["20260101T120000Z", "20260101T120000Z-0002", "20260101T120000Z-0003", "20260101T130000Z"]


def test_names_go_on_behind_the_last_number_of_a_second(runner: Runner) -> None:
    """A clock that was years ahead for one run names all those of the years to come."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    with runner.changing() as (_, journals):
        for run in ("20370101T235959Z-9998", "20370101T235959Z-9999", "20370102T000000Z-0001"):
            if run[-4:] != "9998":
                assert journals.next_run(noon) == run
            journals.begin(run=run, command="retain", undo_window=0, now=0)
        assert journals.next_run(noon) == "20370102T000000Z-0002"
        assert journals.runs()[-1] == "20370102T000000Z-0001"


def test_foreign_files_beside_the_journals_are_left_alone(runner: Runner) -> None:
    (planned(runner).parent / "README").write_text("mine")
    assert [journal.run for journal in runner.journals()] == ["20260101T000000Z"]


def test_without_journals_there_are_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Least of all those of the directory in which the command happens to run."""
    (tmp_path / "20260101T000000Z").touch()
    monkeypatch.chdir(tmp_path)
    assert Journals(None).all() == []
    with pytest.raises(FileNotFoundError):
        Journals(None).load("20260101T000000Z")


def test_the_file_is_lines_of_json(runner: Runner) -> None:
    lines = planned(runner).read_bytes().rstrip(b"\0").splitlines()
    header, plan, *moves, opened = map(json.loads, lines)
    assert header["run"] == "20260101T000000Z"
    assert plan == {"plan": "p", "policies": {"policy": "r"}}
    assert len(moves) == opened["moves"] == 2


@pytest.mark.parametrize("entries", [2, 99], ids=["open", "done"])
@pytest.mark.parametrize("length", [0, 300])
def test_a_journal_that_lost_its_end_is_damaged_and_never_removed(
    volume: Volume, runner: Runner, entries: int, length: int
) -> None:
    """It has the only way back; a repaired or once full disk cut it off."""
    volume.repository("app").push_image("v1")
    answers = iter([None] * entries)
    runner.stop = lambda: next(answers, "SIGTERM")
    with suppress(StoppedError):
        runner.delete("app:v1")
    (file,) = (volume.root / STATE / "journals").iterdir()
    file.write_bytes(file.read_bytes()[:length])
    before = snapshot(volume.root)
    for command in (["restore"], ["delete", "app:v1"], ["delete", "app:v1", "--dry-run"], ["purge"], ["runs"]):
        outcome = driver.run(volume, *command)
        assert outcome.code == 1
        assert f"the journal of run {file.name} can't be understood (it ends before" in outcome.errors
    assert snapshot(volume.root) == before


def test_a_line_that_lost_bytes_is_told(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1")
    runner.delete("app:v1")
    (file,) = (volume.root / STATE / "journals").iterdir()
    file.write_bytes(file.read_bytes().replace(b"_manifests/tags", bytes(15)))
    with pytest.raises(DamagedJournalError, match="move 0"):
        runner.restore()


def test_commands_that_only_read_tell_of_a_quarantine_without_its_journal(
    volume: Volume, runner: Runner, tmp_path: Path
) -> None:
    volume.repository("app").push_image("v1")
    runner.journal = tmp_path / "journals"
    runner.journal.mkdir()
    runner.delete("app:v1")
    outcome = driver.run(volume, "runs")
    assert outcome.code == 0
    assert "whose journal is not here" in outcome.errors


def test_a_journal_that_its_run_removes_meanwhile_is_passed_over(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that only reads takes no lock."""
    file = planned(runner)
    with open_volume(str(runner.root)) as volume, open_journals(volume) as journals:
        monkeypatch.setattr(journals, "runs", lambda: [file.name, "20260101T000001Z"])
        assert [journal.run for journal in journals.all()] == [file.name]
        assert history.unfinished(journals) == journals.all()


def test_departures_are_told_of_runs_that_are_recent_enough(volume: Volume, runner: Runner) -> None:
    for number in (1, 2):
        volume.repository("app").push_image(f"v{number}", layers=[b"%d" % number])
    runner.delete("app:v1")
    runner.delete("app:v2", now=volume.now + SECOND)
    with open_volume(str(runner.root)) as opened, open_journals(opened) as journals:
        assert sorted(history.untagged_since(opened, journals, volume.now - 1).values()) == [
            volume.now,
            volume.now + SECOND,
        ]
        assert list(history.untagged_since(opened, journals, volume.now).values()) == [volume.now + SECOND]


@pytest.mark.parametrize("command", ["runs", "restore", "delete"])
@pytest.mark.parametrize("what", ["directory", "symbolic link"])
def test_what_is_no_file_in_the_place_of_a_journal_is_told(volume: Volume, what: str, command: str) -> None:
    place = volume.root / STATE / "journals" / "20260101T000000Z"
    place.parent.mkdir(parents=True)
    if what == "directory":
        place.mkdir()
    else:
        place.symlink_to("elsewhere")
    outcome = driver.run(volume, command, *(["app:v1"] if command == "delete" else []))
    assert outcome.code == 1
    assert "the journal of run 20260101T000000Z" in outcome.errors


@pytest.mark.parametrize("state", ["open", "done", "purging"])
def test_journals_of_another_volume_stop_the_run(volume: Volume, tmp_path: Path, state: str) -> None:
    """It would end what the other volume's run left there, where nothing of it is: as rolled back, undone or purged."""
    shared = tmp_path / "journals"
    shared.mkdir()
    volume.repository("app").push_image("v1")
    volume.repository("app").push_image("v2", layers=[b"two"])
    before = content(volume.root)
    other = copied(volume, tmp_path / "other")
    runner = Runner(volume.root, volume.now, journal=shared)
    if state == "open":
        runner.stop_after(1)
        with pytest.raises(StoppedError):
            runner.delete("app:v1")
    else:
        runner.delete("app:v1")
    if state == "purging":
        runner.stop_after(0)
        with pytest.raises(StoppedError):
            runner.purge()
    runner.stop = never
    strange = Runner(other, volume.now + SECOND, journal=shared)
    for command in (strange.restore, strange.purge, partial(strange.delete, "app:v2")):
        with pytest.raises(RefusedError, match="another volume"):
            command()
    assert content(other) == before
    runner.restore()
    assert content(volume.root) == before


def test_a_run_that_is_under_way_keeps_its_journal_beside_another_volume_that_shares_the_directory(
    volume: Volume, tmp_path: Path
) -> None:
    """What has planned nothing yet was taken for what a crash had left, and the run was without its journal."""
    shared = tmp_path / "journals"
    shared.mkdir()
    volume.repository("app").push_image("v1")
    other = Runner(copied(volume, tmp_path / "other"), volume.now + SECOND, journal=shared)
    purged = []
    runner = Runner(volume.root, volume.now, journal=shared, quiet=lambda: purged.append(other.purge()))
    runner.delete("app:v1")
    assert purged
    assert [journal.state for journal in runner.journals()] == ["done"]


@pytest.mark.parametrize("state", ["rolled back", "restored", "a tag restored"])
def test_a_volume_that_is_older_than_its_journals_stops_the_run(volume: Volume, tmp_path: Path, state: str) -> None:
    """It came out of a backup, and the journals did not: the purge freed what had come back long ago."""
    elsewhere = tmp_path / "journals"
    elsewhere.mkdir()
    volume.repository("app").push_image("v1", *(["latest"] if state == "a tag restored" else []))
    runner = Runner(volume.root, volume.now, journal=elsewhere)
    if state == "rolled back":
        runner.stop_after(5)
    with suppress(StoppedError):
        runner.delete("app:v1")
    runner.stop = never
    backup = copied(volume, tmp_path / "backup")
    journals = shutil.copytree(elsewhere, tmp_path / "journals of the backup")
    runner.restore()
    before = content(volume.root)
    assert runner.purge().bytes == 0
    shutil.rmtree(volume.root)
    backup.rename(volume.root)
    for command in (runner.restore, runner.purge, partial(runner.delete, "app:v1")):
        with pytest.raises(RefusedError, match="older than the journals"):
            command()
    replace(runner, journal=journals).restore()
    assert content(volume.root) == before


def test_a_volume_that_is_older_than_the_purge_of_its_run_stops_the_run(volume: Volume, tmp_path: Path) -> None:
    """Whoever goes back to before a purge wants what that has freed, which stayed there for ever and for nothing."""
    elsewhere = tmp_path / "journals"
    elsewhere.mkdir()
    volume.repository("app").push_image("v1")
    before = content(volume.root)
    runner = Runner(volume.root, volume.now, journal=elsewhere)
    runner.delete("app:v1")
    backup = replace(runner, root=copied(volume, tmp_path / "backup"))
    journals = shutil.copytree(elsewhere, tmp_path / "journals of the backup")
    runner.purge()
    with pytest.raises(RefusedError, match="older than the journals"):
        backup.purge()
    replace(backup, journal=journals).restore()
    assert content(backup.root) == before
