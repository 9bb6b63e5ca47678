"""Blobs and layer links that nothing needs, exact bytes, and the order of the moves."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from regkeeper.retention.quarantine.moves import Kind
from tests.engine import documents
from tests.engine.planning import delete, retain
from tests.engine.running import Runner, content, quarantined
from tests.engine.volumes import DAY, HOUR, Volume

KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}
KEEP_NONE = {"rules": [{"keep": {"last": 0}}]}
NOTHING: dict[str, object] = {}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def test_what_a_kept_image_needs_stays(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"base", b"one"], age=9 * DAY)
    app.push_image("v2", layers=[b"base", b"two"], age=8 * DAY)
    planned = retain(volume, KEEP_ONE)
    base = documents.digest_of(b"base")
    assert base not in planned.deleted_blobs()
    assert ("app", base) not in planned.deleted_links()
    assert documents.digest_of(b"one") in planned.deleted_blobs()
    assert ("app", documents.digest_of(b"one")) in planned.deleted_links()


def test_bytes_are_those_of_the_blobs_that_go_each_counted_once(volume: Volume) -> None:
    app = volume.repository("app")
    for tag in ("v1", "v2"):
        app.push_image(tag, layers=[b"shared" * 100, tag.encode() * 10])
    volume.repository("other").push_image("v1", layers=[b"shared" * 100])
    planned = retain(volume, {"rules": [{"repositories": ["app"], "keep": {"last": 0}}]})
    expected = sum(os.path.getsize(volume.blob_data(digest)) for digest in planned.deleted_blobs())
    assert planned.plan.deleted_bytes == expected > 0
    assert documents.digest_of(b"shared" * 100) not in planned.deleted_blobs()
    assert [entry.deleted_bytes for entry in planned.plan.entries] == [expected, 0]


def test_garbage_goes_once_the_blob_and_every_link_are_old(volume: Volume) -> None:
    app = volume.repository("app")
    old = volume.put_blob(b"old", age=24 * HOUR)
    young = volume.put_blob(b"young", age=24 * HOUR - 1)
    mounted = volume.put_blob(b"mounted", age=9 * DAY)
    app.mount(mounted, age=HOUR)
    planned = retain(volume, NOTHING)
    assert planned.deleted_blobs() == {old}
    assert young not in planned.deleted_blobs()
    assert planned.deleted_links() == set()


def test_a_stale_link_elsewhere_does_not_keep_a_blob(volume: Volume) -> None:
    stale = volume.put_blob(b"stale")
    for name in ("a", "b"):
        volume.repository(name).mount(stale)
    planned = retain(volume, NOTHING)
    assert planned.deleted_links() == {("a", stale), ("b", stale)}
    assert planned.deleted_blobs() == {stale}


def test_a_stale_link_to_a_blob_that_another_repository_needs_goes_alone(volume: Volume) -> None:
    layer = documents.digest_of(b"layer")
    volume.repository("a").push_image("v1", layers=[b"layer"])
    volume.repository("b").push_image("v1", layers=[b"other"])
    volume.repository("b").mount(layer)
    planned = retain(volume, NOTHING)
    assert planned.deleted_links() == {("b", layer)}
    assert planned.deleted_blobs() == set()


def test_a_sparse_index_that_goes_does_not_free_a_young_blob_that_it_only_mentions(volume: Volume) -> None:
    """A child that its repository lacks was never needed there, so only its own age counts (found by the oracle)."""
    other, app = volume.repository("other"), volume.repository("app")
    image = other.push_image(layers=[b"1"], age=2 * HOUR)
    other.delete_revision(image.digest)
    sparse = app.push_index(children=[image], age=2 * HOUR)
    policy = {"untagged": {"deleteAfter": "0s"}, "protect": {"youngerThan": "1h"}}
    planned = retain(volume, policy)
    assert planned.deleted_manifests() == {("app", sparse.digest)}
    assert image.digest not in planned.deleted_blobs()


def test_what_only_children_that_are_blobs_lead_to_is_needed(volume: Volume) -> None:
    """2.8 takes an index whose children were pushed as blobs, and serves these: an index with children of its own."""
    app = volume.repository("app")
    child = app.push_image(layers=[b"layer"], platform="linux/amd64")
    inner = app.push_index(children=[child])
    app.push_index("latest", children=[inner])
    for manifest in (child, inner):
        app.mount(manifest.digest)
        volume.remove(app.revision_link(manifest.digest).parent)
    planned = retain(volume, NOTHING)
    assert planned.deleted_links() == set()
    assert planned.deleted_blobs() == set()


def test_the_signatures_of_schema_1_stay_with_their_manifest(volume: Volume) -> None:
    """Registries up to 2.4 keep them as blobs, which no manifest names, and serve none without (signaturestore.go)."""
    app = volume.repository("app")
    image = app.push(documents.schema1("app", "old", [app.push_blob(b"layer")]), "old")
    signature = volume.put_blob(b'{"header": {}, "signature": "", "protected": ""}')
    link = app.revision_link(image.digest).parent / "signatures" / signature.replace(":", "/") / "link"
    volume.write(link, signature.encode(), age=9 * DAY)
    assert retain(volume, NOTHING).deleted_blobs() == set()
    manifest = volume.blob_data(image.digest)
    volume.flip(manifest)
    assert retain(volume, NOTHING).deleted_blobs() == set(), "nor while the manifest can't be read"
    volume.flip(manifest)
    runner = Runner(volume.root, volume.now)
    before = content(volume.root)
    runner.delete("app:old")
    assert signature in retain(volume, NOTHING).deleted_blobs(), "it goes as garbage, once its manifest has gone"
    runner.restore()
    assert content(volume.root) == before
    runner.delete("app:old")
    runner.purge()
    assert quarantined(volume.root) == []


def test_a_young_link_holds_what_the_run_sets_free(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"], age=9 * DAY)
    layer = documents.digest_of(b"1")
    volume.repository("other").mount(layer, age=HOUR)
    planned = retain(volume, KEEP_NONE)
    assert layer not in planned.deleted_blobs()
    assert ("app", layer) in planned.deleted_links()


def test_the_deletion_of_a_whole_repository_heeds_no_link_of_its_own(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"], age=HOUR)
    assert documents.digest_of(b"1") in delete(volume, "app:v1").deleted_blobs()
    assert documents.digest_of(b"1") in delete(volume, "app").deleted_blobs()
    app.push_image("v2", layers=[b"2"], age=HOUR)
    assert documents.digest_of(b"1") not in delete(volume, "app:v1").deleted_blobs()
    assert documents.digest_of(b"1") not in retain(volume, KEEP_NONE).deleted_blobs()


def test_the_last_tag_goes_without_the_layers_of_a_push_under_way(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"], age=9 * DAY)
    layer = app.push_blob(b"of v2, whose manifest is not there yet", age=60)
    planned = delete(volume, "app:v1")
    assert planned.deleted_tags() == {"app:v1"}
    assert ("app", layer.digest) not in planned.deleted_links()
    assert planned.moves(Kind.REPOSITORY) == []


def test_delete_leaves_other_garbage_alone(volume: Volume) -> None:
    volume.repository("app").push_image("v1", layers=[b"1"])
    garbage = volume.put_blob(b"garbage")
    assert garbage not in delete(volume, "app:v1").deleted_blobs()
    assert garbage in retain(volume, KEEP_NONE).deleted_blobs()


def test_moves_come_in_an_order_in_which_a_crash_leaves_only_garbage(volume: Volume) -> None:
    for name in ("a", "b"):
        child = volume.repository(name).push_image(layers=[b"1"])
        volume.repository(name).push_index("v1", children=[child])
    order = list(Kind)
    positions = [order.index(move.kind) for move in retain(volume, KEEP_NONE).plan.moves]
    assert positions == sorted(positions)
    assert len(set(positions)) >= 6


def test_each_move_has_the_witness_of_what_was_read(volume: Volume) -> None:
    volume.repository("app").push_image("v1", layers=[b"1"])
    files = {
        Kind.TAG: "current/link",
        Kind.REVISION: "link",
        Kind.LAYER_LINK: "link",
        Kind.BLOB: "data",
        Kind.MANIFEST_BLOB: "data",
    }
    for move in retain(volume, KEEP_NONE).plan.moves:
        if move.kind in files:
            status = (volume.v2 / move.path / files[move.kind]).stat()
            assert move.witness == (status.st_ino, status.st_ctime_ns)


def test_old_uploads_go_only_offline(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1")
    app.start_upload("old", age=8 * DAY)
    app.start_upload("new", age=6 * DAY)
    for upload in app.uploads.iterdir():
        for path in (*upload.rglob("*"), upload):
            if path.is_dir():
                age = 8 * DAY if upload.name == "old" else 6 * DAY
                os.utime(path, ns=(volume.now, volume.moment(age)))
    policy = {"uploads": {"deleteAfter": "168h"}}
    beside = retain(volume, policy).plan
    assert not beside.moves
    assert any("--mode Offline" in warning for warning in beside.warnings)
    stopped = retain(volume, policy, offline=True)
    assert [move.name for move in stopped.moves(Kind.UPLOAD)] == ["old"]
    assert not stopped.plan.warnings
    volume.empty(app.tag_link("v1"))
    assert not retain(volume, policy, offline=True).plan.moves, "the repository is pinned"


def test_an_upload_under_way_keeps_its_repository(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1")
    app.start_upload("now", age=0)
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_tags() == {"app:v1"}
    assert planned.moves(Kind.REPOSITORY) == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_every_algorithm_is_read_and_cleaned(volume: Volume, algorithm: str) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"], algorithm=algorithm)
    kept = app.push_image("v2", layers=[b"2"], algorithm=algorithm)
    planned = retain(volume, {"rules": [{"tags": ["v1"], "keep": {"last": 0}}]})
    assert image.digest in planned.deleted_blobs()
    assert kept.digest not in planned.deleted_blobs()


def push_by(volume: Volume, algorithm: str) -> str:
    """An image whose layer was pushed by another digest than the one that its blob has; answers that one."""
    app = volume.repository("app")
    config = app.push_blob(documents.image_config(None), documents.OCI_CONFIG)
    app.push(documents.image(config, [app.push_blob(b"layer", algorithm=algorithm)]), "v1")
    return documents.digest_of(b"layer")


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_a_layer_is_needed_by_every_digest_that_it_was_pushed_by(volume: Volume, algorithm: str) -> None:
    push_by(volume, algorithm)
    assert not retain(volume, NOTHING).plan.moves


def test_a_layer_is_needed_by_its_tarsum(volume: Volume) -> None:
    """Registries up to 2.2 serve it by that name, of which no digest can be read."""
    app = volume.repository("app")
    layer, tarsum = app.push_blob(b"layer"), "ab" * 32
    volume.write(app.layers / "tarsum" / "v1" / "sha256" / tarsum / "link", layer.digest.encode(), age=30 * DAY)
    app.push(documents.schema1("app", "v1", [replace(layer, digest=f"tarsum.v1+sha256:{tarsum}")]), "v1")
    assert layer.digest not in retain(volume, NOTHING).deleted_blobs()


def test_a_layer_pushed_by_sha512_goes_with_its_image_and_with_both_links(volume: Volume) -> None:
    layer = push_by(volume, "sha512")
    planned = retain(volume, KEEP_NONE)
    assert layer in planned.deleted_blobs()
    assert {("app", layer), ("app", documents.digest_of(b"layer", "sha512"))} <= planned.deleted_links()


def test_a_link_that_does_not_tell_which_blob_it_names_pins_its_repository(volume: Volume) -> None:
    push_by(volume, "sha512")
    volume.empty(volume.repository("app").layer_link(documents.digest_of(b"layer", "sha512")))
    planned = retain(volume, KEEP_NONE)
    assert not planned.plan.moves
    assert len(planned.plan.problems) == 1


def test_an_unknown_algorithm_is_left_alone(volume: Volume) -> None:
    strange = volume.blobs / "blake3" / "aa" / ("a" * 64) / "data"
    volume.write(strange, b"x", age=90 * DAY)
    assert not retain(volume, NOTHING).plan.moves


def test_a_repository_that_was_deleted_by_name_holds_nothing(volume: Volume) -> None:
    app = volume.repository("app")
    index = app.push_index("v1", children=[], age=HOUR)
    assert index.digest in delete(volume, "app:v1").deleted_blobs()
    assert index.digest not in retain(volume, KEEP_NONE).deleted_blobs()
    app.push_image("v2", layers=[b"2"], age=9 * DAY)
    assert index.digest not in delete(volume, "app:v1").deleted_blobs()


def test_what_a_child_refers_to_that_was_pushed_as_a_blob_is_needed(volume: Volume) -> None:
    """Distribution 2.8 serves it as a manifest: the index is whole by its layer link."""
    app = volume.repository("app")
    child = documents.image(app.push_blob(b"{}", documents.OCI_CONFIG), [app.push_blob(b"of the child")])
    app.push(documents.index([app.push_blob(child.content, documents.OCI_MANIFEST)]), "multi")
    planned = retain(volume, {})
    assert planned.deleted_blobs() == set()
    assert planned.deleted_links() == set()


def test_a_damaged_child_that_was_pushed_as_a_blob_pins_its_repository(volume: Volume) -> None:
    app = volume.repository("app")
    child = documents.image(app.push_blob(b"{}", documents.OCI_CONFIG), [app.push_blob(b"of the child")])
    linked = app.push_blob(child.content, documents.OCI_MANIFEST)
    app.push(documents.index([linked]), "multi")
    volume.flip(volume.blob_data(linked.digest))
    planned = retain(volume, {})
    assert planned.deleted_blobs() == set()
    assert [problem.where for problem in planned.plan.problems] == [f"manifest {linked.digest}"]
