"""Signatures, attestations and other referrers live exactly as long as their subject."""

import json
from pathlib import Path

import pytest

from regkeeper.retention.moves import Kind
from tests.engine import documents
from tests.engine.planning import delete, retain, used
from tests.engine.volumes import DAY, Volume

KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}
KEEP_NONE = {"rules": [{"keep": {"last": 0}}]}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def test_a_signature_is_no_version_and_goes_with_its_image(volume: Volume) -> None:
    app = volume.repository("app")
    old = app.push_image("v1", layers=[b"1"], age=9 * DAY)
    new = app.push_image("v2", layers=[b"2"], age=8 * DAY)
    app.push_signature(old, age=2 * DAY)
    app.push_signature(new, age=2 * DAY)
    planned = retain(volume, KEEP_ONE)
    assert planned.deleted_tags() == {"app:v1", f"app:{old.digest.replace(':', '-')}.sig"}
    kept = planned.tag("app", f"{new.digest.replace(':', '-')}.sig")
    assert kept == f"kept: its subject {new.digest[:19]} stays"


def test_referrers_go_recursively_with_their_subject(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    sbom = app.push_image(layers=[b"sbom"], subject=image)
    signature = app.push_image(layers=[b"signature of the sbom"], subject=sbom)
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_manifests() == {("app", one.digest) for one in (image, sbom, signature)}
    assert planned.deleted_blobs() >= {one.digest for one in (image, sbom, signature)}


def test_referrers_stay_while_their_subject_does(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    app.push_image(layers=[b"sbom"], subject=image)
    planned = retain(volume, {"untagged": {"deleteAfter": "0s"}})
    assert not planned.plan.moves


def test_a_subject_in_another_repository_keeps_its_dependants(volume: Volume) -> None:
    image = volume.repository("prod").push_image("v1", layers=[b"1"])
    volume.repository("test").push_image("v1", layers=[b"1"])
    volume.repository("test").push_signature(image)
    rules = {"rules": [{"repositories": ["test"], "keep": {"last": 0}}]}
    assert retain(volume, rules).deleted_tags() == {"test:v1"}


def test_the_subject_that_goes_everywhere_takes_its_dependants_everywhere(volume: Volume) -> None:
    image = volume.repository("prod").push_image("v1", layers=[b"1"])
    tag = image.digest.replace(":", "-")
    volume.repository("signatures").push_signature(image)
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_tags() == {"prod:v1", f"signatures:{tag}.sig"}


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


def test_without_a_subject_an_untagged_manifest_is_no_dependant(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"])
    image = json.loads(documents.image(app.push_blob(b"{}", documents.OCI_EMPTY), []).content)
    content = documents.encode({**image, "subject": None, "annotations": {"subject": "said"}})
    untagged = app.push(documents.Manifest(documents.OCI_MANIFEST, content))
    planned = retain(volume, {"untagged": {"deleteAfter": "0s"}})
    assert planned.deleted_manifests() == {("app", untagged.digest)}
    assert planned.plan.problems == []


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


def test_an_index_that_goes_for_its_subject_takes_its_children_along(volume: Volume) -> None:
    """Found by the oracle: nothing could take them any more, where the policy has no `untagged`."""
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"image"])
    child, shared = app.push_image(layers=[b"child"]), app.push_image(layers=[b"shared"])
    referring = app.push_index(children=[child, shared], subject=image)
    app.push_index("other", children=[shared])
    planned = retain(volume, {"rules": [{"tags": ["v1"], "keep": {"last": 0}}]})
    assert planned.deleted_manifests() == {("app", one.digest) for one in (image, referring, child)}
    assert documents.digest_of(b"child") in planned.deleted_blobs()
    assert planned.manifest("app", child.digest) == f"deleted: child of {referring.digest[:19]}, which goes"
    used_child = retain(
        volume, {"rules": [{"tags": ["v1"], "keep": {"last": 0}}]}, in_use=used(f"registry:5000/app@{child.digest}")
    )
    assert used_child.deleted_manifests() == {("app", image.digest)}


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


def test_a_manifest_with_a_subject_under_an_ordinary_tag_outlives_the_tag(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    sbom = app.push_image("sbom", layers=[b"sbom"], subject=image)
    planned = retain(volume, {"rules": [{"tags": ["sbom"], "keep": {"last": 0}}]})
    assert planned.deleted_tags() == {"app:sbom"}
    assert planned.deleted_manifests() == set()
    assert planned.manifest("app", sbom.digest) == f"kept: its subject {image.digest[:19]} stays"


def test_a_fallback_tag_goes_with_its_subject_and_takes_its_index(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    referrer = app.push_image(layers=[b"sbom"], subject=image)
    index = app.push_fallback_tag(image, [referrer])
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_manifests() == {("app", one.digest) for one in (image, referrer, index)}


def test_a_dependant_that_a_rule_keeps_by_name_outlives_its_subject(volume: Volume) -> None:
    """Keep wins, and a name is all by which a dependant can be kept."""
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    signature = app.push_signature(image)
    planned = retain(volume, {"rules": [{"keep": {"last": 0, "matching": ["*.sig"]}}]})
    assert planned.deleted_tags() == {"app:v1"}
    assert signature.digest not in planned.deleted_blobs()
    name = f"{image.digest.replace(':', '-')}.sig"
    assert planned.tag("app", name) == "kept: matches *.sig (policy-0/1)"


def test_a_dependant_named_exactly_goes_and_a_pattern_does_not_take_it(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    app.push_signature(image)
    tag = f"{image.digest.replace(':', '-')}.sig"
    assert delete(volume, f"app:{tag}").deleted_tags() == {f"app:{tag}"}
    assert delete(volume, "app:sha256*").deleted_tags() == set()


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


def test_a_tag_that_is_its_own_subjects_only_tag_is_left_alone(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image(layers=[b"1"])
    app.tag(image.digest.replace(":", "-"), image.digest)
    assert not retain(volume, KEEP_NONE, {"untagged": {"deleteAfter": "0s"}}).plan.moves


def test_a_fallback_index_that_lists_its_own_subject_does_not_keep_it(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    index = app.push_fallback_tag(image, [image])
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_manifests() == {("app", image.digest), ("app", index.digest)}


@pytest.mark.parametrize("kind", ["unknown", "index"])
def test_what_a_fallback_tag_lists_does_not_keep_the_subject_that_it_mentions(volume: Volume, kind: str) -> None:
    """A dependant takes along what it lists, which then needs nothing any more (found by the oracle, seed 6002)."""
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"])
    listed = app.push(documents.unknown([image]) if kind == "unknown" else documents.index([image]))
    index = app.push_fallback_tag(image, [listed])
    about_it = app.push_signature(index)
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_tags() == {
        "app:v1",
        f"app:{image.digest.replace(':', '-')}",
        f"app:{index.digest.replace(':', '-')}.sig",
    }
    assert planned.deleted_manifests() == {("app", one.digest) for one in (image, listed, index, about_it)}
    other = app.push_index(children=[listed, about_it])
    assert retain(volume, KEEP_NONE).deleted_manifests() == set()  # what is untagged stays, and what that lists
    planned = retain(volume, {**KEEP_NONE, "untagged": {"deleteAfter": "24h"}})
    assert planned.deleted_manifests() == {("app", one.digest) for one in (image, listed, index, about_it, other)}


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


def test_an_approval_takes_no_dependant_of_what_came_to_be_needed(volume: Volume) -> None:
    """The signature went, though its image stays: an index that was pushed since, and lists it, is no victim."""
    app, signatures = volume.repository("app"), volume.repository("signatures")
    image = app.push_image("v1", layers=[b"1"])
    signatures.push_signature(image)
    planned = retain(volume, KEEP_NONE)
    approved = frozenset(
        [(move.repository, move.name, move.digest) for move in planned.moves(Kind.TAG)]
        + [(name, "", digest) for name, digest in planned.deleted_manifests()]
    )
    app.push_index(children=[image], subject=image)
    assert retain(volume, KEEP_NONE, approved=approved).deleted_tags() == {"app:v1"}
