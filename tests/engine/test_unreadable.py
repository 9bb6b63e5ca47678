"""What can't be read is kept and reported, and the rest goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from regkeeper.retention.policies.intent import deletion_intent
from regkeeper.retention.policies.references import parse_reference
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.volume.layout import open_volume, walk_repositories
from regkeeper.retention.volume.patient_links import PAUSE
from regkeeper.retention.volume.repository_reader import RepositoryReader
from tests.engine import documents
from tests.engine.planning import delete, plan, retain, used
from tests.engine.volumes import DAY, HOUR, SECOND, Repository, Volume

pytestmark = pytest.mark.usefixtures("two_repositories")

KEEP_NONE = {"rules": [{"keep": {"last": 0}}]}

ODD_LINKS: dict[str, Callable[[bytes], bytes]] = {
    "a newline": lambda digest: digest + b"\n",
    "a space before it": lambda digest: b" " + digest,
    "a second line": lambda digest: digest + b"\n" + digest,
    "upper case": bytes.upper,
    "hexadecimal digits in upper case": lambda digest: b"sha256:" + digest[7:].upper(),
    "more digits": lambda digest: digest + b"0",
    "no algorithm": lambda digest: digest[7:],
    "another algorithm": lambda digest: b"sha384:" + digest[7:] + digest[7:39],
    "what is no text": lambda digest: b"\xff\xfe" + digest,
}
"""What the registry can't resolve either: `digest.Parse` takes the whole content of the file as it is."""


def _odd_tag_link(change: Callable[[bytes], bytes]) -> Callable[[Volume, Repository, str], None]:
    return lambda volume, app, digest: volume.replace(app.tag_link("v1"), change(digest.encode()))


def _odd_revision_link(change: Callable[[bytes], bytes]) -> Callable[[Volume, Repository, str], None]:
    return lambda volume, app, digest: volume.replace(app.revision_link(digest), change(digest.encode()))


DAMAGE: dict[str, Callable[[Volume, Repository, str], None]] = {
    **{f"a tag link with {what}": _odd_tag_link(change) for what, change in ODD_LINKS.items()},
    **{f"a revision link with {what}": _odd_revision_link(change) for what, change in ODD_LINKS.items()},
    "an empty tag link": lambda volume, app, digest: volume.empty(app.tag_link("v1")),
    "a torn tag link": lambda volume, app, digest: volume.truncate(app.tag_link("v1")),
    "a tag link that is a symbolic link": lambda volume, app, digest: _redirect(app.tag_link("v1")),
    "an empty revision link": lambda volume, app, digest: volume.empty(app.revision_link(digest)),
    "a revision link to something else": lambda volume, app, digest: volume.replace(
        app.revision_link(digest), b"sha256:" + b"0" * 64
    ),
    "a corrupt manifest": lambda volume, app, digest: volume.flip(volume.blob_data(digest)),
    "an empty manifest": lambda volume, app, digest: volume.empty(volume.blob_data(digest)),
    "a directory in the place of a link": lambda volume, app, digest: _directory(app.tag_link("v1")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_can_not_be_read_pins_its_repository_and_no_other(volume: Volume, damage: str) -> None:
    app = volume.repository("app")
    digest = app.push_image("v1", layers=[b"1"], age=9 * DAY).digest
    DAMAGE[damage](volume, app, digest)
    loose = volume.put_blob(b"named by a layer link only")
    app.mount(loose)
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_tags() == {"other:v1"}
    named = {loose, digest, documents.digest_of(b"1"), documents.digest_of(b"2")}
    assert not named & planned.deleted_blobs()
    assert documents.digest_of(b"o") in planned.deleted_blobs()
    assert [problem.repository for problem in planned.plan.problems] == ["app"]


def test_an_unreadable_tag_may_be_deleted_by_name_which_lifts_its_pin(volume: Volume) -> None:
    app = volume.repository("app")
    volume.empty(app.tag_link("v1"))
    assert delete(volume, "app:v1").deleted_tags() == {"app:v1"}
    assert retain(volume, {**KEEP_NONE, "delete": ["app:v1"]}).deleted_tags() == {"app:v1", "app:v2", "other:v1"}


def test_a_tag_of_a_damaged_manifest_without_a_link_may_be_deleted_by_name_which_lifts_its_pin(volume: Volume) -> None:
    app = volume.repository("app")
    damaged = app.push_image("v3", layers=[b"3"]).digest
    app.delete_revision(damaged)
    volume.flip(volume.blob_data(damaged))
    assert retain(volume, KEEP_NONE).deleted_tags() == {"other:v1"}
    planned = retain(volume, {"rules": [{"keep": {"matching": ["v2"]}}], "delete": ["app:v3"]})
    assert planned.deleted_tags() == {"app:v1", "app:v3", "other:v1"}


def test_a_tag_whose_manifest_is_corrupt_is_no_version_and_may_be_deleted_by_name(volume: Volume) -> None:
    """Found by the oracle: it took a place among the last, and was kept by that from a deletion by name."""
    digest = volume.repository("app").push_image("v3", layers=[b"3"], age=7 * DAY).digest
    volume.flip(volume.blob_data(digest))
    planned = retain(volume, {"rules": [{"keep": {"last": 1}}], "delete": ["app:v2", "app:v3"]})
    assert planned.deleted_tags() == {"app:v1", "app:v3"}
    assert "asked for by delete: app:v2, but kept: among the last 1" in planned.tag("app", "v2")


def test_in_a_pinned_repository_only_what_is_named_exactly_goes(volume: Volume) -> None:
    app = volume.repository("app")
    volume.empty(app.tag_link("v1"))
    planned = retain(volume, {"delete": ["app:v2", "app:v*"]})
    assert planned.deleted_tags() == {"app:v2"}
    assert planned.deleted_manifests() == set()
    assert planned.deleted_blobs() == set()


def test_a_repository_deleted_by_name_of_which_something_is_used_stays_pinned(volume: Volume) -> None:
    """Found by the oracle: the damaged manifest went though what else it needed could not be told."""
    app = volume.repository("team/app")
    app.push_image("v1", layers=[b"1"])
    damaged = app.push_image("v2", layers=[b"2"])
    volume.flip(volume.blob_data(damaged.digest))
    planned = retain(volume, {"delete": ["team/app"]}, in_use=used("registry:5000/team/app:v1"))
    assert planned.deleted_tags() == {"team/app:v2"}
    assert not planned.deleted_manifests()
    assert not planned.deleted_blobs()
    assert planned.manifest("team/app", damaged.digest).startswith("kept: something in the repository can't be read")
    assert planned.tag("team/app", "v1").startswith("kept: ")


@pytest.mark.parametrize("kind", ["manifest", "repository", "younger"])
def test_a_damaged_index_that_stays_though_it_is_named_pins_its_repository(volume: Volume, kind: str) -> None:
    """Used, or younger than asked for: nobody knows which manifests are its children, and one went with its tag."""
    app = volume.repository("team/app")
    child = app.push_image("v1", layers=[b"1"], platform="linux/amd64")
    damaged = app.push_index(children=[child], age=DAY).digest
    volume.flip(volume.blob_data(damaged))
    if kind == "younger":
        intent = deletion_intent(map(parse_reference, ("team/app:v*", f"team/app@{damaged}")))
        planned = plan(volume, replace(intent, older_than=2 * DAY * SECOND))
    else:
        named = "team/app" if kind == "repository" else f"team/app@{damaged}"
        planned = retain(volume, {**KEEP_NONE, "delete": [named]}, in_use=used(f"registry:5000/team/app@{damaged}"))
    assert ("team/app", child.digest) not in planned.deleted_manifests()
    assert ("team/app", damaged) not in planned.deleted_manifests()
    assert ("team/app:v1" in planned.deleted_tags()) == (kind == "repository")


def test_what_stays_of_a_damaged_repository_that_a_deletion_names_is_told(volume: Volume) -> None:
    """Without a tag the repository counted as one that is not there. Told once, however many manifests it has."""
    app = volume.repository("team/app")
    damaged = app.push_image(layers=[b"1"]).digest
    beside = app.push_image(layers=[b"2"]).digest
    volume.flip(volume.blob_data(damaged))
    planned = retain(volume, {"delete": ["team/app"]}, in_use=used(f"registry:5000/team/app@{damaged}"))
    assert planned.plan.unmatched == []
    assert [(refused.asked, refused.name) for refused in planned.plan.kept] == [("team/app", min(damaged, beside))]


@pytest.mark.parametrize("named", ["tag", "manifest"])
def test_a_damaged_index_that_stays_because_another_lists_it_pins_its_repository(volume: Volume, named: str) -> None:
    """Its tag went, or it was to go itself, and a manifest that may have been its child went with a tag of its own."""
    app = volume.repository("team/app")
    child = app.push_image("v1", layers=[b"1"], platform="linux/amd64")
    damaged = app.push_index(*(["multi"] if named == "tag" else []), children=[child])
    app.push_index("latest", children=[damaged])
    volume.flip(volume.blob_data(damaged.digest))
    reference = "team/app:multi" if named == "tag" else f"team/app@{damaged.digest}"
    planned = retain(volume, {"rules": [{"keep": {"matching": ["latest"]}}], "delete": [reference]})
    assert not {name for name, _ in planned.deleted_manifests()} & {"team/app"}
    assert "team/app:v1" not in planned.deleted_tags()
    assert ("team/app:multi" in planned.deleted_tags()) == (named == "tag")


@pytest.mark.parametrize("kind", ["command", "policy"])
def test_a_damaged_manifest_goes_with_the_repository_that_a_deletion_names(volume: Volume, kind: str) -> None:
    """Found by the oracle: the young blob stayed as garbage, and for good where only the command `delete` is used."""
    damaged = volume.repository("team/app").push_image("v1", layers=[b"3"], age=HOUR).digest
    volume.flip(volume.blob_data(damaged))
    planned = delete(volume, "team/app") if kind == "command" else retain(volume, {"delete": ["team/app"]})
    assert planned.deleted_manifests() == {("team/app", damaged)}
    assert planned.deleted_blobs() == {damaged}  # what it may have needed is garbage from now on


def test_a_damaged_manifest_that_another_repository_names_outlives_the_one_that_is_deleted(volume: Volume) -> None:
    digests = {
        volume.repository(name).push_image("v1", layers=[b"3"], age=HOUR).digest for name in ("team/app", "team/copy")
    }
    volume.flip(volume.blob_data(*digests))
    planned = delete(volume, "team/app")
    assert planned.deleted_manifests() == {("team/app", digest) for digest in digests}
    assert not planned.deleted_blobs()


def test_an_unknown_manifest_keeps_whatever_it_mentions(volume: Volume) -> None:
    app = volume.repository("app")
    layer = app.push_blob(b"strange layer")
    content = documents.encode({"mediaType": "application/x-strange", "parts": {"a": [layer.digest]}})
    app.push(documents.Manifest("application/x-strange", content), "strange")
    planned = retain(volume, {})
    assert planned.plan.problems == []
    assert not {layer.digest, documents.digest_of(content)} & planned.deleted_blobs()


@pytest.mark.parametrize("part", ["link", "directory"])
def test_a_layer_link_that_cannot_be_read_holds_its_blob_and_is_told(volume: Volume, part: str) -> None:
    app = volume.repository("app")
    garbage = app.push_blob(b"garbage").digest
    link = app.layer_link(garbage)
    _redirect(link if part == "link" else link.parent)
    planned = retain(volume, {})
    assert garbage not in planned.deleted_blobs()
    assert [str(problem) for problem in planned.plan.problems] == [
        f"app: _layers/{garbage.replace(':', '/')}: its link can't be read"
    ]


@pytest.mark.parametrize(
    "path",
    [
        "_layers/sha384/" + 96 * "a" + "/link",
        "_manifests/revisions/sha384/" + 96 * "a" + "/link",
        "_manifests/notes.txt",
        "_manifests/tags/.hidden",
        "_manifests/revisions/sha256/short",
    ],
)
def test_what_is_not_known_keeps_an_empty_repository(volume: Volume, path: str) -> None:
    left = volume.repository("left")
    left.push_image("v1")
    left.delete_tag("v1")
    volume.write(left.directory / path, volume.put_blob(b"x").encode(), age=90 * DAY)
    planned = retain(volume, {"untagged": {"deleteAfter": "24h"}})
    assert len(planned.deleted_manifests()) == 1
    assert not planned.moves(Kind.REPOSITORY)


def test_an_unreadable_layer_link_keeps_an_empty_repository(volume: Volume) -> None:
    left = volume.repository("left")
    _redirect(left.layer_link(left.push_blob(b"x").digest))
    assert not retain(volume, {}).moves(Kind.REPOSITORY)


def test_many_unreadable_links_are_not_waited_for_one_by_one(volume: Volume) -> None:
    """A disk that was full left them empty; the registry may be read-only meanwhile."""
    for number in range(100):
        repository = volume.repository(f"full/{number}")
        repository.push_image("v1", layers=[b"1"])
        volume.empty(repository.tag_link("v1"))
    pauses: list[float] = []
    with open_volume(str(volume.root)) as opened:
        reader = RepositoryReader(opened, pause=pauses.append)
        repositories = [reader.read(found.name) for found in walk_repositories(opened)]
    assert sum(any(True for _ in repository.problems()) for repository in repositories) == 100
    assert 0 < len(pauses) * PAUSE < 3


def _redirect(link: Path) -> None:
    target = link.with_name("elsewhere")
    link.rename(target)
    link.symlink_to(target.name)


def _directory(link: Path) -> None:
    link.unlink()
    link.mkdir()
