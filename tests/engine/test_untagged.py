"""Untagged manifests: what a deleted tag takes along, and from when the age of the others counts."""

from pathlib import Path

import pytest

from regkeeper.retention.errors import StoppedError
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.runs.session import reading
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.histories import departures
from tests.engine import documents
from tests.engine.documents import Descriptor
from tests.engine.planning import delete, retain, used
from tests.engine.running import Runner
from tests.engine.volumes import DAY, HOUR, SECOND, Volume

KEEP_NONE = {"rules": [{"keep": {"last": 0}}]}
AFTER_A_DAY = {"untagged": {"deleteAfter": "24h"}}
NO_TAGS = {"rules": [{"keep": {"last": 0}}], "untagged": {"deleteAfter": "3h"}}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def test_an_untagged_manifest_says_what_keeps_it(volume: Volume) -> None:
    """A child said that the policy has no `untagged`, though it would have stayed all the same."""
    app = volume.repository("app")
    child, alone = app.push_image(layers=[b"child"]), app.push_image(layers=[b"alone"])
    index = app.push_index("v1", children=[child])
    for planned, reason in (
        (retain(volume, {}), "untagged; the policy has no `untagged`"),
        (delete(volume, "app:v2"), "untagged"),
    ):
        assert planned.manifest("app", child.digest) == f"kept: child of {index.digest[:19]}"
        assert planned.manifest("app", alone.digest) == f"kept: {reason}"


def test_a_deleted_tag_takes_its_index_and_children(volume: Volume) -> None:
    app = volume.repository("app")
    child = app.push_image(layers=[b"1"])
    inner = app.push_index(children=[child])
    outer = app.push_index("v1", children=[inner])
    planned = retain(volume, KEEP_NONE)
    names = [move.name for move in planned.plan.moves if move.kind in ("index-revision", "revision")]
    assert names == [outer.digest, inner.digest, child.digest]
    assert planned.plan.entries[0].empty


def test_a_child_that_another_tag_or_index_needs_stays(volume: Volume) -> None:
    app = volume.repository("app")
    shared = app.push_image(layers=[b"1"])
    tagged = app.push_image("amd64", layers=[b"2"])
    first = app.push_index("v1", children=[shared, tagged])
    app.push_index("v2", children=[shared])
    planned = retain(volume, {"rules": [{"tags": ["v1"], "keep": {"last": 0}}]})
    assert planned.deleted_manifests() == {("app", first.digest)}


def test_the_history_of_a_tag_stays_when_the_tag_goes(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"])
    new = app.push_image("v1", layers=[b"2"])
    assert retain(volume, KEEP_NONE).deleted_manifests() == {("app", new.digest)}


def test_untagged_manifests_stay_unless_the_policy_says_so(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"])
    loose = app.push_image(layers=[b"2"])
    assert retain(volume, KEEP_NONE).manifest("app", loose.digest).startswith("kept: untagged")
    assert retain(volume, AFTER_A_DAY).deleted_manifests() == {("app", loose.digest)}


def test_the_age_counts_from_when_the_last_tag_left(volume: Volume) -> None:
    app = volume.repository("app")
    old = app.push_image("latest", layers=[b"1"], age=10 * DAY)
    app.push_image("latest", layers=[b"2"], age=DAY - HOUR)
    assert retain(volume, AFTER_A_DAY).deleted_manifests() == set()
    assert retain(volume, AFTER_A_DAY, now=volume.now + HOUR * SECOND).deleted_manifests() == {("app", old.digest)}


def test_the_newest_of_several_histories_counts(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image("a", layers=[b"1"], age=10 * DAY)
    app.tag("b", image.digest, age=10 * DAY)
    app.push_image("a", layers=[b"2"], age=9 * DAY)
    app.push_image("b", layers=[b"2"], age=HOUR)
    assert retain(volume, AFTER_A_DAY).deleted_manifests() == set()


def test_of_two_pushes_at_the_same_time_neither_is_known_to_have_come_first(volume: Volume) -> None:
    """Found by the oracle: one had left the tag at once, by the order of digests. Some copies keep whole seconds."""
    app = volume.repository("app")
    for layer in (b"1", b"2", b"3"):
        app.push_image("a", layers=[layer], age=10 * DAY)
    app.push_image("a", layers=[b"4"], age=HOUR)
    assert retain(volume, AFTER_A_DAY).deleted_manifests() == set()


def test_the_history_of_a_tag_without_a_link_counts(volume: Volume) -> None:
    """Its directory is still there, and says that the next push took the tag from the digest an hour ago."""
    app = volume.repository("app")
    app.push_image("a", layers=[b"1"], age=10 * DAY)
    app.push_image("a", layers=[b"2"], age=HOUR)
    app.tag_link("a").unlink()
    assert retain(volume, AFTER_A_DAY).deleted_manifests() == set()


def test_a_time_that_can_not_be_right_makes_no_manifest_old_whatever_lies_beside_it(volume: Volume) -> None:
    """Found by the oracle: it went where another untagged manifest had its tags' histories read."""
    app = volume.repository("app")
    old = app.push_image("latest", layers=[b"1"], age=volume.now // SECOND - 1000)
    app.push_image("latest", layers=[b"2"], age=3 * DAY)
    assert retain(volume, AFTER_A_DAY).deleted_manifests() == set()
    loose = app.push_image(layers=[b"3"], age=3 * DAY)
    planned = retain(volume, AFTER_A_DAY)
    assert planned.deleted_manifests() == {("app", loose.digest)}
    assert planned.manifest("app", old.digest).startswith("kept: untagged")


def test_the_run_that_deleted_the_tag_counts_too(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image(layers=[b"1"], age=10 * DAY)
    digest = digests.parse(image.digest)
    assert digest is not None
    departed = {("app", digest): volume.moment(HOUR)}
    assert retain(volume, AFTER_A_DAY, departures=departed).deleted_manifests() == set()
    assert retain(volume, AFTER_A_DAY).deleted_manifests() == {("app", image.digest)}


def test_the_longest_age_of_several_policies_counts(volume: Volume) -> None:
    volume.repository("app").push_image(layers=[b"1"], age=3 * DAY)
    longer = {"untagged": {"deleteAfter": "7d"}}
    assert retain(volume, AFTER_A_DAY, longer).deleted_manifests() == set()
    assert retain(volume, AFTER_A_DAY, also_keep=[longer]).deleted_manifests() == set()
    assert retain(volume, KEEP_NONE, also_keep=[AFTER_A_DAY]).deleted_manifests() == set()


def test_an_untagged_manifest_in_use_stays_with_its_layers(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image(layers=[b"1"])
    planned = retain(volume, AFTER_A_DAY, in_use=used(f"app@{image.digest}"))
    assert not planned.plan.moves


def test_a_manifest_named_by_digest_goes_unless_something_needs_it(volume: Volume) -> None:
    app = volume.repository("app")
    loose = app.push_image(layers=[b"1"])
    tagged = app.push_image("v1", layers=[b"2"])
    child = app.push_image(layers=[b"3"])
    app.push_index("v2", children=[child])
    assert delete(volume, f"app@{loose.digest}").deleted_manifests() == {("app", loose.digest)}
    refused = delete(volume, f"app@{tagged.digest}", f"app@{child.digest}")
    assert not refused.plan.moves
    assert {(kept.name, kept.reason.split()[0]) for kept in refused.plan.kept} == {
        (tagged.digest, "tag"),
        (child.digest, "child"),
    }
    assert delete(volume, f"app@sha256:{'a' * 64}").plan.unmatched == [f"app@sha256:{'a' * 64}"]


def test_a_whole_repository_goes_and_those_within_it_stay(volume: Volume) -> None:
    team = volume.repository("team")
    team.push_image("v1", layers=[b"1"], age=60)
    team.push_image(layers=[b"2"], age=60)
    volume.repository("team/app").push_image("v1", layers=[b"1"], age=60)
    planned = delete(volume, "team")
    assert planned.deleted_tags() == {"team:v1"}
    assert len(planned.deleted_manifests()) == 2
    assert {move.path for move in planned.moves(Kind.REPOSITORY)} == {
        "repositories/team/_manifests",
        "repositories/team/_layers",
    }
    below = delete(volume, "team/**")
    assert below.deleted_tags() == {"team/app:v1"}


def test_what_an_unknown_manifest_mentions_does_not_go_with_it(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image(layers=[b"1"])
    content = documents.encode({"mediaType": "application/x-strange", "part": image.digest})
    strange = app.push(documents.Manifest("application/x-strange", content), "v1")
    assert retain(volume, KEEP_NONE).deleted_manifests() == {("app", strange.digest)}


def test_a_digest_is_untagged_since_the_push_that_took_its_tag_while_a_run_was_interrupted(volume: Volume) -> None:
    """The rollback finds the tag pushed again: what it pointed to before is in the history that comes back."""
    app = volume.repository("app")
    old = app.push_image("v1", layers=[b"old"])
    answers = iter([None])
    with pytest.raises(StoppedError):
        Runner(volume.root, volume.now, stop=lambda: next(answers, "SIGTERM")).delete("app:v1")
    newer = app.push_image("v1", layers=[b"newer"], age=2 * HOUR)
    with reading(str(volume.root)) as seen:
        assert departures(seen.volume, seen.reader.read("app")) == {_parsed(old): volume.moment(2 * HOUR)}
    runner = Runner(volume.root, volume.now)
    runner.retain({"untagged": {"deleteAfter": "3h"}})
    assert app.revision_link(old.digest).exists()
    assert app.tag_link("v1").read_text() == newer.digest
    runner.now += 2 * HOUR * SECOND
    runner.retain({"untagged": {"deleteAfter": "3h"}})
    assert not app.revision_link(old.digest).exists()


def test_a_digest_that_a_tag_left_before_a_run_deleted_the_tag_counts_from_then(volume: Volume) -> None:
    """The history, which alone tells when, went with the tag: the next run took it for untagged since its own push."""
    runner, former = _left_by_a_tag_that_went(volume)
    runner.now += HOUR * SECOND // 2
    runner.retain(NO_TAGS)
    assert former.exists()
    runner.now += HOUR * SECOND
    runner.retain(NO_TAGS)
    assert not former.exists()


@pytest.mark.parametrize("unreadable", ["v1/index", "v1/index/sha256"])
def test_the_history_of_a_tag_that_can_not_be_read_counts_from_its_last_push(volume: Volume, unreadable: str) -> None:
    """It told nothing: what the push of two hours ago had taken the tag from went by the age of its own push."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"former"], age=9 * DAY)
    app.push_image("v1", layers=[b"last"], age=2 * HOUR)
    _lead_elsewhere(app.tags / unreadable)
    assert not retain(volume, AFTER_A_DAY).deleted_manifests()
    assert retain(volume, {"untagged": {"deleteAfter": "2h"}}).deleted_manifests()


def test_the_history_that_a_run_has_moved_and_that_can_not_be_read_counts_from_its_last_push(volume: Volume) -> None:
    runner, former = _left_by_a_tag_that_went(volume)
    (moved,) = volume.v2.glob(".regkeeper/quarantine/*/*/index")
    _lead_elsewhere(moved)
    runner.retain(NO_TAGS)
    assert former.exists()
    runner.now += HOUR * SECOND
    runner.retain(NO_TAGS)
    assert not former.exists()


def _left_by_a_tag_that_went(volume: Volume) -> tuple[Runner, Path]:
    """The revision link of what a tag has left two hours before a run, with that runner, deleted the tag."""
    app = volume.repository("app")
    former = app.push_image("v1", layers=[b"former"], age=9 * DAY)
    app.push_image("v1", layers=[b"last"], age=2 * HOUR)
    runner = Runner(volume.root, volume.now)
    runner.retain(NO_TAGS)
    assert not app.tag_link("v1").exists()
    return runner, app.revision_link(former.digest)


def _lead_elsewhere(directory: Path) -> None:
    """Put a symbolic link in the place of a directory: it is not followed, and nothing can be read there."""
    directory.rename(directory.with_name("elsewhere"))
    directory.symlink_to("elsewhere")


def _parsed(descriptor: Descriptor) -> Digest:
    digest = digests.parse(descriptor.digest)
    assert digest is not None
    return digest
