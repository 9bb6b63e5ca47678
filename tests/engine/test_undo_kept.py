"""What later runs keep because an undo brought it back, and what ends that."""

import pytest
from msgspec.structs import replace

from regkeeper.retention.policies.policy import merge
from regkeeper.retention.runs.restore import undo
from tests.engine.planning import policies
from tests.engine.running import STATE, Runner, content
from tests.engine.volumes import DAY, SECOND, Volume

KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}


@pytest.mark.usefixtures("two_images")
def test_a_later_run_keeps_what_an_undo_brought_back(runner: Runner) -> None:
    runner.retain(KEEP_ONE)
    runner.restore()
    outcome = runner.retain(KEEP_ONE)
    assert outcome.journal is None
    (row,) = [row for entry in outcome.plan.entries for row in entry.tags if row.tag == "v1"]
    assert row.reason == f"restored from run {runner.journals()[0].run}"


@pytest.mark.usefixtures("two_images")
def test_other_rules_end_what_an_undo_of_rules_keeps(runner: Runner) -> None:
    runner.retain(KEEP_ONE)
    runner.restore()
    assert not _deleted(runner.retain({"rules": [{"keep": {"last": 1}}]}).plan)
    assert _deleted(runner.retain({"rules": [{"tags": ["v*"], "keep": {"last": 1}}]}).plan) == {"v1"}


@pytest.mark.usefixtures("two_images")
def test_the_undo_of_a_delete_is_kept_whatever_the_rules_until_its_mark_is_removed(
    volume: Volume, runner: Runner
) -> None:
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


@pytest.mark.usefixtures("two_images")
def test_a_pattern_does_not_take_what_an_undo_brought_back(runner: Runner) -> None:
    runner.retain(KEEP_ONE)
    runner.restore()
    assert _deleted(runner.delete("app:v*").plan) == {"v2"}


def test_a_pattern_does_not_take_garbage_that_an_undo_brought_back_with_its_repository(
    volume: Volume, runner: Runner
) -> None:
    app = volume.repository("team/app")
    app.revision_link(app.push_image(layers=[b"one"]).digest).unlink()
    volume.repository("app").push_image("v1", layers=[b"two"])
    pattern = {"rules": [], "delete": ["team/**"], "limits": {"maxDeletedShare": "100%"}}
    before = content(volume.root)
    assert runner.retain(pattern).journal is not None
    runner.restore()
    assert runner.retain(pattern).journal is None
    assert content(volume.root) == before


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


def test_what_came_back_of_another_run_stays_too(volume: Volume, runner: Runner) -> None:
    """The manifest, which the run that is undone had left to another tag."""
    app = volume.repository("app")
    old = app.push_image("v1", "latest", layers=[b"one"])
    runner.delete("app:v1")
    runner.delete("app:latest", now=volume.now + SECOND)
    with runner.changing() as (writable, journals):
        undo(writable, journals, journals.all()[0], runner.now)
    app.push_image("v1", layers=[b"again"])
    runner.retain({"untagged": {"deleteAfter": "1h"}}, now=volume.now + 2 * DAY * SECOND)
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


@pytest.mark.usefixtures("two_images")
def test_a_policy_of_the_same_name_that_only_keeps_ends_nothing_that_an_undo_keeps(runner: Runner) -> None:
    """Both were digested as one, which no run had as its rules: an undo kept nothing, whatever stayed as it was."""
    intent = merge(policies(KEEP_ONE), policies({"rules": [{"keep": {"matching": ["v9"]}}]}))
    assert _deleted(runner.run("retain", intent).plan) == {"v1"}
    runner.restore()
    assert not _deleted(runner.run("retain", intent).plan)


@pytest.mark.usefixtures("two_images")
def test_rules_of_another_policy_end_nothing_that_an_undo_keeps(runner: Runner) -> None:
    """On the cluster each policy of a registry has runs of its own; the others are known there, and only keep."""
    one, other = policies(KEEP_ONE, {"rules": [{"tags": ["v*"], "keep": {"last": 1}}]})
    runner.run("retain", merge([one]))
    runner.restore()
    assert not _deleted(runner.run("retain", merge([other])).plan)
    assert not _deleted(runner.run("retain", merge([other], [one])).plan)
    changed = replace(one, spec=policies({"rules": [{"tags": ["x"], "keep": {"last": 1}}]})[0].spec)
    assert _deleted(runner.run("retain", merge([other], [changed])).plan) == {"v1"}
