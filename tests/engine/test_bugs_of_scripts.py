"""What deletion scripts did to registries, each as the case that ours must get right.

Source, where a docstring names none: the ancestor of this project, a script that deletes a tag or a repository and
then every blob that it thinks unused; each behaviour was seen with the arguments given (facts/storage.md, "Bugs of the
ancestor script").
"""

import subprocess
from pathlib import Path

import pytest

from tests.engine import documents
from tests.engine.driver import REFUSES_NOTHING, delete, retain, run
from tests.engine.oracle_reading import complete_tags, read
from tests.engine.running import Counting, Killing, Runner, copied, killed, quarantined
from tests.engine.volumes import DAY, SECOND, Repository, Volume, snapshot

DELETE_UNTAGGED = {"untagged": {"deleteAfter": "24h"}, "garbage": {"deleteAfter": "24h"}}
DELETE_ALL_BUT_LATEST = {
    "rules": [{"keep": {"matching": ["latest"]}}],
    "untagged": {"deleteAfter": "24h"},
    "limits": REFUSES_NOTHING,
}


def complete(volume: Volume) -> set[tuple[str, str]]:
    return complete_tags(read(volume.v2))


def has_revision(repository: Repository, digest: str) -> bool:
    return repository.revision_link(digest).exists()


# An unreadable link was taken for "no reference".


def test_an_empty_tag_link_elsewhere_costs_no_blob(volume: Volume) -> None:
    """It removed all blobs of the registry."""
    app, other = volume.repository("app"), volume.repository("other")
    app.push_image("v1", layers=[b"app"])
    other.push_image("v1", layers=[b"other"])
    other.push_image("broken", layers=[b"unknown"])
    volume.empty(other.tag_link("broken"))
    assert delete(volume, "app", "--repository").code == 3
    assert complete(volume) == {("other", "v1")}
    assert volume.blob_data(documents.digest_of(b"unknown")).exists()
    assert not volume.blob_data(documents.digest_of(b"app")).exists()


def test_an_empty_revision_link_costs_no_blob(volume: Volume) -> None:
    """With the deletion of untagged manifests it removed all blobs of the registry."""
    app, other = volume.repository("app"), volume.repository("other")
    app.push_image("latest", layers=[b"app"])
    lost = other.push_image(layers=[b"lost"])
    other.push_image("latest", layers=[b"other"])
    volume.empty(other.revision_link(lost.digest))
    retain(volume, DELETE_UNTAGGED)
    assert complete(volume) == {("app", "latest"), ("other", "latest")}
    assert volume.blob_data(documents.digest_of(b"lost")).exists()


def test_an_empty_current_link_costs_no_other_revision(volume: Volume) -> None:
    """Deleting one tag removed every revision of the repository when another tag's link was empty."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    kept = app.push_image("v2", layers=[b"two"])
    unknown = app.push_image("v3", layers=[b"three"])
    volume.empty(app.tag_link("v3"))
    delete(volume, "app:v1")
    assert complete(volume) == {("app", "v2")}
    assert has_revision(app, kept.digest)
    assert has_revision(app, unknown.digest)
    assert volume.blob_data(documents.digest_of(b"three")).exists()


# Arguments.


@pytest.mark.parametrize(
    "reference", ["", "team/app:", "/etc", "../blobs", "a:..", "a/../b", "App:v1", "app\n:v1", " "]
)
def test_what_is_no_reference_deletes_nothing(volume: Volume, reference: str) -> None:
    """`""` and `team/app:` (an unset variable) deleted the repository or all; an absolute path or `..` that path."""
    volume.repository("team/app").push_image("v1")
    before = snapshot(volume.root)
    assert delete(volume, reference, "--yes").code == 2
    assert snapshot(volume.root) == before


def test_a_tag_that_does_not_exist_deletes_nothing(volume: Volume) -> None:
    """In a repository with one tag it deleted the repository."""
    volume.repository("team/app").push_image("v1")
    assert delete(volume, "team/app:v2").code == 1
    assert complete(volume) == {("team/app", "v1")}


def test_a_repository_goes_only_if_one_says_so(volume: Volume) -> None:
    """A repository without a tag means the whole one only with `--repository`."""
    volume.repository("team/app").push_image("v1")
    assert delete(volume, "team/app").code != 0
    assert complete(volume) == {("team/app", "v1")}


# Repositories inside of others.


def test_nested_repositories_outlive_the_one_around_them(volume: Volume) -> None:
    """Deleting `team` deleted `team/app`, or the layers that they shared."""
    volume.repository("team").push_image("v1", layers=[b"shared", b"outer"])
    volume.repository("team/app").push_image("v1", layers=[b"shared", b"inner"])
    volume.repository("team/app/deep").push_image("v1", layers=[b"shared", b"deep"])
    assert delete(volume, "team", "--repository").code == 0
    assert complete(volume) == {("team/app", "v1"), ("team/app/deep", "v1")}
    assert not volume.blob_data(documents.digest_of(b"outer")).exists()


def test_a_deeply_nested_repository_frees_its_blobs(volume: Volume) -> None:
    """Nested three deep, nothing was freed."""
    volume.repository("a").push_image("v1", layers=[b"outer"])
    volume.repository("a/b/c/d").push_image("v1", layers=[b"deep"])
    assert delete(volume, "a/b/c/d", "--repository").code == 0
    assert complete(volume) == {("a", "v1")}
    assert not volume.blob_data(documents.digest_of(b"deep")).exists()


def test_a_name_like_a_room_of_the_layout_is_only_a_name(volume: Volume) -> None:
    """A repository called `current-app` matched every path that has `current` in it."""
    for name in ("current-app", "link", "index", "app"):
        volume.repository(name).push_image("v1", "current", "tags", layers=[name.encode()])
    assert delete(volume, "current-app:v1", "link:current", "index:tags").code == 0
    everything = {(name, tag) for name in ("current-app", "link", "index", "app") for tag in ("v1", "current", "tags")}
    assert complete(volume) == everything - {("current-app", "v1"), ("link", "current"), ("index", "tags")}


# Indexes.


def test_children_of_a_tagged_index_are_not_untagged(volume: Volume) -> None:
    """The deletion of untagged manifests took them, and the index was broken."""
    app = volume.repository("app")
    children = [app.push_image(layers=[name], platform=f"linux/{name.decode()}") for name in (b"amd64", b"arm64")]
    app.push_index("latest", children=children)
    retain(volume, DELETE_UNTAGGED)
    assert complete(volume) == {("app", "latest")}
    assert all(has_revision(app, child.digest) for child in children)


def test_a_tag_on_a_child_leaves_its_siblings(volume: Volume) -> None:
    """The index was broken when one of its children had a tag of its own."""
    app = volume.repository("app")
    children = [app.push_image(layers=[name], platform=f"linux/{name.decode()}") for name in (b"amd64", b"arm64")]
    app.tag("latest-amd64", children[0].digest)
    app.push_index("latest", children=children)
    assert delete(volume, "app:latest-amd64").code == 0
    retain(volume, DELETE_UNTAGGED)
    assert complete(volume) == {("app", "latest")}
    assert all(has_revision(app, child.digest) for child in children)


def test_the_children_go_with_the_tag_of_their_index(volume: Volume) -> None:
    """They were left behind for ever, save the one that has a tag itself."""
    app = volume.repository("app")
    inner = [app.push_image(layers=[name]) for name in (b"one", b"two")]
    tagged = app.push_image("v1", layers=[b"tagged"])
    nested = app.push_index(children=inner)
    app.push_index("latest", children=[nested, tagged])
    assert delete(volume, "app:latest").code == 0
    assert complete(volume) == {("app", "v1")}
    assert not any(has_revision(app, digest) for digest in (nested.digest, *(child.digest for child in inner)))
    assert not volume.blob_data(documents.digest_of(b"one")).exists()
    assert has_revision(app, tagged.digest)


# What is shared.


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


# What can't be read or isn't understood.


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


# Untagged manifests.


def test_an_untagged_manifest_is_kept_whole_or_not_at_all(volume: Volume) -> None:
    """One that somebody pulls by digest lost its layers and stayed."""
    app = volume.repository("app")
    pinned = app.push_image(layers=[b"pinned"])
    app.push_image("v1", layers=[b"one"])
    assert delete(volume, "app:v1").code == 0
    assert has_revision(app, pinned.digest)
    assert volume.blob_data(documents.digest_of(b"pinned")).exists()


def test_the_history_of_a_tag_is_no_reason_to_delete(volume: Volume) -> None:
    """Every earlier digest of the tag was deleted, in use or tagged elsewhere or not."""
    app = volume.repository("app")
    first = app.push_image("latest", "v1", layers=[b"first"], age=60 * DAY)
    second = app.push_image("latest", layers=[b"second"], age=50 * DAY)
    app.push_image("latest", layers=[b"third"])
    assert delete(volume, "app:latest").code == 0
    assert complete(volume) == {("app", "v1")}
    assert has_revision(app, first.digest)
    assert has_revision(app, second.digest)
    assert volume.blob_data(documents.digest_of(b"second")).exists()


# Signatures, other hashes, foreign files.


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


def test_a_foreign_file_among_the_tags_is_no_tag(volume: Volume) -> None:
    """It was counted as one, and so one tag fewer was kept."""
    app = volume.repository("app")
    for number in range(4):
        app.push_image(f"v{number}", layers=[b"%d" % number], age=(20 - number) * DAY)
    volume.write(app.tags / ".nfs00000001", b"", age=0)
    retain(volume, {"rules": [{"keep": {"last": 3}}], "limits": REFUSES_NOTHING})
    assert complete(volume) == {("app", "v1"), ("app", "v2"), ("app", "v3")}


# Dry runs, kills and file systems.


def test_a_kill_half_way_leaves_no_tag_without_its_layers(volume: Volume, tmp_path: Path) -> None:
    """SIGKILL half-way left the tag, and its layers were gone. Every other call has its turn in test_crash.py."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    app.push_image("v2", layers=[b"two"])
    counting = Counting()
    Runner(copied(volume, tmp_path / "copy"), volume.now, guard=counting).delete("app:v1")
    renames = [number for number, call in enumerate(counting.calls, 1) if call == "rename"]
    runner = Runner(volume.root, volume.now, guard=Killing(renames[len(renames) // 2]))
    assert killed(lambda: runner.delete("app:v1"))
    assert complete(volume) == {("app", "v2")}
    assert not app.tag_link("v1").exists()
    Runner(volume.root, volume.now).restore()
    assert complete(volume) == {("app", "v1"), ("app", "v2")}


def test_a_dry_run_changes_nothing_at_all(volume: Volume) -> None:
    """With "prune" it really removed directories."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    app.push_image("latest", layers=[b"two"])
    volume.repository("empty").mount(documents.digest_of(b"one"))
    before = snapshot(volume.root)
    assert retain(volume, DELETE_ALL_BUT_LATEST, arguments=["--dry-run"]).code == 0
    assert delete(volume, "app:v1", "--dry-run").code == 0
    assert snapshot(volume.root) == before


@pytest.mark.root
def test_an_immutable_file_refuses_the_deletion_whole(volume: Volume) -> None:
    """It was logged, the rest of the image was deleted, and the tag was gone."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    app.push_image("v2", layers=[b"two"])
    data = volume.blob_data(documents.digest_of(b"one"))
    subprocess.run(["chattr", "+i", str(data.parent)], check=True)
    try:
        outcome = delete(volume, "app:v1")
        assert outcome.code == 1
        assert complete(volume) == {("app", "v1"), ("app", "v2")}
    finally:
        subprocess.run(["chattr", "-i", str(data.parent)], check=True)
    assert delete(volume, "app:v1").code == 0
    assert complete(volume) == {("app", "v2")}


@pytest.mark.root
def test_an_immutable_file_in_the_quarantine_is_named_and_stays_until_it_can_be_removed(volume: Volume) -> None:
    """It can be moved with its directory, and not removed: each later purge ended there, and each later run."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one", b"of v1"])
    app.push_image("v2", layers=[b"two"])
    app.push_image("v3", layers=[b"three"])
    data = volume.blob_data(documents.digest_of(b"one"))
    runner = Runner(volume.root, volume.now)
    later = volume.now + 2 * DAY * SECOND
    subprocess.run(["chattr", "+i", str(data)], check=True)
    try:
        moves = len(runner.delete("app:v1").plan.moves)
        outcome = run(volume, "purge", now=later)
        assert outcome.code == 3
        assert outcome.document["purged"]["entries"] == moves - 1
        (stuck,) = outcome.document["purged"]["stuck"]
        assert stuck.startswith(f"{data.parent.relative_to(volume.v2)}: ")
        assert "may be immutable" in stuck
        assert "the next purge tries again" in outcome.errors
        assert quarantined(volume.root) == [b"one"]
        outcome = run(volume, "delete", "app:v2", now=later)
        assert outcome.code == 3
        assert outcome.document["purged"]["stuck"] == [stuck]
        assert complete(volume) == {("app", "v3")}
    finally:
        subprocess.run(["chattr", "-R", "-i", str(volume.v2)], check=True)
    outcome = run(volume, "purge", now=later)
    assert (outcome.code, outcome.document["purged"]["stuck"]) == (0, [])
    assert [journal.state for journal in runner.journals()] == ["purged", "done"]


@pytest.mark.root
def test_what_can_not_be_removed_comes_back_whole(volume: Volume) -> None:
    """A tag, whose link is immutable, beside what its image needs; the rest of the run is freed."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"one"])
    app.push_image("v2", layers=[b"two"])
    app.push_image("v3", layers=[b"three"])
    runner = Runner(volume.root, volume.now)
    subprocess.run(["chattr", "+i", str(app.tag_link("v1"))], check=True)
    try:
        runner.delete("app:v1", "app:v2")
        purged = runner.purge()
        assert len(purged.stuck) == 1
        assert purged.held > 0
        assert b"two" not in quarantined(volume.root)
        missing = runner.restore().missing
        assert "app:v2" in missing
        assert not {"app:v1", documents.digest_of(b"one")} & set(missing)
        assert complete(volume) == {("app", "v1"), ("app", "v3")}
    finally:
        subprocess.run(["chattr", "-R", "-i", str(volume.v2)], check=True)


def test_a_repository_without_revisions_is_no_error(volume: Volume) -> None:
    """It ended in a traceback."""
    volume.repository("uploading").mount(documents.digest_of(b"layer"), age=0)
    (volume.repositories / "nothing").mkdir()
    volume.repository("app").push_image("latest")
    outcome = retain(volume, DELETE_ALL_BUT_LATEST)
    assert outcome.code == 0
    assert complete(volume) == {("app", "latest")}
