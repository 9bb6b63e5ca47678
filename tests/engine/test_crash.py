"""The process dies, or the storage fails, at every mutating call: nothing is lost, and the next run ends the same.

"Ends the same" is: the same files in the registry with the same times, and the same contents in the quarantine, as
after a run that nobody disturbed.
"""

import errno
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest

from regkeeper.retention.errors import NothingToUndoError, StorageError
from regkeeper.retention.runs.quiet import Mode
from tests.engine.planning import used
from tests.engine.running import Counting, Failing, Killing, Runner, content, copied, killed, linked, quarantined
from tests.engine.samples import KEEP_LAST, team_volume, whole_tags
from tests.engine.volumes import Volume

ERRORS = {errno.EIO: False, errno.ENOSPC: True, errno.EROFS: True}
"""By error number, whether it lasts: a volume that is full or read-only stays so."""

FURTHER_ERRORS = {errno.EPERM: False, errno.EXDEV: False, errno.EDQUOT: True}
"""They take the same ways, so one operation is enough."""


@pytest.fixture(scope="module")
def original(memory: Path) -> Volume:
    return team_volume(memory / "original")


def retained(root: Path, original: Volume) -> Runner:
    """After a run, before its purge."""
    runner = runner_of(root, original)
    runner.retain(KEEP_LAST)
    return runner


def runner_of(root: Path, original: Volume) -> Runner:
    return Runner(root, original.now, mode=Mode.OFFLINE)


class Operation:
    """One thing that changes the volume, and what it takes to end it after a crash."""

    def __init__(
        self,
        prepare: Callable[[Path, Volume], Runner],
        perform: Callable[[Runner], object],
        finish: Callable[[Runner], object],
        begins_as: str = "",
    ) -> None:
        self.prepare = prepare
        self.perform = perform
        self.finish = finish
        self.begins_as = begins_as
        """The operation that makes the same calls at first, which are tried there."""


def _restore_again(runner: Runner) -> None:
    try:
        runner.restore()
    except NothingToUndoError:
        assert runner.journals()[-1].state == "restored"


OPERATIONS = {
    "retain": Operation(runner_of, lambda runner: runner.retain(KEEP_LAST), lambda runner: runner.retain(KEEP_LAST)),
    "retain-and-purge": Operation(
        runner_of,
        lambda runner: runner.retain({**KEEP_LAST, "undoWindow": "0s"}),
        lambda runner: runner.retain({**KEEP_LAST, "undoWindow": "0s"}),
        begins_as="retain",
    ),
    "restore": Operation(retained, lambda runner: runner.restore(), _restore_again),
    "purge": Operation(retained, lambda runner: runner.purge(), lambda runner: runner.purge()),
}


class Undisturbed:
    """How an operation ends when nothing happens, and how many mutating calls it makes."""

    def __init__(self, operation: Operation, original: Volume, folder: Path) -> None:
        self.before = operation.prepare(copied(original, folder / "before"), original)
        runner = operation.prepare(copied(original, folder / "after"), original)
        counting = Counting()
        runner.guard = counting
        operation.perform(runner)
        self.calls = counting.calls
        self.first = 1
        if operation.begins_as:
            with tempfile.TemporaryDirectory(dir=folder) as other:
                known = Undisturbed(OPERATIONS[operation.begins_as], original, Path(other)).calls
            same = takewhile(lambda pair: pair[0] == pair[1], zip(known, self.calls, strict=False))
            self.first = len(list(same))
        self.content = content(runner.root)
        self.quarantined = quarantined(runner.root)
        self.kept = whole_tags(runner.root)


@pytest.fixture(scope="module", params=OPERATIONS)
def operation(request: pytest.FixtureRequest) -> Operation:
    return OPERATIONS[request.param]


@pytest.fixture(scope="module")
def undisturbed(operation: Operation, original: Volume, memory: Path) -> Iterator[Undisturbed]:
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Undisturbed(operation, original, Path(folder))


def disturbed_copies(
    undisturbed: Undisturbed, original: Volume, folder: Path, *, by_kill: bool = False
) -> Iterator[tuple[int, Runner]]:
    """A fresh copy of the volume for each mutating call.

    A kill ahead of an fsync leaves what a kill ahead of the next call does: a process takes nothing along that it has
    written (memory.py). Ahead of the last call there is one in any case.
    """
    for number in range(undisturbed.first, len(undisturbed.calls) + 1):
        if by_kill and undisturbed.calls[number - 1] == "fsync" and number < len(undisturbed.calls):
            continue
        with tempfile.TemporaryDirectory(dir=folder) as copy:
            yield number, runner_of(linked(undisturbed.before.root, Path(copy) / "registry"), original)


def test_a_kill_at_each_call_loses_nothing(
    operation: Operation, undisturbed: Undisturbed, original: Volume, memory: Path
) -> None:
    for number, runner in disturbed_copies(undisturbed, original, memory, by_kill=True):
        runner.guard = Killing(number)
        assert killed(lambda runner=runner: operation.perform(runner))  # type: ignore[misc]
        assert whole_tags(runner.root) >= undisturbed.kept & whole_tags(undisturbed.before.root), undisturbed.calls[
            :number
        ]
        operation.finish(runner_of(runner.root, original))
        assert content(runner.root) == undisturbed.content, undisturbed.calls[:number]
        assert quarantined(runner.root) == undisturbed.quarantined, undisturbed.calls[:number]


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_a_failure_of_each_call_is_told_and_loses_nothing(
    error: int, operation: Operation, undisturbed: Undisturbed, original: Volume, memory: Path
) -> None:
    assert_failures_lose_nothing(Failing(0, error, lasting=ERRORS[error]), operation, undisturbed, original, memory)


@pytest.mark.parametrize("error", FURTHER_ERRORS, ids=errno.errorcode.get)
def test_further_failures_of_a_run_lose_nothing(error: int, original: Volume, memory: Path) -> None:
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        operation = OPERATIONS["retain"]
        undisturbed = Undisturbed(operation, original, Path(folder))
        failing = Failing(0, error, lasting=FURTHER_ERRORS[error])
        assert_failures_lose_nothing(failing, operation, undisturbed, original, memory)


def assert_failures_lose_nothing(
    failing: Failing, operation: Operation, undisturbed: Undisturbed, original: Volume, memory: Path
) -> None:
    for number, runner in disturbed_copies(undisturbed, original, memory):
        runner.guard = replace(failing, number=number)
        with suppress(StorageError):  # Any other exception fails the test; without one, the reserve helped.
            operation.perform(runner)
        assert whole_tags(runner.root) >= undisturbed.kept & whole_tags(undisturbed.before.root)
        operation.finish(runner_of(runner.root, original))
        assert content(runner.root) == undisturbed.content, undisturbed.calls[:number]
        assert quarantined(runner.root) == undisturbed.quarantined, undisturbed.calls[:number]


def test_a_kill_of_a_purge_that_returns_an_image_in_use_loses_none_of_its_dependants(
    original: Volume, memory: Path
) -> None:
    """Also the signature of its signature: what came back before the kill must not be all that led to it."""
    volume = Volume(memory / "signed", now=original.now)
    app = volume.repository("app")
    image = app.push_image("v1", "also")
    app.push_image(subject=app.push_signature(image), layers=[b"of the signature"])
    runner = runner_of(volume.root, volume)
    before = content(volume.root)
    runner.delete("app")
    runner.guard = counting = Counting()
    deleted = linked(volume.root, memory / "deleted")
    runner.purge(in_use=used("app:v1"))
    assert content(volume.root) == before
    for number in range(1, len(counting.calls) + 1):
        with tempfile.TemporaryDirectory(dir=memory) as copy:
            other = runner_of(linked(deleted, Path(copy) / "registry"), volume)
            other.guard = Killing(number)
            assert killed(lambda other=other: other.purge(in_use=used("app:v1")))  # type: ignore[misc]
            runner_of(other.root, volume).purge(in_use=used("app:v1"))
            assert content(other.root) == before, counting.calls[:number]


def test_a_run_after_a_kill_of_an_undo_keeps_what_comes_back_or_leaves_it_to_the_next_undo(
    original: Volume, memory: Path
) -> None:
    before = content(original.root)
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        runner = retained(copied(original, Path(folder) / "deleted"), original)
        after = content(runner.root)
        undisturbed = Undisturbed(OPERATIONS["restore"], original, Path(folder))
        states: list[str] = []
        for number, disturbed in disturbed_copies(undisturbed, original, memory, by_kill=True):
            disturbed.guard = Killing(number)
            assert killed(disturbed.restore)
            following = runner_of(disturbed.root, original)
            assert following.retain(KEEP_LAST).journal is None
            states.append(following.journals()[0].state)
            assert content(following.root) == {"restored": before, "done": after}[states[-1]]
            if states[-1] == "done":
                following.restore()
            assert content(following.root) == before
        assert {"restored", "done"} == set(states)
