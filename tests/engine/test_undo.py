"""Undo: what comes back, what later runs keep because of it, and what a newer push or a purge leaves to it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from regkeeper.retention import marks
from regkeeper.retention.errors import NothingToUndoError, StoppedError
from regkeeper.retention.policy import merge
from regkeeper.retention.references import parse_reference
from regkeeper.retention.restore import Restored
from regkeeper.retention.restore_images import restore_reference
from regkeeper.retention.stop import never
from tests.engine import documents, driver
from tests.engine.planning import policies, used
from tests.engine.running import STATE, Runner, content
from tests.engine.samples import whole_tags
from tests.engine.volumes import DAY, SECOND, Volume

KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}


@pytest.fixture
def runner(volume: Volume) -> Runner:
    return Runner(volume.root, volume.now)


def restore_image(runner: Runner, reference: str) -> Restored:
    with runner.changing() as (volume, journals):
        return restore_reference(volume, journals, parse_reference(reference), runner.now)


def test_an_undo_brings_back_every_byte_and_every_time(volume: Volume, runner: Runner) -> None:
    app = volume.repository("team/app")
    old = app.push_image("v1", layers=[b"base", b"one"], age=30 * DAY)
    app.push_signature(old, age=29 * DAY)
    app.push_image("v2", layers=[b"base", b"two"], age=DAY)
    volume.repository("old").push_index("all", children=[volume.repository("old").push_image(layers=[b"x"])])
    before = content(volume.root)
    runner.retain({**KEEP_ONE, "delete": ["old"]})
    assert content(volume.root) != before
    restored = runner.restore()
    assert content(volume.root) == before
    assert restored.missing == []
    assert restored.newer == []


def test_a_later_run_keeps_what_an_undo_brought_back(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"], age=30 * DAY)
    app.push_image("v2", layers=[b"two"], age=20 * DAY)
    runner.retain(KEEP_ONE)
    runner.restore()
    outcome = runner.retain(KEEP_ONE)
    assert outcome.journal is None
    (row,) = [row for entry in outcome.plan.entries for row in entry.tags if row.tag == "v1"]
    assert row.reason == f"restored from run {runner.journals()[0].run}"


def test_other_rules_end_what_an_undo_of_rules_keeps(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"], age=30 * DAY)
    app.push_image("v2", layers=[b"two"], age=20 * DAY)
    runner.retain(KEEP_ONE)
    runner.restore()
    assert not _deleted(runner.retain({"rules": [{"keep": {"last": 1}}]}).plan)
    assert _deleted(runner.retain({"rules": [{"tags": ["v*"], "keep": {"last": 1}}]}).plan) == {"v1"}


def test_the_undo_of_a_delete_is_kept_whatever_the_rules_until_its_mark_is_removed(
    volume: Volume, runner: Runner
) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"], age=30 * DAY)
    app.push_image("v2", layers=[b"two"], age=20 * DAY)
    runner.delete("app:v1")
    runner.restore()
    assert not _deleted(runner.retain(KEEP_ONE).plan)
    (mark,) = (volume.root / STATE / "kept").iterdir()
    mark.unlink()
    assert _deleted(runner.retain(KEEP_ONE).plan) == {"v1"}


def test_an_exact_delete_takes_what_an_undo_brought_back(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1", layers=[b"one"])
    runner.delete("app:v1")
    runner.restore()
    plan = runner.delete("app:v1").plan
    assert _deleted(plan) == {"v1"}
    assert list(volume.blobs.rglob("data")) == [], "with all that the tag had"


def test_later_runs_keep_garbage_and_untagged_manifests_that_an_undo_brought_back(
    volume: Volume, runner: Runner
) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    app.push_image(layers=[b"untagged"])
    app.push_blob(b"garbage")
    volume.put_blob(b"named by nobody")
    spec = {"untagged": {"deleteAfter": "1h"}}
    before = content(volume.root)
    assert runner.retain(spec).journal is not None
    runner.restore()
    assert runner.retain(spec).journal is None
    assert content(volume.root) == before


def test_a_pattern_does_not_take_what_an_undo_brought_back(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"], age=30 * DAY)
    app.push_image("v2", layers=[b"two"], age=20 * DAY)
    runner.retain(KEEP_ONE)
    runner.restore()
    assert _deleted(runner.delete("app:v*").plan) == {"v2"}


def test_a_tag_that_was_pushed_since_stays(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    app.push_image("latest", layers=[b"old"])
    runner.delete("app:latest")
    newer = app.push_image("latest", layers=[b"new"], age=0)
    restored = runner.restore()
    assert [move.name for move in restored.newer] == ["latest"]
    assert app.tag_link("latest").read_text() == newer.digest


def test_a_blob_that_was_pushed_again_is_no_obstacle(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"shared", b"one"])
    runner.delete("app:v1")
    app.push_image("v2", layers=[b"shared", b"two"], age=0)
    restored = runner.restore()
    assert restored.missing == []
    assert volume.blob_data(image.digest).exists()
    assert app.tag_link("v1").read_text() == image.digest


def test_a_run_that_came_back_image_by_image_is_undone(volume: Volume, runner: Runner) -> None:
    """The next undo is that of the run before it."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    app.push_image("v2", layers=[b"two"])
    app.push_image("v3", layers=[b"three"])
    before = content(volume.root)
    runner.delete("app:v1")
    runner.delete("app:v2", "app:v3", now=volume.now + SECOND)
    restore_image(runner, "app:v2")
    assert [journal.state for journal in runner.journals()] == ["done", "done"]
    restore_image(runner, "app:v3")
    assert [journal.state for journal in runner.journals()] == ["done", "restored"]
    runner.restore()
    assert content(volume.root) == before


def test_the_last_image_of_a_run_brings_back_none_that_was_deleted_again(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    first = app.push_image("v1", layers=[b"one"])
    app.push_image("v2", layers=[b"two"])
    app.uploads.mkdir()
    runner.delete("app")
    restore_image(runner, "app:v1")
    runner.delete("app:v1", now=volume.now + SECOND)
    restored = restore_image(runner, "app:v2")
    assert [journal.state for journal in runner.journals()] == ["restored", "done"]
    assert not app.revision_link(first.digest).exists()
    assert not volume.blob_data(first.digest).exists()
    assert app.uploads.is_dir()
    assert app.uploads.name in {move.name for move in restored.moves}
    runner.restore()
    assert app.tag_link("v1").exists()


@pytest.mark.parametrize("entries", [0, 1, 5])
def test_a_signal_stops_an_undo_between_two_entries_and_the_next_command_ends_it(
    volume: Volume, runner: Runner, entries: int
) -> None:
    """It went on to its end, however many entries there were: a pod has half a minute."""
    app = volume.repository("app")
    app.push_index("v1", children=[app.push_image(layers=[b"base", b"one"])])
    app.push_image("v2", layers=[b"base", b"two"])
    before = content(volume.root)
    moves = len(runner.delete("app:v1").plan.moves)
    stop_after(runner, entries)
    with pytest.raises(StoppedError, match=rf"SIGTERM: stopped after {entries} entries"):
        runner.restore()
    assert len(list((volume.root / STATE / "quarantine").glob("*/*"))) == moves - entries
    assert [journal.state for journal in runner.journals()] == ["restoring"]
    assert whole_tags(volume.root) == {"app:v2"}
    runner.stop = never
    assert len(runner.restore().moves) == moves - entries
    assert content(volume.root) == before


def test_a_signal_stops_a_rollback_and_the_next_command_ends_it(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1", layers=[b"one"])
    before = content(volume.root)
    for entries, words in ((4, "stopped after 4 entries, which"), (2, "stopped after 2 entries had come back")):
        stop_after(runner, entries)
        with pytest.raises(StoppedError, match=words):
            runner.delete("app:v1")
        assert [journal.state for journal in runner.journals()] == ["open"]
    runner.stop = never
    assert len(runner.restore().moves) == 2
    assert content(volume.root) == before


def test_a_signal_stops_the_return_of_one_image_and_its_repetition_ends_it(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    app.push_signature(app.push_image("v1", layers=[b"one"]))
    app.push_image("v2", layers=[b"two"])
    before = content(volume.root)
    runner.delete("app:v1")
    stop_after(runner, 5)
    with pytest.raises(StoppedError, match="the rest comes back when this is repeated"):
        restore_image(runner, "app:v1")
    assert {tag.name for tag in app.tags.iterdir()} == {tag.partition(":")[2] for tag in whole_tags(volume.root)}
    runner.stop = never
    restore_image(runner, "app:v1")
    assert content(volume.root) == before


def stop_after(runner: Runner, entries: int) -> None:
    answers = iter([None] * entries)
    runner.stop = lambda: next(answers, "SIGTERM")


def test_an_undo_is_done_once(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1")
    runner.delete("app:v1")
    runner.restore()
    with pytest.raises(NothingToUndoError):
        runner.restore()


def test_after_a_purge_the_refusal_says_when_it_was(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1")
    runner.delete("app:v1")
    runner.purge(now=volume.now + 3 * DAY * SECOND)
    with pytest.raises(NothingToUndoError, match="was purged at 2026-05-31T20:26:40Z"):
        runner.restore()
    with pytest.raises(NothingToUndoError, match=r"app:v1: it was purged at 2026-05-31"):
        restore_image(runner, "app:v1")


def test_one_image_comes_back_with_its_dependants_and_nothing_else(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    signed = app.push_image("v1", layers=[b"base", b"one"])
    app.push_signature(signed)
    referrer = app.push_image(subject=signed, layers=[b"sbom"])
    app.push_image("v2", layers=[b"base", b"two"])
    runner.delete("app:v*")
    restored = restore_image(runner, "app:v1")
    assert restored.missing == []
    signature = signed.digest.replace(":", "-") + ".sig"
    assert {path.name for path in app.tags.iterdir()} == {"v1", signature}
    assert app.revision_link(referrer.digest).exists()
    assert _kept_tags(runner) == {"v1", signature}


def test_a_reference_with_a_digest_names_the_tag_only_where_it_pointed_there(volume: Volume, runner: Runner) -> None:
    image = volume.repository("app").push_image("v1", layers=[b"one"])
    runner.delete("app:v1")
    with pytest.raises(NothingToUndoError):
        restore_image(runner, "app:v1@sha256:" + "0" * 64)
    assert restore_image(runner, f"app:v1@{image.digest}").missing == []


def test_an_undo_brings_back_what_a_later_run_took(volume: Volume, runner: Runner) -> None:
    """Run 1 left the shared layer, which v2 still needed; run 2 took it with v2."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"shared", b"one"])
    app.push_image("v2", layers=[b"shared", b"two"])
    shared = volume.put_blob(b"shared")
    runner.delete("app:v1")
    runner.delete("app:v2", now=volume.now + SECOND)
    assert not volume.blob_data(shared).exists()
    first = runner.journals()[0]
    restored = restore_image(runner, "app:v1")
    assert restored.missing == []
    assert volume.blob_data(shared).exists()
    assert app.layer_link(shared).exists()
    assert restored.runs == sorted({first.run, runner.journals()[1].run})


def test_a_tag_that_is_pushed_again_after_its_undo_obeys_the_rules_and_what_came_back_stays(
    volume: Volume, runner: Runner
) -> None:
    app = volume.repository("app")
    old = app.push_image("v1", layers=[b"one"], age=30 * DAY)
    app.push_image("v2", layers=[b"two"], age=20 * DAY)
    runner.retain(KEEP_ONE)
    runner.restore()
    app.push_image("v1", layers=[b"again"], age=25 * DAY)
    assert _deleted(runner.retain(KEEP_ONE).plan) == {"v1"}
    assert app.revision_link(old.digest).exists()


def test_an_exact_delete_takes_the_dependants_that_came_back_with_their_subject(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"one"])
    app.push_signature(image)
    referrer = app.push_image(subject=image, layers=[b"sbom"])
    runner.delete("app:v1")
    runner.restore()
    assert app.revision_link(referrer.digest).exists()
    signature = image.digest.replace(":", "-") + ".sig"
    assert _deleted(runner.delete("app:v1", now=volume.now + SECOND).plan) == {"v1", signature}
    assert not app.revision_link(referrer.digest).exists()


def test_dependants_that_came_back_stay_while_their_subject_does(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"one"])
    app.push_signature(image)
    app.tag("v2", image.digest)
    runner.delete("app:v*")
    runner.restore()
    assert _deleted(runner.delete("app:v1", now=volume.now + SECOND).plan) == {"v1"}


def _deleted(plan: object) -> set[str]:
    return {move.name for move in plan.moves if move.kind == "tag"}  # type: ignore[attr-defined]


def _kept_tags(runner: Runner) -> set[str]:
    with runner.changing() as (volume, _):
        return {mark.move.name for mark in marks.kept(volume, {}) if mark.move.kind == "tag"}


def push_with_foreign_layer(volume: Volume) -> Path:
    """An image `app:v1` with a layer that has URLs and was pushed all the same; answers the layer's file."""
    app = volume.repository("app")
    layer = app.push_blob(b"windows", documents.OCI_FOREIGN_LAYER)
    manifest = json.loads(documents.image(app.push_blob(b"{}", documents.OCI_CONFIG), [layer]).content)
    manifest["layers"][0]["urls"] = ["https://mcr.example/windows"]
    app.push(documents.Manifest(documents.OCI_MANIFEST, documents.encode(manifest)), "v1")
    return volume.blob_data(layer.digest)


def push_build_cache(volume: Volume) -> Path:
    """BuildKit's cache `app:v1`, an index of layers; answers the file of one."""
    app = volume.repository("app")
    layers = [app.push_blob(content) for content in (b"one", b"two")]
    app.push(documents.index(layers), "v1")
    return volume.blob_data(layers[0].digest)


def push_index_of_linked_manifest(volume: Volume) -> Path:
    """An index `app:v1` whose child was pushed as a blob, as 2.8 takes it; answers the file of the child's layer."""
    app = volume.repository("app")
    layer = app.push_blob(b"of the child")
    child = documents.image(app.push_blob(b"{}", documents.OCI_CONFIG), [layer])
    app.push(documents.index([app.push_blob(child.content, documents.OCI_MANIFEST)]), "v1")
    return volume.blob_data(layer.digest)


UNUSUAL = [push_with_foreign_layer, push_build_cache, push_index_of_linked_manifest]


@pytest.mark.parametrize("push", UNUSUAL)
def test_one_image_comes_back_with_everything_that_it_had(
    volume: Volume, runner: Runner, push: Callable[[Volume], Path]
) -> None:
    push(volume)
    before = content(volume.root)
    runner.delete("app:v1")
    assert restore_image(runner, "app:v1").missing == []
    assert content(volume.root) == before


@pytest.mark.parametrize("push", UNUSUAL)
def test_an_image_that_came_into_use_comes_back_with_everything_that_it_had(
    volume: Volume, runner: Runner, push: Callable[[Volume], Path]
) -> None:
    push(volume)
    before = content(volume.root)
    runner.delete("app:v1")
    runner.purge(in_use=used("app:v1"))
    assert content(volume.root) == before


@pytest.mark.parametrize("push", UNUSUAL)
def test_what_a_run_that_can_be_undone_needs_is_held(
    volume: Volume, runner: Runner, push: Callable[[Volume], Path]
) -> None:
    """Another repository has the same layer; the later run, which is purged at once, takes it."""
    layer = push(volume)
    other = volume.repository("other")
    other.push(
        documents.image(other.push_blob(b"{}", documents.OCI_CONFIG), [other.push_blob(layer.read_bytes())]), "v1"
    )
    before = content(volume.root / "docker/registry/v2/blobs")
    runner.delete("app:v1")
    runner.delete("other:v1", undo_window=0, now=volume.now + SECOND)
    assert restore_image(runner, "app:v1").missing == []
    assert layer.exists()
    assert before.items() >= content(volume.root / "docker/registry/v2/blobs").items()


def test_an_image_comes_back_with_its_dependants_in_other_repositories(volume: Volume, runner: Runner) -> None:
    """They went with it: subjects are looked up on the whole volume."""
    image = volume.repository("app").push_image("v1")
    volume.repository("signatures").push_signature(image)
    volume.repository("signatures").push_image(subject=image, layers=[b"sbom"])
    before = content(volume.root)
    runner.delete("app:v1")
    assert not list(volume.repository("signatures").tags.glob("*"))
    restore_image(runner, "app:v1")
    assert content(volume.root) == before


def test_rules_of_another_policy_end_nothing_that_an_undo_keeps(volume: Volume, runner: Runner) -> None:
    """On the cluster each policy of a registry has runs of its own; the others are known there, and only keep."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"], age=30 * DAY)
    app.push_image("v2", layers=[b"two"], age=20 * DAY)
    one, other = policies(KEEP_ONE, {"rules": [{"tags": ["v*"], "keep": {"last": 1}}]})
    runner.run("retain", merge([one]))
    runner.restore()
    assert not _deleted(runner.run("retain", merge([other])).plan)
    assert not _deleted(runner.run("retain", merge([other], [one])).plan)
    changed = replace(one, spec=policies({"rules": [{"tags": ["x"], "keep": {"last": 1}}]})[0].spec)
    assert _deleted(runner.run("retain", merge([other], [changed])).plan) == {"v1"}


def test_of_an_image_that_was_pushed_again_the_tag_alone_is_told(volume: Volume, runner: Runner) -> None:
    """Its manifest and blobs are what they were."""
    volume.repository("app").push_image("v1")
    runner.delete("app:v1")
    volume.repository("app").push_image("v1", age=0)
    outcome = driver.run(volume, "restore")
    assert outcome.document["restored"]["newer"] == ["app:v1"]
    assert outcome.errors.count("pushed since") == 1
