"""`regkeeper delete` as a person or a script has it: references, patterns, ages, refusals."""

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from regkeeper.cli import app
from tests.engine import driver
from tests.engine.driver import invoke, tags
from tests.engine.volumes import DAY, HOUR, SECOND, Volume, files, snapshot


@pytest.mark.parametrize(
    "reference", ["", "app:", "..", "../blobs", "/etc/passwd", "app:..", "App:v1", "app:v1\n", "a//b:c", "app@sha256:1"]
)
def test_a_hostile_reference_is_wrong_usage(filled: Volume, reference: str) -> None:
    before = snapshot(filled.root)
    assert driver.delete(filled, "--yes", "--", reference).code == 2
    assert snapshot(filled.root) == before


def test_all_or_nothing(filled: Volume) -> None:
    outcome = driver.delete(filled, "app:v1", "app:unknown")
    assert outcome.code == 1
    assert "app:unknown" in outcome.errors
    assert tags(filled) == {"v1", "v2", "v3"}
    assert driver.delete(filled, "app:v1", "app:unknown", "--missing-ok").code == 0
    assert tags(filled) == {"v2", "v3"}


def test_a_person_is_shown_what_loses_something_and_of_the_untagged_why_they_stay(filled: Volume) -> None:
    filled.repository("other").push_image("v1")
    for named, shown in (("app:v1", {"app:"}), ("--untagged", {"app:", "other:"})):
        result = CliRunner().invoke(app, ["delete", "--root", str(filled.root), "--dry-run", named])
        assert {line.split()[0] for line in result.stdout.splitlines()} & {"app:", "other:"} == shown


def test_a_digest_that_a_tag_points_to_is_refused_with_its_name(filled: Volume) -> None:
    digest = filled.repository("app").tag_link("v1").read_text()
    outcome = driver.delete(filled, f"app@{digest}")
    assert outcome.code == 1
    assert "v1" in outcome.errors
    assert driver.run(filled, "runs").document["runs"] == []


def test_a_tag_with_a_digest_goes_only_while_it_points_there(filled: Volume) -> None:
    links = {name: filled.repository("app").tag_link(name).read_text() for name in ("v1", "v2")}
    assert driver.delete(filled, f"app:v1@{links['v2']}").code == 1
    assert driver.delete(filled, f"app:v1@{links['v1']}").code == 0
    assert tags(filled) == {"v2", "v3"}


def test_a_repository_goes_only_when_it_is_said(filled: Volume) -> None:
    outcome = driver.delete(filled, "app")
    assert outcome.code == 2
    assert "--repository" in outcome.errors
    assert driver.delete(filled, "app", "--repository").code == 0
    assert not filled.repository("app").tags.exists()


@pytest.mark.parametrize("kept_by", ["use", "age"])
def test_a_repository_of_which_an_untagged_manifest_stays_is_refused(
    filled: Volume, tmp_path: Path, kept_by: str
) -> None:
    """Its tags went, and nothing was said of what stayed."""
    image = filled.repository("app").push_image(layers=[b"untagged"], age=DAY)
    in_use = tmp_path / "in-use"
    in_use.write_text(f"k8smaster:5000/app@{image.digest} Pod shop/web\n# 1\n")
    arguments = ["--in-use", str(in_use)] if kept_by == "use" else ["--older-than", "36h"]
    outcome = driver.delete(filled, "app", "--repository", *arguments)
    assert outcome.code == 1
    assert f"app: {'in use by Pod shop/web' if kept_by == 'use' else 'younger than --older-than'}" in outcome.errors
    assert tags(filled) == {"v1", "v2", "v3"}


def test_references_come_from_standard_input(filled: Volume) -> None:
    arguments = ("delete", "-", "--root", str(filled.root), "--json")
    assert invoke(*arguments, standard_input="").code == 2
    assert invoke(*arguments, standard_input="\n\n").code == 2
    assert invoke(*arguments, standard_input="app:v1\napp:v2\n").code == 0
    assert tags(filled) == {"v3"}


def test_nothing_named_is_wrong_usage(filled: Volume) -> None:
    assert driver.delete(filled).code == 2


def test_a_pattern_that_matches_several_wants_yes_where_nobody_can_be_asked(filled: Volume) -> None:
    outcome = driver.delete(filled, "app:v*")
    assert outcome.code == 1
    assert "3 tags" in outcome.errors
    assert "--yes" in outcome.errors
    assert driver.delete(filled, "app:v[1]").code == 0
    assert driver.delete(filled, "app:v*", "--yes").code == 0
    assert tags(filled) == set()


@pytest.mark.parametrize(("answer", "left"), [("y", set()), ("n", {"v1", "v2", "v3"})])
def test_on_a_terminal_a_person_is_asked(filled: Volume, answer: str, left: set[str]) -> None:
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "regkeeper", "delete", "--root", str(filled.root), "app:v*"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = bytearray()
    try:
        while b"Delete 3 tags?" not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, answer.encode() + b"\n")
        with suppress(OSError):  # The end of a terminal that nobody has open any more is EIO on Linux.
            while part := os.read(terminal, 4096):
                shown += part
    finally:
        os.close(terminal)
    assert process.wait() == (0 if answer == "y" else 1), shown.decode()
    assert tags(filled) == left


def test_an_address_in_front_must_be_the_registrys(filled: Volume) -> None:
    refused = driver.delete(filled, "k8smaster:5000/app:v1")
    assert refused.code == 2
    assert "--any-address" in refused.errors
    outcome = driver.delete(filled, "k8smaster:5000/app:v1", "--dry-run", "--registry", "http://k8smaster:5000")
    assert outcome.code == 0
    assert driver.delete(filled, "k8smaster:5000/app:v1", "--any-address").code == 0
    assert tags(filled) == {"v2", "v3"}


@pytest.mark.parametrize(
    ("registry", "address"),
    [
        ("http://registry.example", "registry.example"),
        ("http://registry.example", "registry.example:80"),
        ("https://registry.example", "registry.example:443"),
        ("http://K8smaster:5000/", "k8smaster:5000"),
        ("http://[fd00::1]:5000", "[fd00::1]:5000"),
    ],
)
def test_the_registrys_address_may_stand_in_front_as_it_is_listed(filled: Volume, registry: str, address: str) -> None:
    arguments = ("--dry-run", "--registry", registry)
    assert driver.delete(filled, f"{address}/app:v1", *arguments).document["totals"]["deletedTags"] == 1
    assert driver.delete(filled, f"{address}1/app:v1", *arguments).code != 0


def test_an_address_that_may_be_a_part_of_a_name_is_refused(filled: Volume) -> None:
    """`docker.io/app` is a repository of a mirror, and `app` another one."""
    filled.repository("docker.io/app").push_image("v1", layers=[b"mirrored"])
    refused = driver.delete(filled, "docker.io/app:v1", "--any-address")
    assert refused.code == 1
    assert tags(filled) == {"v1", "v2", "v3"}
    assert driver.delete(filled, "docker.io/app:v1").code == 0
    assert tags(filled) == {"v1", "v2", "v3"}
    assert driver.delete(filled, "registry.example/app:v1", "--any-address").code == 0
    assert tags(filled) == {"v2", "v3"}


@pytest.mark.parametrize("reference", [["app:v1"], ["app", "--repository"]])
def test_an_age_holds_for_exact_names_too(filled: Volume, reference: list[str]) -> None:
    filled.repository("app").push_image("v1", layers=[b"new"], age=HOUR)
    refused = driver.delete(filled, *reference, "--older-than", "30d")
    assert refused.code == 1
    assert "younger than --older-than" in refused.errors
    assert tags(filled) == {"v1", "v2", "v3"}


def test_an_age_holds_for_what_an_exact_name_takes_along(volume: Volume) -> None:
    """An old tag took along what had been pushed again by its digest ten minutes before."""
    app = volume.repository("app")
    app.push_image("v1", layers=[b"1"], age=40 * DAY)
    again = app.push_image(layers=[b"1"], age=600)
    answer = driver.delete(volume, "app:v1", "--older-than", "30d").document
    assert answer["totals"]["deletedTags"] == 1
    assert app.revision_link(again.digest).exists()
    (manifest,) = answer["repositories"][0]["manifests"]
    assert manifest == {"digest": again.digest, "deleted": False, "reason": "younger than --older-than"}


def test_untagged_manifests_go_once_they_are_old_enough(filled: Volume) -> None:
    app = filled.repository("app")
    young = app.push_image(layers=[b"young"], age=23 * HOUR)
    assert driver.delete(filled, "--untagged").document["totals"]["deletedManifests"] == 1
    assert app.revision_link(young.digest).exists()
    filled.now += SECOND
    assert driver.delete(filled, "--untagged", "app", "--older-than", "1h").document["totals"]["deletedManifests"] == 1
    assert tags(filled) == {"v1", "v2", "v3"}


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
@pytest.mark.parametrize("named", ["unknown", "unknown/*", "app/**"])
def test_untagged_manifests_of_a_repository_that_is_not_there(filled: Volume, named: str, dry_run: list[str]) -> None:
    """The name is mistyped: to say that there is nothing to do would be a lie."""
    filled.now += DAY
    before = files(filled.root)
    refused = driver.delete(filled, "--untagged", "app", named, *dry_run)
    assert refused.code == 1
    assert f"nothing is named {named}:" in refused.errors
    assert files(filled.root) == before
    done = driver.delete(filled, "--untagged", "app", named, "--missing-ok")
    assert done.document["totals"]["deletedManifests"] == 1


def test_what_stays_says_so_in_the_words_of_the_command(filled: Volume) -> None:
    """There is no rule and no policy."""
    filled.repository("app").push_image(layers=[b"young"], age=23 * HOUR)
    filled.repository("other").push_image("v1", layers=[b"other"])
    nowhere = Volume(filled.root.parent / "another").repository("x").push_image("v1")
    filled.repository("signed").push_image(subject=nowhere, layers=[b"signature"], age=40 * DAY)
    answer = driver.delete(filled, "app:*1", "app:*3", "--untagged", "--older-than", "29d12h", "--dry-run").document
    entries = answer["repositories"]
    rows = {f"{entry['repository']}:{row['tag']}": row["reason"] for entry in entries for row in entry["tags"]}
    assert rows == {
        "app:v1": "matches delete: app:*1",
        "app:v2": "younger than --older-than",
        "app:v3": "asked for by delete: app:*3, but kept: younger than --older-than",
        "other:v1": "nothing names it",
    }
    manifests = {(row["deleted"], row["reason"].partition(" (")[0]) for entry in entries for row in entry["manifests"]}
    assert manifests == {
        (True, "its tag v1 goes"),
        (True, "untagged for long enough"),
        (False, "younger than --older-than"),
        (False, f"its subject {nowhere.digest[:19]} is nowhere"),
    }


def test_an_age_filters_tags_by_their_push(filled: Volume) -> None:
    assert driver.delete(filled, "app:v*", "--older-than", "29d12h").code == 0
    assert tags(filled) == {"v2", "v3"}


def test_without_an_undo_window_it_is_gone_at_once(filled: Volume) -> None:
    outcome = driver.delete(filled, "app:v1", "--undo-window", "0s")
    assert outcome.document["purged"]["bytes"] == outcome.document["totals"]["deletedBytes"] > 0
    assert driver.run(filled, "restore").code == 1


def test_a_reference_that_names_nothing_leaves_the_volume_as_it_is(filled: Volume) -> None:
    before = files(filled.root)
    for reference in ("app:v9", "nobody:v1", f"app@sha256:{'a' * 64}", "nobody"):
        outcome = driver.delete(filled, "--repository", "app:v1", reference)
        assert (outcome.code, f"nothing is named {reference}" in outcome.errors) == (1, True)
    assert files(filled.root) == before


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_with_closed_streams_does_its_work(filled: Volume, closed: str) -> None:
    """It ended in a traceback after all had been moved: Python has None for such a stream."""
    command = [sys.executable, "-m", "regkeeper", "delete", "--root", str(filled.root), "app:v1"]
    script = f'"$@" --dry-run {closed} && "$@" {closed}'
    outcome = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, text=True, check=False)
    assert (outcome.returncode, "Traceback" in outcome.stderr) == (0, False)
    assert tags(filled) == {"v2", "v3"}
