"""Several runs that took the same tag, undone in whatever order: the last push of it stands in the end."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from regkeeper.retention.errors import NothingToUndoError
from tests.engine.documents import Descriptor
from tests.engine.running import STATE, Killing, Runner, killed
from tests.engine.samples import whole_tags
from tests.engine.volumes import DAY, Volume


def undone_too_early(volume: Volume, runner: Runner) -> tuple[str, str]:
    """The first of two runs that took a tag is undone; the digest that the second took, and its name."""
    for age in (9, 3):
        image = volume.repository("app").push_image("v1", layers=[b"%d" % age], age=age * DAY)
        runner.delete("app:v1")
    earlier, later = (journal.run for journal in runner.journals())
    runner.restore_run(earlier)
    return image.digest, later


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_of_several_runs_the_last_push_of_a_tag_wins_in_whatever_order_they_are_undone(
    volume: Volume, runner: Runner, order: tuple[int, ...]
) -> None:
    """Undone by name, oldest first, the oldest push counted as one since, and the newer tags were freed in the end."""
    app = volume.repository("app")
    runs = []
    for age in (9, 6, 3):
        image = app.push_image("v1", layers=[b"%d" % age], age=age * DAY)
        deleted = runner.delete("app:v1").journal
        assert deleted is not None
        runs.append(deleted.run)
    for number in order:
        runner.restore_run(runs[number])
    assert app.tag_link("v1").read_text() == image.digest
    assert len(list((app.tags / "v1" / "index" / "sha256").iterdir())) == 3, "the history has them all"
    assert sorted(whole_tags(volume.root)) == ["app:v1"]
    runner.purge()
    assert not any((volume.root / STATE / "quarantine").iterdir())
    assert app.tag_link("v1").read_text() == image.digest


def test_a_reference_brings_back_the_last_push_of_a_tag_though_an_earlier_one_has_come_back(
    volume: Volume, runner: Runner
) -> None:
    digest, _ = undone_too_early(volume, runner)
    assert runner.restore_image("app:v1").newer == []
    assert volume.repository("app").tag_link("v1").read_text() == digest


def test_an_earlier_push_that_a_later_run_took_once_more_is_the_earlier_one_still(
    volume: Volume, runner: Runner
) -> None:
    digest, later = undone_too_early(volume, runner)
    again = runner.delete("app:v1").journal
    assert again is not None
    runner.restore_run(later)
    assert [move.name for move in runner.restore_run(again.run).newer] == ["v1"]
    assert volume.repository("app").tag_link("v1").read_text() == digest


def test_what_came_back_of_a_run_is_told_from_a_push_though_a_purge_has_freed_the_rest_of_that_run(
    volume: Volume, runner: Runner
) -> None:
    """The later push stayed in the quarantine, and was freed with it."""
    app = volume.repository("app")
    app.push_image("v1", "latest", layers=[b"9"], age=9 * DAY)
    runner.delete("app:v1", "app:latest")
    image = app.push_image("v1", layers=[b"3"], age=3 * DAY)
    later = runner.delete("app:v1", undo_window=9 * DAY).journal
    assert later is not None
    app.push_image("latest", layers=[b"0"], age=0)
    runner.restore_run(runner.journals()[0].run)
    assert runner.purge().entries == 1
    runner.restore_run(later.run)
    assert app.tag_link("v1").read_text() == image.digest
    runner.purge()
    assert not any((volume.root / STATE / "quarantine").iterdir())


def test_a_tag_that_a_later_push_has_taken_the_place_of_stops_no_run_beside_journals_elsewhere(
    volume: Volume, runner: Runner, tmp_path: Path
) -> None:
    """Its run has more in the quarantine now than it has left there, and the volume is no older for that."""
    runner.journal = tmp_path / "journals"
    runner.journal.mkdir()
    digest, later = undone_too_early(volume, runner)
    runner.restore_run(later)
    runner.purge()
    assert not any((volume.root / STATE / "quarantine").iterdir())
    assert volume.repository("app").tag_link("v1").read_text() == digest


@pytest.mark.parametrize("by", ["run", "reference"])
def test_a_kill_as_a_later_push_takes_the_place_of_an_earlier_one_loses_neither(memory: Path, by: str) -> None:
    for call in range(1, 200):
        with TemporaryDirectory(dir=memory) as folder:
            volume = Volume(Path(folder))
            runner = Runner(volume.root, volume.now)
            app = volume.repository("app")
            digest, later = undone_too_early(volume, runner)

            def restore(runner: Runner, run: str = later) -> object:
                return runner.restore_run(run) if by == "run" else runner.restore_image("app:v1")

            if not killed(partial(restore, replace(runner, guard=Killing(call)))):
                break
            with suppress(NothingToUndoError):
                restore(runner)
            assert app.tag_link("v1").read_text() == digest
            assert whole_tags(volume.root) == {"app:v1"}
    assert 20 < call < 199


def test_a_push_since_stays_where_an_undo_had_brought_back_an_earlier_one(volume: Volume, runner: Runner) -> None:
    app = volume.repository("app")
    _, later = undone_too_early(volume, runner)
    pushed = app.push_image("v1", layers=[b"9"], age=0)
    assert [move.name for move in runner.restore_run(later).newer] == ["v1"]
    assert app.tag_link("v1").read_text() == pushed.digest


def test_a_push_just_before_any_rename_of_an_undo_wins(memory: Path) -> None:
    for number in range(1, 200):
        with TemporaryDirectory(dir=memory) as folder:
            volume = Volume(Path(folder))
            runner = Runner(volume.root, volume.now)
            app = volume.repository("app")
            _, later = undone_too_early(volume, runner)
            push = partial(app.push_image, "v1", layers=[b"pushed"], age=0)
            pushing = Pushing(number, push)
            replace(runner, guard=pushing).restore_run(later)
            if pushing.pushed is None:
                break
            assert app.tag_link("v1").read_text() == pushing.pushed.digest, number
            assert whole_tags(volume.root) == {"app:v1"}
    assert 8 < number < 199


@dataclass
class Pushing:
    """A guard that pushes before the rename of one number."""

    number: int
    push: Callable[[], Descriptor]
    seen: int = 0
    pushed: Descriptor | None = None

    def __call__(self, call: str) -> None:
        self.seen += call == "rename"
        if self.seen == self.number and self.pushed is None:
            self.pushed = self.push()
