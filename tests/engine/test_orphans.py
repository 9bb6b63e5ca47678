"""Dependants whose subject is nowhere, can't be read or can't be looked up."""

import json
from pathlib import Path

import pytest

from tests.engine import documents
from tests.engine.planning import delete, retain
from tests.engine.volumes import DAY, Volume

KEEP_NONE = {"rules": [{"keep": {"last": 0}}]}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def test_an_orphan_stays_until_it_has_been_one_for_long(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"])
    nowhere = documents.Descriptor(documents.OCI_MANIFEST, "sha256:" + "a" * 64, 3)
    app.push_signature(nowhere, age=30 * DAY)
    referrer = app.push_image(layers=[b"sbom"], subject=nowhere, age=31 * DAY)
    tag = "sha256-" + "a" * 64 + ".sig"
    assert not retain(volume, {"untagged": {"deleteAfter": "0s"}}).plan.moves
    signature = app.tag_link(tag).read_text()
    listed = retain(volume, {})
    for row, digest in (
        (listed.tag("app", tag), signature),
        (listed.manifest("app", referrer.digest), referrer.digest),
    ):
        named = json.loads(volume.blob_data(digest).read_bytes())
        blobs = [digest, named["config"]["digest"], *(layer["digest"] for layer in named["layers"])]
        size = sum(volume.blob_data(blob).stat().st_size for blob in blobs)
        assert row == (
            f"kept: its subject sha256:{'a' * 12} is nowhere; the policy has no `dependants` ({size:,} bytes)"
        )
    planned = retain(volume, {"dependants": {"orphanedFor": "720h"}})
    assert planned.deleted_tags() == set()
    assert planned.deleted_manifests() == {("app", referrer.digest)}
    assert retain(volume, {"dependants": {"orphanedFor": "719h"}}).deleted_tags() == {f"app:{tag}"}


@pytest.mark.parametrize("algorithm", ["sha512", "sha384", "blake3"])
@pytest.mark.parametrize("media_type", [documents.OCI_MANIFEST, "application/vnd.of.nobody+json"])
def test_a_subject_named_by_another_digest_than_its_sha256_keeps_its_dependants(
    volume: Volume, algorithm: str, media_type: str
) -> None:
    """A registry keeps it under its SHA-256 alone, so nobody can tell that it is nowhere."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"])
    config = app.push_blob(b"{}", documents.OCI_EMPTY)
    odd = documents.Descriptor(documents.OCI_MANIFEST, f"{algorithm}:{'ab' * 64}", 3)
    referrer = documents.image(config, [], media_type=media_type, subject=odd)
    app.push(referrer, "also-tagged", age=90 * DAY)
    app.push(documents.image(config, [], media_type=media_type, subject=odd, artifact_type="a/b"), age=90 * DAY)
    spec = {"untagged": {"deleteAfter": "0s"}, "dependants": {"orphanedFor": "0s"}, "delete": ["app:also-*"]}
    planned = retain(volume, spec)
    assert planned.deleted_tags() == {"app:also-tagged"}
    assert planned.deleted_manifests() == set()
    assert planned.deleted_blobs() == set()


UNREADABLE_SUBJECTS: list[object] = [
    {"digest": "sha256:CCC"},
    {"digest": ""},
    {"digest": None},
    {"digest": 3},
    {},
    [],
    "sha256:" + "a" * 64,
]


@pytest.mark.parametrize("subject", UNREADABLE_SUBJECTS, ids=str)
@pytest.mark.parametrize("field", ["subject", "Subject"])
@pytest.mark.parametrize("media_type", [documents.OCI_MANIFEST, "application/vnd.of.nobody+json"])
def test_what_is_about_something_that_can_not_be_read_is_kept_and_told(
    volume: Volume, subject: object, field: str, media_type: str
) -> None:
    """A registry takes any: distribution knows no field of that name. It went as untagged."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"])
    image = json.loads(documents.image(app.push_blob(b"{}", documents.OCI_EMPTY), [], media_type=media_type).content)
    untagged, tagged = (
        app.push(
            documents.Manifest(media_type, documents.encode({**image, field: subject, "a": tag})), *tag, age=90 * DAY
        )
        for tag in ([], ["sbom"])
    )
    spec = {"untagged": {"deleteAfter": "0s"}, "dependants": {"orphanedFor": "0s"}, "rules": [{"keep": {"last": 0}}]}
    planned = retain(volume, spec)
    assert planned.deleted_tags() == {"app:v1", "app:sbom"}
    assert planned.manifest("app", untagged.digest) == "kept: its subject can't be read"
    assert planned.manifest("app", tagged.digest) == "kept: its subject can't be read"
    assert list(map(str, planned.plan.problems)) == sorted(
        f"app: manifest {image.digest}: its subject can't be read" for image in (untagged, tagged)
    )
    assert delete(volume, "app:sbom", f"app@{untagged.digest}").deleted_manifests() == {
        ("app", untagged.digest),
        ("app", tagged.digest),
    }


@pytest.mark.parametrize("subject", ["sha256:" + "a" * 64, "sha512:" + "a" * 128, "sha256:CCC"])
@pytest.mark.parametrize("remove", ["a rule", "an exact name"])
def test_an_orphan_stays_though_an_index_goes_that_lists_it(volume: Volume, subject: str, remove: str) -> None:
    """It lives as long as its subject, of which nobody knows (found by the oracle: it went with the index)."""
    app = volume.repository("app")
    orphan = app.push_image(layers=[b"sbom"], subject=documents.Descriptor(documents.OCI_MANIFEST, subject, 3))
    child = app.push_image(layers=[b"child"])
    index = app.push_index("v1", children=[child, orphan])
    planned = retain(volume, KEEP_NONE) if remove == "a rule" else delete(volume, "app:v1")
    assert planned.deleted_manifests() == {("app", index.digest), ("app", child.digest)}
    assert planned.manifest("app", orphan.digest).startswith("kept: its subject")
    assert orphan.digest in delete(volume, "app:v1", f"app@{orphan.digest}").deleted_blobs()


def test_an_orphan_that_an_index_lists_goes_when_it_has_been_one_for_too_long(volume: Volume) -> None:
    app = volume.repository("app")
    nowhere = documents.Descriptor(documents.OCI_MANIFEST, "sha256:" + "a" * 64, 3)
    orphan = app.push_image(layers=[b"sbom"], subject=nowhere, age=31 * DAY)
    index = app.push_index("v1", children=[orphan])
    assert retain(volume, {"dependants": {"orphanedFor": "720h"}}).deleted_manifests() == set()
    planned = retain(volume, {**KEEP_NONE, "dependants": {"orphanedFor": "720h"}})
    assert planned.deleted_manifests() == {("app", index.digest), ("app", orphan.digest)}


def test_an_image_tagged_by_a_hash_of_its_sources_is_no_orphan(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("sha256-" + "a" * 64, layers=[b"built by Bazel"], age=90 * DAY)
    assert not retain(volume, {"dependants": {"orphanedFor": "0s"}}).plan.moves


def test_a_subject_whose_revision_link_is_gone_is_nowhere(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    app.push_signature(image)
    app.delete_tag("v1")
    app.delete_revision(image.digest)
    tag = f"{image.digest.replace(':', '-')}.sig"
    assert retain(volume, KEEP_NONE).deleted_tags() == set()
    assert retain(volume, {"dependants": {"orphanedFor": "1h"}}).deleted_tags() == {f"app:{tag}"}


def test_a_subject_that_can_not_be_read_keeps_its_dependants(volume: Volume) -> None:
    image = volume.repository("app").push_image("v1", layers=[b"1"])
    volume.repository("signatures").push_signature(image)
    volume.flip(volume.blob_data(image.digest))
    planned = retain(volume, KEEP_NONE, {"dependants": {"orphanedFor": "0s"}})
    assert not planned.plan.moves


@pytest.mark.parametrize("subject", ["sha512:" + 128 * "a", "blake3:" + 64 * "b"])
def test_a_dependant_of_a_subject_that_can_not_be_looked_up_goes_whole_if_it_is_named(
    volume: Volume, subject: str
) -> None:
    app = volume.repository("app")
    image = app.push_image("sbom", layers=[b"sbom"], subject=documents.Descriptor(documents.OCI_MANIFEST, subject, 10))
    planned = delete(volume, "app:sbom")
    assert planned.deleted_manifests() == {("app", image.digest)}
    assert documents.digest_of(b"sbom") in planned.deleted_blobs()
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_tags() == {"app:sbom"}
    assert not planned.deleted_manifests()


def test_a_dependant_keeps_all_that_it_needs_where_its_subject_may_be_out_of_sight(volume: Volume) -> None:
    """Its tag stayed and its layer links went: nobody could pull it any more."""
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    app.push_signature(image)
    app.push_image(layers=[b"sbom"], subject=image)
    (volume.repositories / "elsewhere").symlink_to(volume.root)
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_tags() == {"app:v1"}
    assert planned.deleted_manifests() == {("app", image.digest)}
    named = json.loads(volume.blob_data(image.digest).read_bytes())
    assert planned.deleted_links() == {("app", each["digest"]) for each in (named["config"], *named["layers"])}
