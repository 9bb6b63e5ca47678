"""The storage fails at every call that reads: what can't be read is kept, and a clear error is all that anybody sees.

The commands run as users run them. A fault is of one call, as of a bad sector, or lasts from then on, as of a disk that
has gone.
"""

import ctypes
import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from regkeeper.cli import app
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.volume import beneath, layout
from tests.engine import driver, planning
from tests.engine.driver import REFUSES_NOTHING
from tests.engine.running import STATE, content, linked
from tests.engine.samples import KEEP_LAST, team_volume, whole_tags
from tests.engine.volumes import DAY, SECOND, Volume

EVERY = 1 if "REGKEEPER_CASES" in os.environ else 11
"""Of the calls, so many are passed over but one: in turn, so that the kinds of calls all have theirs."""


class Faults:
    """Counts the calls that read, and makes one of them fail with EIO, and with `lasting` every later one too."""

    def __init__(self, number: int = 0, *, lasting: bool = False) -> None:
        self.number = number
        self.lasting = lasting
        self.seen = 0

    def strikes(self) -> bool:
        self.seen += 1
        return self.seen == self.number or (self.lasting and 0 < self.number < self.seen)

    @contextmanager
    def injected(self) -> Iterator[None]:
        """While entered, for all calls of this process that go by a descriptor of a directory or of a file."""
        open_beneath, open_any = beneath._syscall, os.open

        def failing_open_beneath(*arguments: Any) -> int:
            if self.strikes():
                ctypes.set_errno(errno.EIO)
                return -1
            return int(open_beneath(*arguments))

        def failing_open(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            if options.get("dir_fd") is not None and not flags & os.O_CREAT and self.strikes():
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return open_any(path, flags, *rest, **options)

        def failing(call: Callable[..., Any]) -> Callable[..., Any]:
            def fail_or_call(*arguments: Any, **options: Any) -> Any:
                ours = isinstance(arguments[0], int) or options.get("dir_fd") is not None
                if ours and self.strikes():
                    raise OSError(errno.EIO, os.strerror(errno.EIO), arguments[0])
                return call(*arguments, **options)

            return fail_or_call

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(beneath, "_syscall", failing_open_beneath)
            patch.setattr(os, "open", failing_open)
            for name in ("read", "listdir", "scandir", "stat"):
                patch.setattr(os, name, failing(getattr(os, name)))
            yield


@pytest.fixture(scope="module")
def original(memory: Path) -> Volume:
    """Beside it lies the file of its policy."""
    (memory / "policy").write_text(driver.policy({**KEEP_LAST, "limits": REFUSES_NOTHING}))
    return team_volume(memory / "original")


def copies(original: Volume, memory: Path, perform: Callable[[Volume], object], *, lasting: bool) -> Iterator[Volume]:
    """A copy of the volume for each fault, which it has met."""
    with copy_of(original, memory) as volume:
        faults = Faults()
        with faults.injected():
            perform(volume)
    for number in range(1, faults.seen + 1, EVERY):
        with copy_of(original, memory) as volume:
            with Faults(number, lasting=lasting).injected():
                perform(volume)
            yield volume


@contextmanager
def copy_of(original: Volume, memory: Path) -> Iterator[Volume]:
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Volume(linked(original.root, Path(folder) / "registry"), now=original.now)


def retain(volume: Volume) -> driver.Outcome:
    policy = volume.root.parents[1] / "policy"
    return driver.run(volume, "retain", "--policy", str(policy), "--mode", "Offline")


@pytest.mark.parametrize("command", ["list", "du", "check", "runs", "retain --dry-run"])
def test_a_fault_of_each_read_of_a_report_is_told(command: str, original: Volume, memory: Path) -> None:
    """As a failure or among what can't be read; an exception would come out of the driver."""
    arguments = command.split()
    if arguments[0] == "retain":
        arguments += ["--policy", str(memory / "policy")]

    def report(volume: Volume) -> int:
        return CliRunner().invoke(app, [*arguments, "--root", str(volume.root)], catch_exceptions=False).exit_code

    before = content(original.root)
    assert report(original) == 0
    for volume in copies(original, memory, report, lasting=True):
        assert content(volume.root) == before
        assert not (volume.root / STATE).exists()


@contextmanager
def failing_at_the_second_look(end: str) -> Iterator[None]:
    """Directories whose paths end so can be read with their repository, and can't be when they are looked at again."""
    directory = layout.Volume.directory

    @contextmanager
    def fail_or_open(volume: layout.Volume, path: str) -> Iterator[int]:
        if path.endswith(end):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        with directory(volume, path) as descriptor:
            yield descriptor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout.Volume, "directory", fail_or_open)
        yield


def test_young_links_that_fail_at_the_second_look_hold_their_blobs(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1")
    blob = volume.put_blob(b"of a push under way")
    app.mount(blob, age=60)
    with failing_at_the_second_look("_layers/sha256"):
        assert planning.retain(volume, {}).deleted_blobs() == set()
        planned = planning.delete(volume, "app:v1")
    assert planned.deleted_tags() == {"app:v1"}
    assert not planned.deleted_links()
    assert not planned.moves(Kind.REPOSITORY)


def test_blobs_that_can_not_be_listed_are_told(volume: Volume) -> None:
    volume.repository("app").push_image("v1")
    with failing_at_the_second_look("blobs"):
        planned = planning.delete(volume, "app:v1")
    assert planned.deleted_blobs() == set()
    assert [str(problem) for problem in planned.plan.problems] == [f"blobs: {os.strerror(errno.EIO)}"]


def test_a_repository_that_fails_at_the_second_look_is_not_taken_for_empty(volume: Volume) -> None:
    volume.repository("app").push_image("v1")
    with failing_at_the_second_look("app/_manifests"):
        planned = planning.delete(volume, "app:v1")
    assert planned.deleted_tags() == {"app:v1"}
    assert not planned.moves(Kind.REPOSITORY)


def test_uploads_that_fail_at_the_second_look_stay(volume: Volume) -> None:
    app = volume.repository("app")
    app.push_image("v1", "v2", layers=[b"one"])
    app.push_image("v3", age=DAY)
    app.start_upload("u-1", age=90 * DAY)
    spec = {"uploads": {"deleteAfter": "1d"}, "rules": [{"keep": {"last": 1}}]}
    assert len(planning.retain(volume, spec, offline=True).moves(Kind.UPLOAD)) == 1
    with failing_at_the_second_look("_uploads"):
        planned = planning.retain(volume, spec, offline=True)
    assert not planned.moves(Kind.UPLOAD)
    assert planned.deleted_tags() == {"app:v1", "app:v2"}


def everything(volume: Volume) -> list[bytes]:
    """The contents of all files of the registry, wherever they are now."""
    there = content(volume.root) | content(volume.root / STATE / "quarantine")
    return sorted(entry.content for entry in there.values())


@pytest.mark.parametrize("lasting", [False, True])
def test_a_fault_of_each_read_of_a_run_deletes_nothing_that_stays_without_it(
    lasting: bool, original: Volume, memory: Path
) -> None:
    with copy_of(original, memory) as volume:
        assert retain(volume).code == 0
        expected, kept = content(volume.root), whole_tags(volume.root)
    contents = everything(original)
    for volume in copies(original, memory, retain, lasting=lasting):
        assert content(volume.root).items() >= expected.items()
        assert whole_tags(volume.root) >= kept
        assert everything(volume) == contents
        assert retain(volume).code == 0
        # A signature may stay: its subject, which the first run could not look up on the whole volume, is nowhere now.
        assert content(volume.root).items() >= expected.items()


@pytest.mark.parametrize("lasting", [False, True])
def test_a_fault_of_each_read_of_an_undo_loses_nothing(lasting: bool, original: Volume, memory: Path) -> None:
    before = content(original.root)
    with copy_of(original, memory) as deleted:
        assert retain(deleted).code == 0
        contents = everything(deleted)
        for volume in copies(deleted, memory, lambda volume: driver.run(volume, "restore"), lasting=lasting):
            assert everything(volume) == contents
            driver.run(volume, "restore")
            assert content(volume.root) == before


@pytest.mark.parametrize("lasting", [False, True])
def test_a_fault_of_each_read_of_a_purge_frees_nothing_that_is_needed_again(
    lasting: bool, original: Volume, memory: Path
) -> None:
    """A cross-repository mount, and a manifest that was pushed again, name what the run has moved."""
    with copy_of(original, memory) as deleted:
        assert retain(deleted).code == 0
        other, layer = deleted.repository("other"), original.put_blob(b"one")
        other.mount(layer, age=DAY)
        deleted.now = time.time_ns() + 2 * DAY * SECOND  # a run is named, and kept, by the real time
        for volume in copies(deleted, memory, lambda volume: driver.run(volume, "purge"), lasting=lasting):
            assert b"one" in everything(volume)
            driver.run(volume, "purge")
            assert volume.blob_data(layer).exists()
