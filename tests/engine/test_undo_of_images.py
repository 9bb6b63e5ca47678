"""Undo of single images: what comes back with them, and what that leaves of their runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from regkeeper.retention.errors import NothingToUndoError, StoppedError
from regkeeper.retention.processes.stop import never
from regkeeper.retention.quarantine import marks
from regkeeper.retention.runs.restore import undo
from tests.engine import documents
from tests.engine.planning import used
from tests.engine.running import Runner, content
from tests.engine.samples import whole_tags
from tests.engine.volumes import DAY, SECOND, Volume


def test_a_run_that_came_back_image_by_image_is_undone(volume: Volume, runner: Runner) -> None:
    """The next undo is that of the run before it."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    app.push_image("v2", layers=[b"two"])
    app.push_image("v3", layers=[b"three"])
    before = content(volume.root)
    runner.delete("app:v1")
    runner.delete("app:v2", "app:v3", now=volume.now + SECOND)
    runner.restore_image("app:v2")
    assert [journal.state for journal in runner.journals()] == ["done", "done"]
    runner.restore_image("app:v3")
    assert [journal.state for journal in runner.journals()] == ["done", "restored"]
    runner.restore()
    assert content(volume.root) == before


def test_the_last_image_of_a_run_brings_back_none_that_was_deleted_again(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    first = app.push_image("v1", layers=[b"one"])
    app.push_image("v2", layers=[b"two"])
    app.uploads.mkdir()
    runner.delete("app")
    runner.restore_image("app:v1")
    runner.delete("app:v1", now=volume.now + SECOND)
    restored = runner.restore_image("app:v2")
    assert [journal.state for journal in runner.journals()] == ["restored", "done"]
    assert not app.revision_link(first.digest).exists()
    assert not volume.blob_data(first.digest).exists()
    assert app.uploads.is_dir()
    assert app.uploads.name in {move.name for move in restored.moves}
    runner.restore()
    assert app.tag_link("v1").exists()


def test_a_signal_stops_the_return_of_one_image_and_its_repetition_ends_it(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    app.push_signature(app.push_image("v1", layers=[b"one"]))
    app.push_image("v2", layers=[b"two"])
    before = content(volume.root)
    runner.delete("app:v1")
    runner.stop_after(5)
    with pytest.raises(StoppedError, match="the rest comes back when this is repeated"):
        runner.restore_image("app:v1")
    assert {tag.name for tag in app.tags.iterdir()} == {tag.partition(":")[2] for tag in whole_tags(volume.root)}
    runner.stop = never
    runner.restore_image("app:v1")
    assert content(volume.root) == before


def test_one_image_comes_back_with_its_dependants_and_nothing_else(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    signed = app.push_image("v1", layers=[b"base", b"one"])
    app.push_signature(signed)
    referrer = app.push_image(subject=signed, layers=[b"sbom"])
    app.push_image("v2", layers=[b"base", b"two"])
    runner.delete("app:v*")
    restored = runner.restore_image("app:v1")
    assert restored.missing == []
    signature = signed.digest.replace(":", "-") + ".sig"
    assert {path.name for path in app.tags.iterdir()} == {"v1", signature}
    assert app.revision_link(referrer.digest).exists()
    assert _kept_tags(runner) == {"v1", signature}


def test_a_reference_with_a_digest_names_the_tag_only_where_it_pointed_there(volume: Volume, runner: Runner) -> None:
    image = volume.repository("app").push_image("v1", layers=[b"one"])
    runner.delete("app:v1")
    with pytest.raises(NothingToUndoError):
        runner.restore_image("app:v1@sha256:" + "0" * 64)
    assert runner.restore_image(f"app:v1@{image.digest}").missing == []


def test_a_reference_with_a_digest_names_the_tag_of_an_earlier_run_too(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    image = app.push_image("v1")
    runner.delete("app:v1")
    app.push_image("v1", layers=[b"two"])
    runner.delete("app:v1")
    runner.restore_image(f"app:v1@{image.digest}")
    assert app.tag_link("v1").read_text() == image.digest
    assert whole_tags(volume.root) == {"app:v1"}


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
    restored = runner.restore_image("app:v1")
    assert restored.missing == []
    assert volume.blob_data(shared).exists()
    assert app.layer_link(shared).exists()
    assert restored.runs == sorted({first.run, runner.journals()[1].run})


@pytest.mark.parametrize("purged", [False, True])
def test_an_undo_brings_back_the_dependants_that_a_later_run_took_with_their_subject(
    volume: Volume, runner: Runner, *, purged: bool
) -> None:
    """Another tag had kept the image and them; one that was deleted by name before that does not come back."""
    app = volume.repository("app")
    image = app.push_image("v1", "latest", layers=[b"one"])
    app.push_signature(image)
    sbom = app.push_image(subject=image, layers=[b"sbom"])
    app.push_signature(image, ".att")
    signature = image.digest.replace(":", "-")
    runner.delete("app:v1", undo_window=30 * DAY)
    runner.delete(f"app:{signature}.att", now=volume.now + SECOND)
    runner.delete("app:latest", now=volume.now + 2 * SECOND)
    if purged:
        runner.purge()
    with runner.changing() as (writable, journals):
        assert undo(writable, journals, journals.all()[0], volume.now).missing == []
    assert whole_tags(volume.root) == {"app:v1", f"app:{signature}.sig"}
    assert app.revision_link(sbom.digest).exists()


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
    assert runner.restore_image("app:v1").missing == []
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
    assert runner.restore_image("app:v1").missing == []
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
    runner.restore_image("app:v1")
    assert content(volume.root) == before


@pytest.mark.parametrize("purge", [False, True])
def test_an_image_of_schema_1_comes_back_with_the_signatures_that_a_later_run_took(
    volume: Volume, runner: Runner, *, purge: bool
) -> None:
    """No manifest names them, so they go as garbage only once their image has gone, and were not held for its undo."""
    app = volume.repository("app")
    image = app.push(documents.schema1("app", "old", [app.push_blob(b"layer")]), "old")
    signature = volume.put_blob(b'{"header": {}, "signature": "", "protected": ""}')
    link = app.revision_link(image.digest).parent / "signatures" / signature.replace(":", "/") / "link"
    volume.write(link, signature.encode(), age=9 * DAY)
    before = content(volume.root)
    deleted = runner.delete("app:old", undo_window=9 * DAY).journal
    assert deleted is not None
    runner.retain({"garbage": {"deleteAfter": "0s"}})
    assert not volume.blob_data(signature).exists()
    if purge:
        assert runner.purge().held == 1
    assert runner.restore_run(deleted.run).missing == []
    assert content(volume.root) == before
