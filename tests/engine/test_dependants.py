"""Signatures, attestations and other referrers live exactly as long as their subject."""

import json
from pathlib import Path
from typing import Any

import pytest

from regkeeper.retention.quarantine.moves import Kind
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


def test_without_a_subject_an_untagged_manifest_is_no_dependant(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"])
    image = json.loads(documents.image(app.push_blob(b"{}", documents.OCI_EMPTY), []).content)
    content = documents.encode({**image, "subject": None, "annotations": {"subject": "said"}})
    untagged = app.push(documents.Manifest(documents.OCI_MANIFEST, content))
    planned = retain(volume, {"untagged": {"deleteAfter": "0s"}})
    assert planned.deleted_manifests() == {("app", untagged.digest)}
    assert planned.plan.problems == []


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


@pytest.mark.parametrize("copies", [("app",), ("app", "team"), ("app", "team", "zoo")])
def test_copies_of_an_image_do_not_keep_each_other_by_what_is_about_them(
    volume: Volume, copies: tuple[str, ...]
) -> None:
    """Each stayed because of an index with a subject, which stayed because the other did."""
    for name in copies:
        image = volume.repository(name).push_image("v1", layers=[b"1"])
        index = volume.repository(name).push_index(children=[image], subject=image)
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_manifests() == {(name, each.digest) for name in copies for each in (image, index)}
    last = copies[-1]
    planned = retain(volume, {"rules": [{"repositories": ["*"], "keep": {"last": 0}}]}, in_use=used(f"{last}:v1"))
    assert planned.deleted_tags() == {f"{name}:v1" for name in copies if name != last}
    assert planned.deleted_manifests() == set(), "the index stays everywhere, with the image that it lists"


def test_what_is_about_a_dependant_elsewhere_does_not_keep_the_subject_of_both(volume: Volume) -> None:
    image = volume.repository("app").push_image("v1", layers=[b"1"])
    signature = volume.repository("signatures").push_image(layers=[b"signature"], subject=image)
    index = volume.repository("app").push_index(children=[image], subject=signature)
    assert retain(volume, KEEP_NONE).deleted_manifests() == {
        ("app", image.digest),
        ("signatures", signature.digest),
        ("app", index.digest),
    }
    assert retain(volume, {"untagged": {"deleteAfter": "0s"}}).deleted_manifests() == set()


SHARED = ("two tags", "listed by a fallback index", "subject and tag", "marked by an undo")


def push_shared(volume: Volume, how: str, repository: str) -> tuple[set[str], dict[str, Any]]:
    """Images v1 and v2 of app, an SBOM that stays if v1 goes, though it is about both, and a signature of the SBOM.

    Answers the tags that go with v1, and what an undo has marked.
    """
    app, others = volume.repository("app"), volume.repository(repository)
    old = app.push_image("v1", layers=[b"1"], age=9 * DAY)
    new = app.push_image("v2", layers=[b"2"], age=8 * DAY)
    app.push_signature(old, age=7 * DAY)
    of_old, of_new = (f"{image.digest.replace(':', '-')}.sbom" for image in (old, new))
    names = {
        "two tags": (of_old, of_new),
        "listed by a fallback index": (of_new,),
        "subject and tag": (of_old,),
        "marked by an undo": (of_old,),
    }[how]
    subject = new if how == "subject and tag" else None
    sbom = others.push_image(*names, layers=[b"sbom"], subject=subject, age=7 * DAY)
    gone = {f"{repository}:{of_old}"}
    if how == "listed by a fallback index":
        others.push_fallback_tag(old, [sbom])
        gone = {f"{repository}:{old.digest.replace(':', '-')}"}
    others.push_signature(sbom, age=6 * DAY)
    marked = {(repository, "", sbom.digest): "run-1"} if how == "marked by an undo" else {}
    return {"app:v1", f"app:{old.digest.replace(':', '-')}.sig", *gone}, {"restored": marked}


@pytest.mark.parametrize("repository", ["app", "signatures"])
@pytest.mark.parametrize("how", SHARED)
def test_what_is_about_a_dependant_that_stays_for_another_reason_stays(
    volume: Volume, how: str, repository: str
) -> None:
    """Of an SBOM of two images, one of which went, the signature went: it was judged as if the SBOM had gone."""
    gone, question = push_shared(volume, how, repository)
    assert (
        retain(volume, {"rules": [{"repositories": ["app"], "keep": {"last": 1}}]}, **question).deleted_tags() == gone
    )
    if how != "marked by an undo":  # a deletion by name takes what an undo marked along
        assert delete(volume, "app:v1", **question).deleted_tags() == gone


@pytest.mark.parametrize("holder", ["tag", "index", "digest"])
def test_what_is_about_a_dependant_that_is_needed_all_the_same_stays(volume: Volume, holder: str) -> None:
    """The same where nothing that it is about keeps it: an ordinary tag, a list, or a pod."""
    app = volume.repository("app")
    image = app.push_image("v1", layers=[b"1"], age=9 * DAY)
    name = f"{image.digest.replace(':', '-')}.sbom"
    sbom = app.push_image(name, layers=[b"sbom"], subject=image, age=7 * DAY)
    app.push_signature(sbom)
    in_use = used(f"app@{sbom.digest}") if holder == "digest" else None
    if holder == "tag":
        app.tag("x", sbom.digest)
    elif holder == "index":
        app.push_index(children=[sbom])
    kept = {"app:v1"} if in_use else {"app:v1", f"app:{name}"}  # a pod keeps the tags that point to what it runs
    rules = {"rules": [{"tags": ["v*"], "keep": {"last": 0}}]}
    assert retain(volume, rules, in_use=in_use).deleted_tags() == kept
    assert delete(volume, "app:v1", in_use=in_use).deleted_tags() == kept


@pytest.mark.parametrize("repository", ["app", "signatures"])
def test_two_that_are_about_each_other_go_when_nothing_else_keeps_one(volume: Volume, repository: str) -> None:
    """One by its subject, the other by a tag: each stayed for the other, and nothing could take them."""
    app, others = volume.repository("app"), volume.repository(repository)
    first = others.push_image(layers=[b"1"], age=9 * DAY)
    second = app.push_image("v1", layers=[b"2"], subject=first, age=8 * DAY)
    name = f"{second.digest.replace(':', '-')}.att"
    others.tag(name, first.digest, age=7 * DAY)
    assert not retain(volume, {}).plan.moves
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_tags() == {"app:v1", f"{repository}:{name}"}
    assert planned.deleted_manifests() == {(repository, first.digest), ("app", second.digest)}
    others.tag("stable", first.digest)
    assert retain(volume, {"rules": [{"tags": ["v*"], "keep": {"last": 0}}]}).deleted_tags() == {"app:v1"}


def test_a_copy_that_nobody_asked_about_stays_with_what_is_about_it(volume: Volume) -> None:
    """An untagged copy, and an index about it that lists it, went with the tag of another repository: each of the two
    stayed only for the other.
    """
    app, mirror, third = (volume.repository(name) for name in ("app", "mirror", "third"))
    image = app.push_image("v1", layers=[b"1"], age=9 * DAY)
    mirror.push_image(layers=[b"1"], age=9 * DAY)
    mirror.push_index(children=[image], subject=image, age=8 * DAY)
    assert delete(volume, "app:v1").deleted_manifests() == {("app", image.digest)}

    # The same by way of what another repository has about what the first one has about it.
    listed = app.push_image(layers=[b"listed"], age=9 * DAY)
    app.push_index(children=[listed], subject=image, age=8 * DAY)
    third.push_image(layers=[b"1"], age=9 * DAY)
    third.push_index(children=[image], subject=listed, age=8 * DAY)
    assert delete(volume, "app:v1").deleted_manifests() == {("app", image.digest)}
