"""What a registry that was killed had begun to write."""

import uuid

import pytest

from regkeeper.retention.planning import freeing
from regkeeper.retention.quarantine.moves import Kind
from tests.engine.planning import delete, retain
from tests.engine.running import STATE, Runner, content
from tests.engine.samples import whole_tags
from tests.engine.volumes import DAY, HOUR, SECOND, Volume

KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}


def test_what_a_registry_has_half_written_goes_by_the_same_age(volume: Volume) -> None:
    volume.repository("app").push_image("v1")
    old = volume.half_write_blob(b"a manifest", age=25 * HOUR)
    volume.half_write_blob(b"another manifest", age=23 * HOUR)
    (move,) = retain(volume, {}).moves(*Kind)
    assert (move.kind, move.path, move.bytes) == (Kind.LEFTOVER, str(old.parent.relative_to(volume.v2)), 9)
    assert not delete(volume, "app:v1").moves(Kind.LEFTOVER)
    volume.write(old.with_name("foreign"), b"", age=25 * HOUR)
    assert not retain(volume, {}).moves(*Kind)


@pytest.mark.parametrize("stays", ["a manifest", "garbage that is young"])
def test_what_a_registry_has_half_written_goes_from_beside_what_a_later_push_wrote(volume: Volume, stays: str) -> None:
    """A client repeats the push during which the registry was killed: the second file gets another name."""
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    if stays == "a manifest":
        content_of = volume.blob_data(image.digest).read_bytes()
    else:
        content_of = b"garbage"
        volume.put_blob(content_of, age=HOUR)
    old = volume.half_write_blob(content_of, age=25 * HOUR)
    fresh = volume.half_write_blob(content_of, age=23 * HOUR)
    foreign = old.with_name("data.bak")
    volume.write(foreign, b"", age=25 * HOUR)
    runner, before = Runner(volume.root, volume.now), content(volume.root)
    outcome = runner.retain({})
    (move,) = outcome.plan.moves
    assert (move.path, move.bytes) == (str(old.relative_to(volume.v2)), len(content_of) - 1)
    assert outcome.plan.document()["totals"]["deletedLeftovers"] == 1
    assert not old.exists()
    assert fresh.exists()
    assert foreign.exists()
    assert whole_tags(volume.root) == {"app:v1"}
    runner.restore()
    assert content(volume.root) == before
    assert runner.retain({}).journal is None, "it came back by an undo"
    (mark,) = (runner.root / STATE / "kept").iterdir()
    mark.unlink()
    assert runner.retain({}).journal is not None
    runner.purge()
    assert not old.exists()
    assert [journal.state for journal in runner.journals()] == ["restored", "purged"]


def test_what_was_half_written_beside_a_blob_that_goes_goes_with_it_and_beside_one_that_lacks_stays(
    volume: Volume,
) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    volume.put_blob(b"garbage")
    volume.half_write_blob(b"garbage")
    data = volume.blob_data(image.digest)
    leftover = volume.half_write_blob(data.read_bytes())
    volume.remove(data)
    (move,) = retain(volume, {}).plan.moves
    assert move.kind is Kind.BLOB
    assert leftover.exists()


@pytest.mark.parametrize("parts", [4, 28])
@pytest.mark.parametrize("every", [1, 2, 7])
def test_a_large_volume_is_looked_into_part_by_part(
    volume: Volume, monkeypatch: pytest.MonkeyPatch, parts: int, every: int
) -> None:
    """28 is a multiple of 7, so a weekly run would have looked into the same four parts for ever."""
    monkeypatch.setattr(freeing, "_LOOKED_INTO", 256 // parts)
    app = volume.repository("app")
    written = []
    for number in range(6):
        data = volume.blob_data(app.push_image(f"v{number}", layers=[b"%d" % number]).digest)
        written.append(volume.half_write_blob(data.read_bytes()))
    runs = [volume.now + run * every * DAY * SECOND for run in range(28)]
    days = [retain(volume, {}, now=now).moves(Kind.TEMPORARY) for now in runs]
    assert {move.path for found in days for move in found} == {str(path.relative_to(volume.v2)) for path in written}
    assert all(len(found) < len(written) for found in days)


def test_what_a_registry_has_half_written_is_no_link_and_comes_back(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"])
    new = app.push_image("v2", layers=[b"2"], age=9 * DAY)
    leftover = volume.half_write_blob(b"a manifest", age=25 * HOUR)
    for link in (app.tag_link("v1"), app.revision_link(new.digest), app.history_link("v2", new.digest)):
        volume.write(link.with_name(f"link.{uuid.uuid4()}.tmp"), new.digest.encode(), age=25 * HOUR)
    runner, before = Runner(volume.root, volume.now), content(volume.root)
    assert runner.retain(KEEP_ONE).journal is not None
    assert not leftover.exists()
    assert whole_tags(volume.root) == {"app:v2"}
    runner.restore()
    assert content(volume.root) == before
    assert runner.retain(KEEP_ONE).journal is None
