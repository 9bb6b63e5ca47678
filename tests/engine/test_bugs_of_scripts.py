"""What deletion scripts did to registries, each as the case that ours must get right.

Source, where a docstring names none: the ancestor of this project, a script that deletes a tag or a repository and
then every blob that it thinks unused; each behaviour was seen with the arguments given (facts/storage.md, "Bugs of the
ancestor script").
"""

import subprocess
from pathlib import Path

import pytest

from tests.engine import documents
from tests.engine.driver import REFUSES_NOTHING, complete, delete, retain
from tests.engine.running import Counting, Killing, Runner, copied, killed
from tests.engine.volumes import DAY, Volume, snapshot

DELETE_UNTAGGED = {"untagged": {"deleteAfter": "24h"}, "garbage": {"deleteAfter": "24h"}}
DELETE_ALL_BUT_LATEST = {
    "rules": [{"keep": {"matching": ["latest"]}}],
    "untagged": {"deleteAfter": "24h"},
    "limits": REFUSES_NOTHING,
}


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
    assert app.revision_link(kept.digest).exists()
    assert app.revision_link(unknown.digest).exists()
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


# Foreign files.


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


def test_a_repository_without_revisions_is_no_error(volume: Volume) -> None:
    """It ended in a traceback."""
    volume.repository("uploading").mount(documents.digest_of(b"layer"), age=0)
    (volume.repositories / "nothing").mkdir()
    volume.repository("app").push_image("latest")
    outcome = retain(volume, DELETE_ALL_BUT_LATEST)
    assert outcome.code == 0
    assert complete(volume) == {("app", "latest")}
