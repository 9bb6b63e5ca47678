"""A symbolic link in the place of a directory is not followed, and what may lie behind it is kept."""

import os
from pathlib import Path

import pytest

from tests.engine import documents
from tests.engine.driver import invoke
from tests.engine.planning import retain
from tests.engine.volumes import Volume, snapshot

pytestmark = pytest.mark.usefixtures("two_repositories")

KEEP_NONE = {"rules": [{"keep": {"last": 0}}]}


def test_a_symbolic_link_among_the_repositories_stops_the_deletion_of_blobs(volume: Volume, tmp_path: Path) -> None:
    os.symlink("/", volume.repositories / "elsewhere")
    garbage = volume.put_blob(b"garbage")
    planned = retain(volume, KEEP_NONE)
    assert planned.deleted_tags() == {"app:v1", "app:v2", "other:v1"}
    assert garbage not in planned.deleted_blobs()
    assert [problem.repository for problem in planned.plan.problems] == ["elsewhere"]


@pytest.mark.parametrize("moved", ["tags", "revisions", "revisions/sha256", "tags/v2"])
def test_a_directory_that_is_a_symbolic_link_is_not_absent(volume: Volume, tmp_path: Path, moved: str) -> None:
    """An administrator moved it to another disk, and the registry follows the link."""
    app = volume.repository("app")
    place = app.directory / "_manifests" / moved
    place.rename(tmp_path / "other-disk")
    place.symlink_to(tmp_path / "other-disk")
    planned = retain(volume, {"untagged": {"deleteAfter": "1h"}, **KEEP_NONE})
    assert planned.deleted_tags() == {"other:v1"}
    assert not {documents.digest_of(b"1"), documents.digest_of(b"2")} & planned.deleted_blobs()
    assert {problem.repository for problem in planned.plan.problems} == {"app"}


def test_a_directory_of_blobs_that_is_a_symbolic_link_is_left_alone(volume: Volume, tmp_path: Path) -> None:
    shard = volume.blob_data(documents.digest_of(b"o")).parent.parent
    shard.rename(tmp_path / "other-disk")
    shard.symlink_to(tmp_path / "other-disk")
    assert documents.digest_of(b"o") not in retain(volume, KEEP_NONE).deleted_blobs()


def test_a_signature_stays_where_a_repository_with_its_subject_can_not_be_listed(
    volume: Volume, tmp_path: Path
) -> None:
    app, prod = volume.repository("app"), volume.repository("prod")
    subject = app.push_image("signed", layers=[b"s"])
    prod.push_image("signed", layers=[b"s"])
    signature = app.push_signature(subject)
    manifests = prod.directory / "_manifests"
    manifests.rename(tmp_path / "other-disk")
    manifests.symlink_to(tmp_path / "other-disk")
    planned = retain(volume, {"rules": [{"tags": ["signed"], "keep": {"last": 0}}]})
    assert planned.deleted_tags() == {"app:signed"}
    assert ("app", signature.digest) not in planned.deleted_manifests()


@pytest.mark.parametrize("link", ["docker", "docker/registry", "docker/registry/v2"])
def test_a_symbolic_link_between_the_root_and_the_volume_leads_to_no_other(
    volume: Volume, tmp_path: Path, link: str
) -> None:
    """Who may write one volume must not have the run on it delete from another; the root itself may be a link."""
    mine = tmp_path / "mine"
    (mine / link).parent.mkdir(parents=True)
    (mine / link).symlink_to(volume.root / link)
    before = snapshot(volume.root)
    for arguments in (["delete", "app:v1"], ["list"], ["du"]):
        outcome = invoke(*arguments, "--root", str(mine))
        assert outcome.code == 1
        assert "symbolic link" in outcome.errors
        assert "--root" in outcome.errors
    assert snapshot(volume.root) == before
    (tmp_path / "root").symlink_to(volume.root)
    assert invoke("delete", "app:v1", "--root", str(tmp_path / "root")).code == 0
