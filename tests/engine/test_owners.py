"""Whose files they are: what the engine makes belongs to who owns the volume, and what it may not do it says first."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from regkeeper.retention.errors import NotPermittedError, StorageError
from tests.engine.running import STATE, Runner, content
from tests.engine.volumes import DAY, SECOND, Volume

pytestmark = pytest.mark.root

OWNER, MEMBER, GROUP = 12000, 12001, 12002


@pytest.fixture
def owned() -> Iterator[Volume]:
    """A volume of OWNER:GROUP whose directories the group may write, as a registry with fsGroup has it."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for root alone
        os.chmod(folder, 0o755)
        yield _owned(Volume(Path(folder) / "registry"))


def _owned(volume: Volume) -> Volume:
    app = volume.repository("app")
    for number in range(4):
        app.push_image(f"v{number}", layers=[b"base", b"%d" % number], age=(30 - number) * DAY)
    for directory, _, files in os.walk(volume.root):
        os.chown(directory, OWNER, GROUP)
        os.chmod(directory, 0o2775)
        for name in files:
            os.chown(Path(directory) / name, OWNER, GROUP)
            os.chmod(Path(directory) / name, 0o664)
    return volume


def as_user(user: int, work: Callable[[], object], group: int = GROUP) -> str:
    """Do the work as another user in a child process; answers the error's kind and text, or ""."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            work()
            os._exit(0)
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def owners(volume: Volume) -> set[tuple[int, int]]:
    """Of what the engine made: not of what it moved into the quarantine, two levels deep."""
    state = volume.root / STATE
    made = [state, *state.glob("*"), *state.glob("*/*")]
    return {(status.st_uid, status.st_gid) for path in made if (status := path.lstat())}


def test_what_root_makes_belongs_to_the_owner_and_a_group_member_goes_on(owned: Volume) -> None:
    runner = Runner(owned.root, owned.now)
    runner.delete("app:v0")
    assert owners(owned) == {(OWNER, GROUP)}
    assert (owned.root / STATE).stat().st_mode & 0o7777 == 0o2775
    before = content(owned.root)
    assert as_user(MEMBER, lambda: runner.delete("app:v1")) == ""
    assert as_user(MEMBER, runner.restore) == ""
    assert content(owned.root) == before
    assert as_user(OWNER, lambda: runner.delete("app:v2")) == ""
    assert as_user(OWNER, runner.purge) == ""
    assert runner.delete("app:v3").journal is not None


def test_what_a_member_makes_keeps_the_group(owned: Volume) -> None:
    runner = Runner(owned.root, owned.now)
    assert as_user(MEMBER, lambda: runner.delete("app:v0")) == ""
    assert owners(owned) == {(MEMBER, GROUP)}
    assert as_user(OWNER, lambda: runner.delete("app:v1")) == ""


def test_one_refusal_names_what_may_not_be_changed_before_anything_is(owned: Volume) -> None:
    runner = Runner(owned.root, owned.now)
    runner.delete("app:v0")
    tags = owned.repository("app").tags
    os.chmod(tags, 0o2755)
    os.chmod(owned.repository("app").layers / "sha256", 0o2755)
    before = content(owned.root)
    error = as_user(MEMBER, lambda: runner.delete("app:v1"))
    assert error.startswith(NotPermittedError.__name__)
    assert "app/_manifests/tags, " in error
    assert "app/_layers/sha256" in error
    assert f"Run as user {OWNER}, or: chown -R {MEMBER}:{GROUP} {owned.v2}" in error
    assert content(owned.root) == before
    assert [journal.state for journal in runner.journals()] == ["done"]


def test_a_directory_that_is_to_move_and_may_not_be_changed_is_named_alone(owned: Volume) -> None:
    """Its parent may be changed, and so may what else moves out of that; a directory's `..` changes with its parent."""
    runner = Runner(owned.root, owned.now)
    runner.delete("app:v0")
    os.chmod(owned.repository("app").tags / "v2", 0o2755)
    before = content(owned.root)
    error = as_user(MEMBER, lambda: runner.delete("app:v1", "app:v2"))
    assert f"user {MEMBER} may not change repositories/app/_manifests/tags/v2. Nothing was changed" in error
    assert content(owned.root) == before


def test_a_stranger_is_refused(owned: Volume) -> None:
    """He was told to run as the owner, and not who that is: in a container, the image's own user is the stranger."""
    runner = Runner(owned.root, owned.now)
    for place in (owned.v2, owned.root / STATE / "journals"):
        error = as_user(4321, lambda: runner.delete("app:v0"), group=4321)
        assert error == (
            f"NotPermittedError: {place}: Permission denied. Run as user {OWNER} (its owner), group {GROUP}, or root; "
            "this process is user 4321, groups 4321"
        )
        runner.delete("app:v1")


def test_an_immutable_directory_stops_the_run_and_the_next_one_ends_the_same(owned: Volume) -> None:
    runner = Runner(owned.root, owned.now)
    before = content(owned.root)
    blob = owned.blob_data(owned.put_blob(b"0")).parent
    subprocess.run(["chattr", "+i", str(blob)], check=True)
    try:
        with pytest.raises((StorageError, NotPermittedError)):
            runner.delete("app:v0")
    finally:
        subprocess.run(["chattr", "-i", str(blob)], check=True)
    runner.delete("app:v0")
    runner.restore()
    assert content(owned.root) == before


def test_what_was_half_written_goes_where_its_directory_may_be_changed(owned: Volume) -> None:
    """A rename needs no access to the file: one that a registry with another umask left refused the whole run."""
    half = owned.half_write_blob(b"base", age=9 * DAY)
    os.chown(half, OWNER, GROUP)
    os.chmod(half, 0o644)
    runner = Runner(owned.root, owned.now)
    assert as_user(MEMBER, lambda: runner.retain({})) == ""
    assert not half.exists()


@pytest.mark.parametrize("flag", ["i", "a"])
def test_what_was_half_written_and_is_immutable_stays_and_is_told(owned: Volume, flag: str) -> None:
    half = owned.half_write_blob(b"base", age=9 * DAY)
    subprocess.run(["chattr", f"+{flag}", str(half)], check=True)
    try:
        outcome = Runner(owned.root, owned.now).retain({"rules": [{"keep": {"last": 1}}]})
    finally:
        subprocess.run(["chattr", f"-{flag}", str(half)], check=True)
    assert [path.name for path in owned.repository("app").tags.iterdir()] == ["v3"]
    (problem,) = outcome.plan.problems
    assert str(problem) == f"{half.relative_to(owned.v2)}: half written, and can't be moved: it is immutable (lsattr)"
    assert half.exists()


@pytest.mark.usefixtures("untold_flags")
def test_what_is_immutable_where_nobody_can_ask_for_that_stays_too(owned: Volume) -> None:
    """The rename failed, and with it every run."""
    half, other = owned.half_write_blob(b"base", age=9 * DAY), owned.half_write_blob(b"base", age=8 * DAY)
    subprocess.run(["chattr", "+i", str(min(half, other))], check=True)
    before = content(owned.root)
    runner = Runner(owned.root, owned.now)
    try:
        outcome = runner.retain({"rules": [{"keep": {"last": 1}}]})
        assert (min(half, other).exists(), max(half, other).exists()) == (True, False)
        assert [path.name for path in owned.repository("app").tags.iterdir()] == ["v3"]
        (problem,) = outcome.plan.problems
        assert str(problem).startswith(f"{min(half, other).relative_to(owned.v2)}: half written, and can't be moved: ")
        runner.restore()
        assert content(owned.root) == before
        assert runner.purge(now=owned.now + 9 * DAY * SECOND).stuck == []
    finally:
        subprocess.run(["chattr", "-i", str(min(half, other))], check=True)
