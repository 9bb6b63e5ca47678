"""`check`, `du` and `list --root`: reading commands that change nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from regkeeper.cli import app
from tests.engine import documents
from tests.engine.volumes import Volume, snapshot


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path)
    volume.repository("a").push_image("v1", "v10", layers=[b"shared" * 9, b"a"])
    volume.repository("a").push_image("v2", layers=[b"shared" * 9, b"b"])
    volume.repository("b").push_image("v1", layers=[b"shared" * 9])
    return volume


def run(volume: Volume, *arguments: str) -> tuple[int, dict[str, Any]]:
    before = snapshot(volume.root)
    result = CliRunner().invoke(app, [*arguments, "--root", str(volume.root), "--json"], catch_exceptions=False)
    assert snapshot(volume.root) == before
    return result.exit_code, json.loads(result.stdout)


def test_a_whole_volume_is_found_whole(volume: Volume) -> None:
    child = volume.repository("b").push_image("child")
    volume.repository("a").push_index("sparse", children=[child])
    code, document = run(volume, "check", "--deep")
    assert (code, document["whole"], document["counts"]["sparseChildren"]) == (0, True, 1)


def test_what_is_absent_for_good_is_counted_and_is_no_damage(volume: Volume) -> None:
    app_a = volume.repository("a")
    elsewhere = documents.Descriptor.of(b"never pushed", documents.DOCKER_FOREIGN_LAYER)
    windows = json.loads(documents.image(app_a.push_blob(b"{}", documents.OCI_CONFIG), [elsewhere]).content)
    windows["layers"][0]["urls"] = ["https://mcr.example/windows"]
    app_a.push(documents.Manifest(documents.OCI_MANIFEST, documents.encode(windows)), "windows")
    (app_a.tags / "unlinked").mkdir()
    app_a.delete_revision(app_a.push_image(layers=[b"deleted"]).digest)
    code, document = run(volume, "check")
    assert (code, document["whole"]) == (0, True)
    counts = document["counts"]
    assert (counts["foreignLayers"], counts["unlinkedTags"], counts["deletedRevisions"]) == (1, 1, 1)


def test_what_is_odd_is_told_in_words(volume: Volume) -> None:
    (volume.repository("a").tags / "unlinked").mkdir()
    result = CliRunner().invoke(app, ["check", "--root", str(volume.root)], catch_exceptions=False)
    assert result.stdout.splitlines()[1:] == ["1 tag without a link: listed by the registry, and can't be pulled"]


@pytest.mark.parametrize("lost", ["layer", "manifest", "layer link", "link of the layer alone", "revision link"])
def test_whatever_is_missing_is_named(volume: Volume, lost: str) -> None:
    app_a = volume.repository("a")
    image = app_a.push_image("v3", layers=[b"c"])
    digest = documents.digest_of(b"c") if "layer" in lost else image.digest
    path = {
        "layer": volume.blob_data(digest),
        "manifest": volume.blob_data(digest),
        "layer link": app_a.layer_link(digest).parent,
        "link of the layer alone": app_a.layer_link(digest),
        "revision link": app_a.revision_link(digest),
    }[lost]
    volume.remove(path)
    code, document = run(volume, "check")
    assert code == 1
    assert digest in document["missing"][0]["message"]
    assert document["missing"][0]["repository"] == "a"


@pytest.mark.parametrize("content", [b"", b"sha256:", b"sha256:" + 64 * b"0"])
def test_a_link_of_a_needed_layer_that_says_nothing_is_unreadable(volume: Volume, content: bytes) -> None:
    """The registry can't serve the layer; the name of the directory had sufficed here."""
    layer = documents.digest_of(b"a")
    volume.replace(volume.repository("a").layer_link(layer), content)
    code, document = run(volume, "check")
    assert code == 1
    assert [problem["where"] for problem in document["unreadable"]] == [f"_layers/{layer.replace(':', '/')}/link"]
    assert document["missing"] == []


def test_links_that_no_image_needs_and_that_say_nothing_are_counted(volume: Volume) -> None:
    app_a = volume.repository("a")
    unneeded = app_a.push_blob(b"unneeded").digest
    volume.empty(app_a.layer_link(unneeded))
    image = app_a.push_image("v1", layers=[b"again"])
    volume.truncate(app_a.history_link("v1", image.digest))
    code, document = run(volume, "check")
    assert (code, document["whole"], document["counts"]["unreadableLinks"]) == (0, True, 2)


def test_only_a_deep_check_sees_a_changed_layer(volume: Volume) -> None:
    volume.flip(volume.blob_data(documents.digest_of(b"shared" * 9)))
    assert run(volume, "check")[0] == 0
    code, document = run(volume, "check", "--deep")
    assert code == 1
    assert len(document["corrupt"]) == 1


def test_a_corrupt_manifest_is_unreadable(volume: Volume) -> None:
    image = volume.repository("a").push_image("v3", layers=[b"c"])
    volume.flip(volume.blob_data(image.digest))
    code, document = run(volume, "check")
    assert code == 1
    assert image.digest in document["unreadable"][0]["where"]


def test_space_is_counted_once_for_whom_it_belongs_to(volume: Volume) -> None:
    garbage = volume.put_blob(b"garbage")
    code, document = run(volume, "du")
    sizes = {path: path.stat().st_size for path in volume.blobs.rglob("data")}
    shared = len(b"shared" * 9)
    assert code == 0
    assert document["total"] == sum(sizes.values())
    assert document["unreachable"] == volume.blob_data(garbage).stat().st_size
    own = {entry["repository"]: entry["own"] for entry in document["repositories"]}
    assert [entry["shared"] for entry in document["repositories"]] == [shared, shared]
    assert list(own) == ["a", "b"]
    assert sum(own.values()) + shared + document["unreachable"] == document["total"]


def test_a_volume_is_listed_without_its_registry(volume: Volume) -> None:
    result = CliRunner().invoke(app, ["list", "--root", str(volume.root)], catch_exceptions=False)
    assert result.stdout.split() == ["a:v1", "a:v2", "a:v10", "b:v1"]
    volume.empty(volume.repository("b").tag_link("v1"))
    result = CliRunner().invoke(app, ["list"], env={"REGISTRY_DATA_DIR": str(volume.v2)}, catch_exceptions=False)
    assert result.stdout.split() == ["a:v1", "a:v2", "a:v10"]
    assert result.exit_code == 1
    assert "b: tag v1" in result.stderr


def test_a_volume_is_listed_as_its_registry_names_it(volume: Volume) -> None:
    options = ["--root", str(volume.root), "--registry", "http://k8smaster:5000", "--now", "2026-01-01T00:00:00Z"]
    result = CliRunner().invoke(app, ["list", *options, "--mode", "Offline"], catch_exceptions=False)
    assert result.stdout.split() == [f"k8smaster:5000/{name}" for name in ("a:v1", "a:v2", "a:v10", "b:v1")]
    assert CliRunner().invoke(app, ["list", "--root", str(volume.root), "--registry", "k8smaster"]).exit_code == 2
    result = CliRunner().invoke(app, ["list", "--root", str(volume.root), "--registry", "http://[fd00::1]:5000"])
    assert result.stdout.split()[0] == "[fd00::1]:5000/a:v1"


def test_a_listing_wants_a_registry_or_a_volume(volume: Volume) -> None:
    assert CliRunner().invoke(app, ["list"]).exit_code == 2
    assert CliRunner().invoke(app, ["list"], env={"REGISTRY_DATA_DIR": ""}).exit_code == 2
    assert CliRunner().invoke(app, ["list", "http://localhost:1", "--root", str(volume.root)]).exit_code == 2


def test_what_could_not_be_measured_shows_in_the_status(volume: Volume) -> None:
    volume.empty(volume.repository("b").tag_link("v1"))
    code, document = run(volume, "du")
    assert code == 3
    assert [problem["repository"] for problem in document["problems"]] == ["b"]


@pytest.mark.parametrize("command", ["check", "du"])
def test_no_volume_is_a_failure(tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(app, [command, "--root", str(tmp_path / "none")], catch_exceptions=False)
    assert result.exit_code == 1
    assert "no registry volume" in result.stderr
