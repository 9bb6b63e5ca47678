"""What `registry garbage-collect` gets wrong or leaves behind, each as the case that ours must get right.

Sources: distribution 2.8.3, 3.0.0 and 3.1.1, `registry/storage/garbagecollect.go`; issue numbers are those of
distribution/distribution. That the programs do behave so is seen in test_real_registries.py.
"""

from collections.abc import Callable
from pathlib import Path

from tests.engine import documents
from tests.engine.driver import REFUSES_NOTHING, complete, delete, retain
from tests.engine.oracle_reading import read
from tests.engine.volumes import DAY, Repository, Volume

UNTAGGED = {"untagged": {"deleteAfter": "24h"}, "garbage": {"deleteAfter": "24h"}, "limits": REFUSES_NOTHING}


def test_the_children_of_a_tagged_index_stay(volume: Volume) -> None:
    """2.8 with `--delete-untagged` deletes them (#3178, fixed in 3.0)."""
    app = volume.repository("app")
    children = [app.push_image(layers=[name]) for name in (b"amd64", b"arm64")]
    app.push_index("latest", children=children, docker=True)
    assert retain(volume, UNTAGGED).code == 0
    assert complete(volume) == {("app", "latest")}
    assert all(app.revision_link(child.digest).exists() for child in children)


def test_a_sparse_copy_of_an_index_costs_the_complete_one_nothing(volume: Volume) -> None:
    """3.x with `--delete-untagged` loses data.

    Its marks are shared by all repositories: where an earlier one has the index without its children, the later and
    complete one is skipped, and its children's layers are deleted (`markManifestReferences` in 3.1.1).
    """
    complete_one, sparse = volume.repository("z-complete"), volume.repository("a-sparse")
    children = [complete_one.push_image(layers=[name]) for name in (b"amd64", b"arm64")]
    complete_one.push_index("latest", children=children)
    sparse.push_index("latest", children=children)
    assert retain(volume, UNTAGGED).code == 0
    assert ("z-complete", "latest") in complete(volume)
    assert all(complete_one.revision_link(child.digest).exists() for child in children)
    assert {documents.digest_of(b"amd64"), documents.digest_of(b"arm64")} <= read(volume.v2).sizes.keys()


def test_referrers_live_with_their_subject(volume: Volume) -> None:
    """They are untagged and die with `--delete-untagged`."""
    app, signatures = volume.repository("app"), volume.repository("signatures")
    subject = app.push_image("latest", layers=[b"image"])
    sbom = app.push_image(subject=subject, layers=[b"sbom"])
    signed_sbom = app.push_image(subject=sbom, layers=[b"signature of the sbom"])
    elsewhere = signatures.push_image(subject=subject, layers=[b"signature"])
    assert retain(volume, UNTAGGED).code == 0
    assert app.revision_link(sbom.digest).exists()
    assert app.revision_link(signed_sbom.digest).exists()
    assert signatures.revision_link(elsewhere.digest).exists()


def test_a_fallback_tag_dies_with_its_subject(volume: Volume) -> None:
    """`sha256-<hex>` outlives its subject for ever, and keeps what it lists."""
    app = volume.repository("app")
    subject = app.push_image("v1", layers=[b"image"])
    app.push_image("latest", layers=[b"newer"])
    sbom = app.push_image(subject=subject, layers=[b"sbom"])
    app.push_fallback_tag(subject, [sbom])
    assert delete(volume, "app:v1").code == 0
    assert complete(volume) == {("app", "latest")}
    assert not volume.blob_data(documents.digest_of(b"sbom")).exists()


def test_schema_1_aborts_nothing(volume: Volume) -> None:
    """3.x has forgotten schema 1 and stops at the first such manifest; nothing is ever collected."""
    app = volume.repository("app")
    app.push(documents.schema1("app", "ancient", [app.push_blob(b"ancient layer")]), "ancient")
    app.push_image("v1", layers=[b"one"])
    assert delete(volume, "app:v1").code == 0
    assert complete(volume) == {("app", "ancient")}


def test_an_artifact_manifest_aborts_nothing(volume: Volume) -> None:
    """A media type that it does not know stops it."""
    app = volume.repository("app")
    app.push(documents.artifact([app.push_blob(b"report")]), "report")
    app.push(documents.unknown([app.push_blob(b"part")]), "future")
    app.push_image("v1", layers=[b"one"])
    assert delete(volume, "app:v1").code == 0
    assert complete(volume) == {("app", "report"), ("app", "future")}


def _assert_aborts_nothing(volume: Volume, emptied: Callable[[Repository, str], Path]) -> None:
    """Where the file of an image is empty, the rest of the registry is collected all the same."""
    app, broken = volume.repository("app"), volume.repository("broken")
    app.push_image("v1", layers=[b"one"])
    app.push_image("v2", layers=[b"two"])
    lost = broken.push_image("v1", layers=[b"lost"])
    volume.empty(emptied(broken, lost.digest))
    assert delete(volume, "app:v1").code == 3
    assert complete(volume) == {("app", "v2")}
    assert not volume.blob_data(documents.digest_of(b"one")).exists()
    assert volume.blob_data(documents.digest_of(b"lost")).exists()


def test_an_empty_link_aborts_nothing(volume: Volume) -> None:
    """It stops the collection of the whole registry; here it pins its own repository."""
    _assert_aborts_nothing(volume, lambda broken, lost: broken.revision_link(lost))


def test_an_empty_manifest_aborts_nothing(volume: Volume) -> None:
    """A manifest of 0 bytes, which a full disk leaves, stops the collection of the whole registry."""
    _assert_aborts_nothing(volume, lambda _, lost: volume.blob_data(lost))


def test_a_missing_manifest_costs_its_image_no_layer(volume: Volume) -> None:
    """It is skipped silently, and the layers of its image are deleted: the image can't be healed by a push."""
    app, other = volume.repository("app"), volume.repository("other")
    lost = app.push_image("v1", layers=[b"one"])
    app.push_image("v2", layers=[b"two"])
    other.push_image("v1", layers=[b"three"])
    volume.remove(volume.blob_data(lost.digest))
    assert retain(volume, {"rules": [{"keep": {"last": 0}}], "limits": REFUSES_NOTHING}).code == 0
    assert app.tag_link("v1").exists()
    assert volume.blob_data(documents.digest_of(b"one")).exists()
    assert app.layer_link(documents.digest_of(b"one")).exists()
    assert not app.tag_link("v2").exists()
    assert not volume.blob_data(documents.digest_of(b"three")).exists()


def test_uploads_that_nobody_ended_go(volume: Volume) -> None:
    """They are never cleaned."""
    app = volume.repository("app")
    app.push_image("latest")
    old, young = app.start_upload("old", age=10 * DAY), app.start_upload("young", age=DAY)
    assert retain(volume, {"uploads": {"deleteAfter": "7d"}}, arguments=["--mode", "Offline"]).code == 0
    assert not old.exists()
    assert young.exists()
    assert complete(volume) == {("app", "latest")}


def test_an_emptied_repository_leaves_the_catalog(volume: Volume) -> None:
    """It stays: 2.8 lists what has `_layers`, 3.x what has `_manifests`."""
    volume.repository("app").push_image("v1", layers=[b"one"])
    volume.repository("app/inner").push_image("v1", layers=[b"two"])
    assert delete(volume, "app:v1").code == 0
    assert not volume.repository("app").layers.exists()
    assert not (volume.repositories / "app" / "_manifests").exists()
    assert complete(volume) == {("app/inner", "v1")}


def test_layer_links_follow_their_layers(volume: Volume) -> None:
    """2.8 leaves them behind."""
    app, other = volume.repository("app"), volume.repository("other")
    app.push_image("v1", layers=[b"shared", b"one"])
    app.push_image("v2", layers=[b"two"])
    other.push_image("v1", layers=[b"shared"])
    assert delete(volume, "app:v1").code == 0
    assert not app.layer_link(documents.digest_of(b"one")).exists()
    assert not app.layer_link(documents.digest_of(b"shared")).exists()
    assert complete(volume) == {("app", "v2"), ("other", "v1")}
