"""Files that can't be moved or removed: what stays, what is told, and that all else goes on."""

import subprocess

import pytest

from tests.engine import documents
from tests.engine.driver import complete, run
from tests.engine.running import STATE, Runner, quarantined
from tests.engine.volumes import DAY, SECOND, Volume


@pytest.mark.root
def test_an_immutable_file_in_the_quarantine_is_named_and_stays_until_it_can_be_removed(volume: Volume) -> None:
    """It can be moved with its directory, and not removed: each later purge ended there, and each later run."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one", b"of v1"])
    app.push_image("v2", layers=[b"two"])
    app.push_image("v3", layers=[b"three"])
    data = volume.blob_data(documents.digest_of(b"one"))
    runner = Runner(volume.root, volume.now)
    later = volume.now + 2 * DAY * SECOND
    subprocess.run(["chattr", "+i", str(data)], check=True)
    try:
        moves = len(runner.delete("app:v1").plan.moves)
        outcome = run(volume, "purge", now=later)
        assert outcome.code == 3
        assert outcome.document["purged"]["entries"] == moves - 1
        (stuck,) = outcome.document["purged"]["stuck"]
        assert stuck.startswith(f"{data.parent.relative_to(volume.v2)}: ")
        assert "may be immutable" in stuck
        assert "the next purge tries again" in outcome.errors
        assert quarantined(volume.root) == [b"one"]
        outcome = run(volume, "delete", "app:v2", now=later)
        assert outcome.code == 3
        assert outcome.document["purged"]["stuck"] == [stuck]
        assert complete(volume) == {("app", "v3")}
    finally:
        subprocess.run(["chattr", "-R", "-i", str(volume.v2)], check=True)
    outcome = run(volume, "purge", now=later)
    assert (outcome.code, outcome.document["purged"]["stuck"]) == (0, [])
    assert [journal.state for journal in runner.journals()] == ["purged", "done"]


@pytest.mark.root
def test_an_immutable_directory_that_an_undo_has_left_for_a_newer_push_stops_no_run(
    volume: Volume, runner: Runner
) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    runner.delete("app:v1")
    app.push_image("v1", layers=[b"two"], age=0)
    runner.restore()
    (left,) = (volume.root / STATE / "quarantine").iterdir()
    subprocess.run(["chattr", "+i", str(left)], check=True)
    try:
        assert runner.delete("app:v1").journal is not None
    finally:
        subprocess.run(["chattr", "-i", str(left)], check=True)


@pytest.mark.root
def test_what_can_not_be_removed_comes_back_whole(volume: Volume) -> None:
    """A tag, whose link is immutable, beside what its image needs; the rest of the run is freed."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    app.push_image("v2", layers=[b"two"])
    app.push_image("v3", layers=[b"three"])
    runner = Runner(volume.root, volume.now)
    subprocess.run(["chattr", "+i", str(app.tag_link("v1"))], check=True)
    try:
        runner.delete("app:v1", "app:v2")
        purged = runner.purge()
        assert len(purged.stuck) == 1
        assert purged.held > 0
        assert b"two" not in quarantined(volume.root)
        missing = runner.restore().missing
        assert "app:v2" in missing
        assert not {"app:v1", documents.digest_of(b"one")} & set(missing)
        assert complete(volume) == {("app", "v1"), ("app", "v3")}
    finally:
        subprocess.run(["chattr", "-R", "-i", str(volume.v2)], check=True)


@pytest.mark.root
@pytest.mark.parametrize("flag", ["i", "a"])
def test_no_further_run_is_begun_for_what_was_half_written_and_can_not_be_moved(volume: Volume, flag: str) -> None:
    """Of a file whose directory is immutable nothing tells it: every run was refused, or stopped pushes for nothing."""
    app = volume.repository("app")
    for number in range(3):
        app.push_image(f"v{number}", layers=[b"base", b"%d" % number], age=(9 - number) * DAY)
    half = volume.half_write_blob(b"base", age=9 * DAY)
    runner = Runner(volume.root, volume.now)
    subprocess.run(["chattr", f"+{flag}", str(half.parent)], check=True)
    try:
        first = runner.retain({})
        assert first.journal is not None
        (problem,) = first.plan.problems
        assert str(problem).startswith(f"{half.relative_to(volume.v2)}: half written, and can't be moved: ")
        second = runner.retain({})
        assert second.journal is None
        (problem,) = second.plan.problems
        assert str(problem).startswith(f"{half.relative_to(volume.v2)}: half written, and could not be moved: ")
        third = runner.retain({"rules": [{"keep": {"last": 2}}]})
        assert len(third.plan.problems) == 1
        assert complete(volume) == {("app", "v1"), ("app", "v2")}
        assert runner.retain({}).journal is None
    finally:
        subprocess.run(["chattr", f"-{flag}", str(half.parent)], check=True)
    assert runner.retain({"rules": [{"keep": {"last": 1}}]}).plan.problems == []
    assert not half.exists()
    assert (volume.root / STATE / "immovable").read_bytes() == b""


@pytest.mark.root
@pytest.mark.usefixtures("untold_flags")
def test_what_could_not_be_moved_is_tried_again_once_it_changes(volume: Volume) -> None:
    """And once nobody knows any more that it was tried."""
    volume.repository("app").push_image("v1", layers=[b"base"], age=9 * DAY)
    half = volume.half_write_blob(b"base", age=9 * DAY)
    runner = Runner(volume.root, volume.now)
    subprocess.run(["chattr", "+i", str(half)], check=True)
    try:
        assert [runner.retain({}).journal is None for _ in range(3)] == [False, True, True]
        (volume.root / STATE / "immovable").write_bytes(b"damaged")
        assert [runner.retain({}).journal is None for _ in range(2)] == [False, True]
    finally:
        subprocess.run(["chattr", "-i", str(half)], check=True)
    outcome = runner.retain({})
    assert (outcome.journal is None, outcome.plan.problems) == (False, [])
    assert not half.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'["temporary", "blobs", "", "", 0, {"0": 1, "1": 2}, ""]',
        b'["temporary", ["blobs"], "", "", 0, null, ""]',
        b'["another", "blobs", "", "", 0, null, ""]',
        b"{}",
        b"\xff",
        b" " * (2 << 20),
        None,
    ],
    ids=["deep", "odd witness", "odd path", "another kind", "no list", "no text", "large", "a directory"],
)
def test_whatever_stands_where_it_is_noted_what_could_not_be_moved_no_run_fails(
    volume: Volume, content: bytes | None
) -> None:
    app = volume.repository("app")
    for number in range(2):
        app.push_image(f"v{number}", layers=[b"%d" % number], age=(9 - number) * DAY)
    noted = volume.root / STATE / "immovable"
    noted.parent.mkdir(parents=True)
    noted.mkdir() if content is None else noted.write_bytes(content)
    assert Runner(volume.root, volume.now).retain({"rules": [{"keep": {"last": 1}}]}).journal is not None
    assert complete(volume) == {("app", "v1")}
