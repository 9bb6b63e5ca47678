"""What is absent, or not the registry's, is not unreadable: the rest of its repository may go."""

import json
from typing import Any

import pytest

from tests.engine import documents
from tests.engine.planning import retain
from tests.engine.volumes import DAY, Volume

pytestmark = pytest.mark.usefixtures("two_repositories")

KEEP_NONE = {"rules": [{"keep": {"last": 0}}]}
KEEP_ONE = {"rules": [{"keep": {"last": 1}}]}


def test_a_tag_without_its_manifest_stays_and_uses_up_no_place(volume: Volume) -> None:
    app = volume.repository("app")
    lost = app.push_image("lost", layers=[b"lost"], age=2 * DAY)
    volume.remove(volume.blob_data(lost.digest))
    planned = retain(volume, KEEP_ONE)
    assert planned.deleted_tags() == {"app:v1"}
    assert planned.tag("app", "lost") == "kept: its manifest is missing"
    assert planned.plan.problems == [], "nothing that can't be read: exit status 0"
    assert planned.deleted_links() == set()
    assert documents.digest_of(b"1") not in planned.deleted_blobs()


@pytest.mark.parametrize("keep", [{"last": 1}, {"semver": {"highest": 1}}])
def test_a_tag_whose_revision_link_is_gone_stays_and_uses_up_no_place(volume: Volume, keep: dict[str, Any]) -> None:
    """No registry serves it. In the place of one that can be pulled, that one went."""
    app = volume.repository("app")
    app.delete_revision(app.push_image("v9", layers=[b"9"], age=2 * DAY).digest)
    planned = retain(volume, {"rules": [{"keep": keep}]})
    assert planned.deleted_tags() == {"app:v1"}
    assert planned.tag("app", "v9") == "kept: its manifest's link is missing"


def test_a_tag_without_its_manifest_holds_no_blob_that_no_link_of_its_repository_names(volume: Volume) -> None:
    """Found by the oracle: a copy of a manifest without its config held that, though it went itself."""
    app, other = volume.repository("app"), volume.repository("other")
    volume.remove(volume.blob_data(app.push_image("lost", layers=[b"lost"], age=2 * DAY).digest))
    image = other.push_image("v2", layers=[b"copied"])
    manifest = json.loads(volume.blob_data(image.digest).read_bytes())
    app.push(documents.Manifest(documents.OCI_MANIFEST, documents.encode(manifest)), "copy")
    app.mount(documents.digest_of(b"copied"))
    planned = retain(volume, KEEP_NONE)
    assert {"app:copy", "other:v2"} <= planned.deleted_tags()
    assert manifest["config"]["digest"] in planned.deleted_blobs()
    assert documents.digest_of(b"copied") not in planned.deleted_blobs()


def test_untagged_manifests_stay_beside_a_tag_without_its_manifest(volume: Volume) -> None:
    """They may be the children of an index whose data a backup brings back."""
    app = volume.repository("app")
    child = app.push_image(layers=[b"child"])
    volume.remove(volume.blob_data(app.push_index("multi", children=[child]).digest))
    planned = retain(volume, {"untagged": {"deleteAfter": "1h"}})
    assert planned.deleted_manifests() == set()
    assert planned.manifest("app", child.digest).startswith("kept: it may belong to")


def test_a_manifest_is_kept_by_a_tag_whose_revision_link_is_gone(volume: Volume) -> None:
    app = volume.repository("app")
    image = app.push_image("v3", layers=[b"3"])
    app.delete_revision(image.digest)
    assert not {image.digest, documents.digest_of(b"3")} & retain(volume, {}).deleted_blobs()


def test_a_child_that_a_repository_lacks_pins_nothing(volume: Volume) -> None:
    child = volume.repository("other").push_image("child", layers=[b"c"])
    volume.repository("app").push_index("index", children=[child])
    rules = {"rules": [{"repositories": ["other"], "tags": ["child"], "keep": {"last": 0}}]}
    assert child.digest in retain(volume, rules).deleted_blobs()


def test_a_sparse_copy_of_an_index_harms_no_complete_one(volume: Volume) -> None:
    """distribution 3.x garbage-collect -m skips what an earlier repository has visited, and deletes these layers."""
    child = volume.repository("z-complete").push_image(layers=[b"c"])
    index = volume.repository("z-complete").push_index("v1", children=[child])
    volume.repository("a-sparse").push_index("v1", children=[child])
    planned = retain(volume, {"untagged": {"deleteAfter": "0s"}})
    assert not {index.digest, child.digest, documents.digest_of(b"c")} & planned.deleted_blobs()
    assert planned.deleted_manifests() == set()


def test_foreign_files_are_ignored(volume: Volume) -> None:
    app = volume.repository("app")
    (app.tags / "README").write_text("x")
    (app.tags / "no-link").mkdir()
    (app.tags / ".hidden").mkdir()
    (app.directory / "_strange").mkdir()
    (app.revisions / "sha256" / "short").mkdir()
    assert retain(volume, KEEP_NONE).deleted_tags() == {"app:v1", "app:v2", "other:v1"}
