"""Files that can't be moved or removed: what stays, what is told, and that all else goes on."""

import subprocess

import pytest

from tests.engine import documents
from tests.engine.driver import complete, run
from tests.engine.running import Runner, quarantined
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
