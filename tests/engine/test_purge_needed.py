"""What a purge brings back or holds instead of freeing it, because something needs it again."""

import json

import pytest

from regkeeper.retention.policies.references import parse_reference
from regkeeper.retention.runs.restore import undo
from regkeeper.retention.runs.restore_images import restore_reference
from regkeeper.retention.volume.layout import MANIFEST_LIMIT
from tests.engine import documents
from tests.engine.planning import used
from tests.engine.running import Runner, content, quarantined
from tests.engine.samples import whole_tags
from tests.engine.volumes import DAY, HOUR, SECOND, Volume


def test_a_blob_that_a_new_link_names_comes_back(volume: Volume, runner: Runner) -> None:
    """A cross-repository mount, or a `moveBlob` that found the blob just before the run took it."""
    volume.repository("app").push_image("v1", layers=[b"base"])
    base = volume.put_blob(b"base")
    runner.delete("app:v1")
    volume.repository("other").mount(base, age=0)
    purged = runner.purge()
    assert [move.name for move in purged.returned.moves] == [base]
    assert volume.blob_data(base).read_bytes() == b"base"


def test_a_link_that_cannot_be_read_needs_its_blob(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1", layers=[b"base"])
    base = volume.put_blob(b"base")
    runner.delete("app:v1")
    place = volume.repository("other").layer_link(base).parent
    place.parent.mkdir(parents=True)
    place.symlink_to("/nonexistent")
    assert [move.name for move in runner.purge().returned.moves] == [base]


def test_a_layer_directory_without_its_link_needs_nothing(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1", layers=[b"base"])
    base = volume.put_blob(b"base")
    runner.delete("app:v1")
    other = volume.repository("other")
    other.mount(base, age=0)
    other.layer_link(base).unlink()
    assert runner.purge().returned.moves == []
    assert not volume.blob_data(base).exists()


def test_a_manifest_that_a_new_link_names_comes_back_with_its_blobs_and_their_links(
    volume: Volume, runner: Runner
) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"base"])
    runner.delete("app:v1")
    app.tag("again", image.digest, age=0)
    runner.purge()
    assert volume.blob_data(image.digest).exists()
    assert volume.blob_data(volume.put_blob(b"base", age=0)).read_bytes() == b"base"
    assert whole_tags(volume.root) == {"app:again"}


def test_a_push_that_found_its_layers_just_before_they_went_is_whole(volume: Volume, runner: Runner) -> None:
    """It writes a manifest and nothing else. Another repository has the blobs, so that links alone went."""
    app = volume.repository("app")
    child = app.push_image("v1", layers=[b"base"])
    copy = volume.repository("other")
    copy.push_image("v1", layers=[b"base"])
    runner.delete("app:v1")
    app.push_index("again", children=[child], age=0)
    runner.purge()
    assert whole_tags(volume.root) == {"other:v1", "app:again"}


@pytest.mark.parametrize("form", ["app:v1", "app@{digest}", "{digest}"])
def test_an_image_that_came_into_use_comes_back_whole(volume: Volume, runner: Runner, form: str) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"base"])
    app.push_image("v2", layers=[b"other"])
    runner.delete("app:v1")
    runner.delete("app:v2", now=volume.now + SECOND)
    runner.purge(in_use=used(form.format(digest=image.digest)))
    assert app.tag_link("v1").read_text() == image.digest
    assert app.layer_link(volume.put_blob(b"base")).exists()
    assert not app.tag_link("v2").exists()


@pytest.mark.parametrize("named", ["child", "config"])
def test_a_platform_that_came_into_use_brings_every_index_above_it_back(
    volume: Volume, runner: Runner, named: str
) -> None:
    """As a plan keeps them: "index and platform child both ways; a bare config digest maps to its manifests"."""
    app = volume.repository("app")
    child = app.push_image(layers=[b"base"])
    app.push_index("outer", children=[app.push_index(children=[child])])
    app.push_index("plain", children=[child])
    config = json.loads(volume.blob_data(child.digest).read_bytes())["config"]["digest"]
    runner.delete("app:outer", "app:plain")
    runner.purge(in_use=used(child.digest if named == "child" else config))
    assert whole_tags(volume.root) == {"app:outer", "app:plain"}


def test_an_image_that_came_into_use_comes_back_with_what_a_later_run_took_of_it(
    volume: Volume, runner: Runner
) -> None:
    """Of v1 the whole manifest, of v3 the layer that young links held: neither was due, so both came back in part."""
    app = volume.repository("app")
    app.push_image("v1", "latest")
    app.push_image("v3", layers=[b"base", b"one"], age=HOUR)
    app.push_image("v4", layers=[b"base", b"two"])
    runner.delete("app:v1", "app:v3", undo_window=3 * DAY)
    later = {"delete": ["app:latest", "app:v4"], "undoWindow": "720h"}
    runner.retain(later, now=volume.now + 2 * DAY * SECOND)
    in_use = used("app:v1", "app:v3")
    runner.purge(now=volume.now + 4 * DAY * SECOND, in_use=in_use)
    assert whole_tags(volume.root) == {"app:v1", "app:v3"}
    runner.purge(now=volume.now + 40 * DAY * SECOND, in_use=in_use)
    assert whole_tags(volume.root) == {"app:v1", "app:v3"}


def test_a_tag_that_came_into_use_comes_back_as_it_was_pushed_last(volume: Volume, runner: Runner) -> None:
    """Of two runs that took it the first is due alone: what that one has is older than what the other has."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"old"])
    runner.delete("app:v1")
    newest = app.push_image("v1", layers=[b"new"])
    runner.delete("app:v1", undo_window=30 * DAY, now=volume.now + SECOND)
    runner.purge(in_use=used("app:v1"))
    runner.purge(now=volume.now + 40 * DAY * SECOND, in_use=used("app:v1"))
    assert whole_tags(volume.root) == {"app:v1"}
    assert app.tag_link("v1").read_text() == newest.digest


def test_what_a_tag_in_use_pointed_to_before_its_newest_push_is_freed(volume: Volume, runner: Runner) -> None:
    """It came back without its tag, at each purge, and was never freed: who names the tag uses what stands there."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"old"])
    deleted = runner.delete("app:v1")
    newest = app.push_image("v1", layers=[b"new"], age=0)
    before = content(volume.root)
    purged = runner.purge(in_use=used("app:v1", newest.digest))
    assert purged.bytes == deleted.plan.deleted_bytes
    assert purged.returned.moves == []
    assert content(volume.root) == before
    assert quarantined(volume.root) == []


def test_a_tag_in_use_comes_back_where_a_push_of_it_failed(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    app.push_image("v1")
    before = content(volume.root)
    runner.delete("app:v1")
    app.tag_link("v1").parent.mkdir(parents=True)
    app.tag_link("v1").touch()
    runner.purge(in_use=used("app:v1"))
    assert content(volume.root) == before


@pytest.mark.parametrize("back", ["use", "reference"])
@pytest.mark.parametrize("left", ["an empty link", "no link"])
def test_a_tag_comes_back_though_a_later_run_took_what_a_failed_push_of_it_had_left(
    volume: Volume, runner: Runner, left: str, back: str
) -> None:
    """Of two tags of one name the later counted, which points to nothing: the image went that was in use."""
    app = volume.repository("app")
    app.push_image("v1")
    before = content(volume.root)
    runner.delete("app:v1")
    app.tag_link("v1").parent.mkdir(parents=True)
    if left == "an empty link":
        app.tag_link("v1").touch()
    runner.delete("app:v1", undo_window=30 * DAY)
    if back == "use":
        runner.purge(in_use=used("app:v1"))
    else:
        runner.restore_image("app:v1")
    assert content(volume.root) == before


def test_what_another_run_needs_to_be_undone_is_held(volume: Volume, runner: Runner) -> None:
    """Run 1 may still be undone; run 2, without a window, took a layer that run 1's image needs, and the link to it."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"shared", b"one"])
    app.push_image("v2", layers=[b"shared", b"two"])
    runner.delete("app:v1")
    outcome = runner.delete("app:v2", undo_window=0, now=volume.now + SECOND)
    assert outcome.purged[-1].held == 2
    assert quarantined(volume.root).count(b"shared") == 1
    purged = runner.purge()
    assert purged.held == 0
    assert quarantined(volume.root) == []


def test_a_run_can_be_undone_whose_layers_were_garbage_of_another(volume: Volume, runner: Runner) -> None:
    """Its young links held the layers; a later run swept them all, and its own window is over first."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"base", b"one"], age=HOUR)
    app.push_image("v2", layers=[b"base", b"two"])
    runner.delete("app:v1", undo_window=30 * DAY)
    runner.retain({"delete": ["app:v2"]}, now=volume.now + 2 * DAY * SECOND)
    runner.purge(now=volume.now + 4 * DAY * SECOND)
    undo_first(runner)
    assert whole_tags(volume.root) == {"app:v1"}


def test_a_tag_can_come_back_whose_manifest_another_run_took(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1", "latest")
    runner.delete("app:v1", undo_window=30 * DAY)
    runner.delete("app:latest", now=volume.now + SECOND)
    runner.purge()
    undo_first(runner)
    assert whole_tags(volume.root) == {"app:v1"}


def test_the_image_of_a_tag_is_held_though_a_later_run_took_another_of_that_name(
    volume: Volume, runner: Runner
) -> None:
    """Of two tags of one name the later alone was asked about, and what the earlier one needs was freed."""
    app = volume.repository("app")
    app.push_image("v1", "latest")
    runner.delete("app:v1", undo_window=30 * DAY)
    app.push_image("v1", layers=[b"two"])
    runner.delete("app:v1", undo_window=30 * DAY)
    runner.delete("app:latest")
    runner.purge()
    undo_first(runner)
    assert whole_tags(volume.root) == {"app:v1"}


def test_a_layer_pushed_by_sha512_comes_back_with_its_image_and_is_held_for_it(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    for tag in ("v1", "v2", "v3"):
        config = app.push_blob(tag.encode(), documents.OCI_CONFIG)
        app.push(documents.image(config, [app.push_blob(b"layer", algorithm="sha512")]), tag)
    runner.delete("app:v1", undo_window=30 * DAY)
    runner.delete("app:v2", undo_window=3 * DAY, now=volume.now + SECOND)
    runner.delete("app:v3", now=volume.now + 2 * SECOND)
    runner.purge()
    with runner.changing() as (writable, journals):
        assert restore_reference(writable, journals, parse_reference("app:v2"), volume.now).missing == []
    assert volume.blob_data(documents.digest_of(b"layer")).exists()
    for algorithm in ("sha256", "sha512"):
        assert app.layer_link(documents.digest_of(b"layer", algorithm)).exists()


def test_an_undo_says_which_link_is_nowhere(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"base"])
    app.push_image("v2", layers=[b"base"])
    base = volume.put_blob(b"base")
    runner.delete("app:v1")
    volume.remove(app.layer_link(base).parent)
    assert runner.restore().missing == [base]


def undo_first(runner: Runner) -> None:
    with runner.changing() as (volume, journals):
        assert undo(volume, journals, journals.all()[0], runner.now).missing == []


def test_a_layer_that_is_larger_than_any_manifest_comes_back(volume: Volume, runner: Runner) -> None:
    volume.repository("app").push_image("v1", layers=[bytes(MANIFEST_LIMIT + 1)])
    layer = volume.put_blob(bytes(MANIFEST_LIMIT + 1))
    runner.delete("app:v1")
    volume.repository("other").mount(layer, age=0)
    assert [move.name for move in runner.purge().returned.moves] == [layer]
