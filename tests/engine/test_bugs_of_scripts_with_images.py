"""What deletion scripts did to images that share, contain or are about others; as in test_bugs_of_scripts.py."""

from tests.engine import documents
from tests.engine.driver import REFUSES_NOTHING, complete, delete, retain
from tests.engine.oracle_reading import read
from tests.engine.volumes import DAY, Volume

DELETE_UNTAGGED = {"untagged": {"deleteAfter": "24h"}, "garbage": {"deleteAfter": "24h"}}


DELETE_ALL_BUT_LATEST = {
    "rules": [{"keep": {"matching": ["latest"]}}],
    "untagged": {"deleteAfter": "24h"},
    "limits": REFUSES_NOTHING,
}


def test_children_of_a_tagged_index_are_not_untagged(volume: Volume) -> None:
    """The deletion of untagged manifests took them, and the index was broken."""
    app = volume.repository("app")
    children = [app.push_image(layers=[name], platform=f"linux/{name.decode()}") for name in (b"amd64", b"arm64")]
    app.push_index("latest", children=children)
    retain(volume, DELETE_UNTAGGED)
    assert complete(volume) == {("app", "latest")}
    assert all(app.revision_link(child.digest).exists() for child in children)


def test_a_tag_on_a_child_leaves_its_siblings(volume: Volume) -> None:
    """The index was broken when one of its children had a tag of its own."""
    app = volume.repository("app")
    children = [app.push_image(layers=[name], platform=f"linux/{name.decode()}") for name in (b"amd64", b"arm64")]
    app.tag("latest-amd64", children[0].digest)
    app.push_index("latest", children=children)
    assert delete(volume, "app:latest-amd64").code == 0
    retain(volume, DELETE_UNTAGGED)
    assert complete(volume) == {("app", "latest")}
    assert all(app.revision_link(child.digest).exists() for child in children)


def test_the_children_go_with_the_tag_of_their_index(volume: Volume) -> None:
    """They were left behind for ever, save the one that has a tag itself."""
    app = volume.repository("app")
    inner = [app.push_image(layers=[name]) for name in (b"one", b"two")]
    tagged = app.push_image("v1", layers=[b"tagged"])
    nested = app.push_index(children=inner)
    app.push_index("latest", children=[nested, tagged])
    assert delete(volume, "app:latest").code == 0
    assert complete(volume) == {("app", "v1")}
    assert not any(app.revision_link(digest).exists() for digest in (nested.digest, *(child.digest for child in inner)))
    assert not volume.blob_data(documents.digest_of(b"one")).exists()
    assert app.revision_link(tagged.digest).exists()


def test_what_two_repositories_share_stays_for_the_other(volume: Volume) -> None:
    """The same manifest, or a layer, in two repositories: the other one's blob was deleted."""
    app, copy, other = (volume.repository(name) for name in ("app", "copy", "other"))
    app.push_image("v1", layers=[b"base", b"app"])
    copy.push_image("v1", layers=[b"base", b"app"])
    other.push_image("v1", layers=[b"base", b"other"])
    assert delete(volume, "app:v1").code == 0
    assert complete(volume) == {("copy", "v1"), ("other", "v1")}


def test_a_stale_layer_link_elsewhere_keeps_its_blob_until_garbage_goes(volume: Volume) -> None:
    """The blob was kept for ever. The link is not the deletion's to take, and while it stays its blob is served."""
    volume.repository("app").push_image("v1", layers=[b"layer"])
    other = volume.repository("other")
    other.push_image("v1", layers=[b"other"])
    other.mount(documents.digest_of(b"layer"))
    assert delete(volume, "app:v1").code == 0
    assert volume.blob_data(documents.digest_of(b"layer")).exists()
    assert retain(volume, {}).code == 0
    assert not volume.blob_data(documents.digest_of(b"layer")).exists()
    assert complete(volume) == {("other", "v1")}


def test_a_manifest_that_cannot_be_read_keeps_its_layers(volume: Volume) -> None:
    """An I/O error on a manifest was logged, and the layers that it shared were deleted. Here: EISDIR."""
    app, other = volume.repository("app"), volume.repository("other")
    app.push_image("v1", layers=[b"shared", b"one"])
    unreadable = other.push_image("v1", layers=[b"shared", b"two"])
    volume.remove(volume.blob_data(unreadable.digest))
    volume.blob_data(unreadable.digest).mkdir()
    delete(volume, "app:v1")
    assert not app.tag_link("v1").exists()
    assert other.tag_link("v1").exists()
    assert volume.blob_data(documents.digest_of(b"shared")).exists()
    assert volume.blob_data(documents.digest_of(b"two")).exists()


def test_an_artifact_manifest_protects_its_blobs(volume: Volume) -> None:
    """It has no `layers` and so protected nothing."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"shared"])
    app.push(documents.artifact([app.push_blob(b"shared"), app.push_blob(b"report")]), "report")
    assert delete(volume, "app:v1").code == 0
    assert complete(volume) == {("app", "report")}


def test_an_untagged_manifest_is_kept_whole_or_not_at_all(volume: Volume) -> None:
    """One that somebody pulls by digest lost its layers and stayed."""
    app = volume.repository("app")
    pinned = app.push_image(layers=[b"pinned"])
    app.push_image("v1", layers=[b"one"])
    assert delete(volume, "app:v1").code == 0
    assert app.revision_link(pinned.digest).exists()
    assert volume.blob_data(documents.digest_of(b"pinned")).exists()


def test_the_history_of_a_tag_is_no_reason_to_delete(volume: Volume) -> None:
    """Every earlier digest of the tag was deleted, in use or tagged elsewhere or not."""
    app = volume.repository("app")
    first = app.push_image("latest", "v1", layers=[b"first"], age=60 * DAY)
    second = app.push_image("latest", layers=[b"second"], age=50 * DAY)
    app.push_image("latest", layers=[b"third"])
    assert delete(volume, "app:latest").code == 0
    assert complete(volume) == {("app", "v1")}
    assert app.revision_link(first.digest).exists()
    assert app.revision_link(second.digest).exists()
    assert volume.blob_data(documents.digest_of(b"second")).exists()


def test_a_signature_goes_with_its_image(volume: Volume) -> None:
    """It was left behind, a tag with no subject."""
    app = volume.repository("app")
    signed = app.push_image("v1", layers=[b"one"])
    signature = app.push_signature(signed)
    app.push_signature(signature, ".att")
    app.push_fallback_tag(signed, [app.push_image(subject=signed, layers=[b"sbom"])])
    assert delete(volume, "app:v1").code == 0
    assert read(volume.v2).repositories.keys() == set()
    assert read(volume.v2).sizes == {}


def test_sha512_is_deleted_like_any_other(volume: Volume) -> None:
    """It was never deleted."""
    app = volume.repository("app")
    layer = app.push_blob(b"layer", algorithm="sha512")
    config = app.push_blob(documents.image_config(None), documents.OCI_CONFIG, algorithm="sha512")
    manifest = app.push(documents.image(config, [layer]), "v1", algorithm="sha512")
    app.push_image("v2", layers=[b"other"])
    assert delete(volume, "app:v1").code == 0
    contents = [documents.digest_of(b"layer"), documents.digest_of(documents.image_config(None)), manifest.digest]
    assert not any(volume.blob_data(digest).exists() for digest in contents)
    assert not app.layer_link(layer.digest).exists()
    assert complete(volume) == {("app", "v2")}
