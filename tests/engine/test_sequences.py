"""Random sequences of pushes, runs, undos, purges and crashes on one volume, and what holds after each step of them.

Nothing damages the volume, so whatever tag a registry would serve, at whatever moment, can be pulled in full. And what
was there is there, in its place or in the quarantine, until a purge that was due has taken it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from regkeeper.retention.errors import NothingToUndoError
from regkeeper.retention.policies.references import parse_reference
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.runs.quiet import Mode
from regkeeper.retention.runs.recovery import recover
from regkeeper.retention.runs.restore_images import restore_reference, restore_used
from tests.engine.cases import cases
from tests.engine.documents import Descriptor
from tests.engine.memory import folder_in_memory
from tests.engine.oracle_reading import complete_tags, read
from tests.engine.planning import used
from tests.engine.running import STATE, Killing, Runner, content, killed, linked
from tests.engine.volumes import DAY, HOUR, SECOND, Entry, Volume, files

REPOSITORIES = ("app", "team", "team/app")
TAGS = ("v1", "v2", "v3", "latest")
LAYERS = (b"base", b"one", b"two", b"three")
V2 = "docker/registry/v2"
AGES = (2 * HOUR, 2 * DAY, 30 * DAY)
POLICIES: tuple[dict[str, Any], ...] = (
    {"rules": [{"keep": {"last": 1}}]},
    {"rules": [{"repositories": ["team/**"], "keep": {"last": 0}}], "garbage": {"deleteAfter": "0s"}},
    {"untagged": {"deleteAfter": "1d"}, "garbage": {"deleteAfter": "0s"}, "undoWindow": "96h"},
    {"delete": ["app:v1", "team"], "undoWindow": "36h"},
    {"rules": [{"tags": ["v*"], "keep": {"last": 1}}], "undoWindow": "0s"},
)
T = TypeVar("T")

IN_USE = st.lists(st.sampled_from([f"{name}:{tag}" for name in REPOSITORIES for tag in TAGS]), max_size=3, unique=True)
"""What came into use since."""

CALLS = st.none() | st.integers(1, 90)
"""The mutating call before which the process is killed; None: it is not."""


class Sequences(RuleBasedStateMachine):
    """One volume, and what is known of its past."""

    @initialize()
    def begin(self) -> None:
        self.folder = folder_in_memory()
        self.volume = Volume(Path(self.folder.name) / "registry")
        self.volume.repository("anchor").push_image("kept", age=-DAY)  # a tag of the future always stays
        self.images: list[Descriptor] = []
        for number, tag in enumerate(TAGS):
            for name, layers in (("app", (b"base", LAYERS[number])), ("team/app", (LAYERS[number],))):
                self.images.append(self.volume.repository(name).push_image(tag, layers=layers, age=(30 - number) * DAY))
        self.volume.repository("team").push_signature(self.images[0], age=20 * DAY)
        self.before: dict[str, dict[str, Entry]] = {}
        """By run, the registry before it, save what was freed since; as long as nothing was pushed or brought back."""

    def teardown(self) -> None:
        self.folder.cleanup()

    @property
    def runner(self) -> Runner:
        return Runner(self.volume.root, self.volume.now, mode=Mode.OFFLINE)

    def is_unfinished(self) -> bool:
        """Whether the next command begins with bringing back what an earlier one has left."""
        return any(journal.state in ("open", "restoring") for journal in self.runner.journals())

    def places(self) -> dict[str, set[tuple[str, Entry]]]:
        """Files with the path at which they are or were: under "" those of the registry, by run those in quarantine."""
        found = {"": set(content(self.volume.root).items())}
        for journal in self.runner.journals():
            quarantined = files(self.volume.root / STATE / "quarantine" / journal.run)
            paths = [move.path for move in self.runner.moves(journal.run)] if quarantined else []
            found[journal.run] = {
                (f"{V2}/{paths[int(number)]}{slash}{rest}", entry)
                for path, entry in quarantined.items()
                for number, slash, rest in [path.partition("/")]
            }
        return found

    def due(self) -> set[str]:
        """The runs with whose purge the next one begins, which may bring something back instead."""
        return {journal.run for journal in self.runner.journals() if journal.purge_due <= self.volume.now}

    @contextmanager
    def losing_nothing(self, *, without_window: bool = False) -> Iterator[None]:
        """What is freed on the way was due, or has no window; no undo brings that back any more."""
        before = self.places()
        may_go = self.due()
        if without_window:
            # What a run has left unfinished comes back first, with all that its images need of others.
            may_go |= before.keys() if self.is_unfinished() else {""}
        yield
        gone = set[tuple[str, Entry]]().union(*before.values()).difference(*self.places().values())
        assert gone <= set[tuple[str, Entry]]().union(*(before[run] for run in may_go))
        self.before = {run: dict(known.items() - gone) for run, known in self.before.items()}

    @rule(hours=st.integers(1, 60))
    def wait(self, hours: int) -> None:
        self.volume.now += hours * HOUR * SECOND

    @rule(
        repository=st.sampled_from(REPOSITORIES),
        tags=st.lists(st.sampled_from(TAGS), max_size=2, unique=True),
        layers=st.lists(st.sampled_from(LAYERS), min_size=1, max_size=2, unique=True),
        age=st.sampled_from(AGES),
    )
    def push(self, repository: str, tags: list[str], layers: list[bytes], age: int) -> None:
        self.pushed(self.volume.repository(repository).push_image(*tags, layers=layers, age=age))

    @precondition(lambda self: self.images)
    @rule(repository=st.sampled_from(REPOSITORIES), data=st.data(), age=st.sampled_from(AGES))
    def sign(self, repository: str, data: st.DataObject, age: int) -> None:
        subject = data.draw(st.sampled_from(self.images))
        if data.draw(st.booleans()):
            self.pushed(self.volume.repository(repository).push_signature(subject, age=age))
        else:
            self.pushed(self.volume.repository(repository).push_image(layers=[b"sbom"], subject=subject, age=age))

    @rule(repository=st.sampled_from(REPOSITORIES), tag=st.sampled_from(TAGS), age=st.sampled_from(AGES))
    def push_index(self, repository: str, tag: str, age: int) -> None:
        there = self.volume.repository(repository)
        children = [there.push_image(layers=[layer, b"platform"], age=age) for layer in LAYERS[:2]]
        self.pushed(there.push_index(tag, children=children, age=age))

    def pushed(self, image: Descriptor) -> None:
        self.images.append(image)
        self.before.clear()

    @rule(policy=st.sampled_from(POLICIES), call=CALLS)
    def retain(self, policy: dict[str, Any], call: int | None) -> None:
        before = content(self.volume.root)
        runs, was_due = {journal.run for journal in self.runner.journals()}, bool(self.due())
        with self.losing_nothing(without_window=policy.get("undoWindow") == "0s"):
            self.perform(lambda runner: runner.retain(policy), call)
            for journal in self.runner.journals():
                if journal.run not in runs and journal.state == "done" and not (self.came_back or was_due):
                    self.before[journal.run] = before
        after = content(self.volume.root)
        assert after.items() <= before.items() or call is not None or self.came_back or was_due
        for run in self.before.keys() - runs:
            # On a copy: few sequences have an undo of what they deleted before something is pushed.
            with TemporaryDirectory(dir=self.folder.name) as folder:
                copy = Runner(linked(self.volume.root, Path(folder) / "copy"), self.volume.now, mode=Mode.OFFLINE)
                copy.restore()
                assert content(copy.root) == self.before[run]

    @precondition(lambda self: self.runner.journals())
    @rule(call=CALLS)
    def restore(self, call: int | None) -> None:
        done = [journal.run for journal in self.runner.journals() if journal.state == "done" and not journal.undone]
        freed_in_part = any(
            journal.state == "purging" or (journal.state == "done" and journal.purge_due <= self.volume.now)
            for journal in self.runner.journals()
        )
        open_before = self.is_unfinished()
        try:
            with self.losing_nothing():
                restored = self.perform(Runner.restore, call)
        except NothingToUndoError:
            assert not done
            return
        assert restored is None or freed_in_part or not restored.missing
        if call is None and not open_before and done and done[-1] in self.before:
            assert content(self.volume.root) == self.before[done[-1]]
        self.before = {run: known for run, known in self.before.items() if run < max(done, default="")}

    @precondition(lambda self: self.runner.journals())
    @rule(data=st.data(), call=CALLS)
    def restore_image(self, data: st.DataObject, call: int | None) -> None:
        tags = {
            f"{move.repository}:{move.name}"
            for journal in self.runner.journals()
            for move in self.runner.moves(journal.run)
            if move.kind == Kind.TAG
        }
        if not tags:
            return
        reference = parse_reference(data.draw(st.sampled_from(sorted(tags))))

        def bring_back(runner: Runner) -> None:
            with runner.changing() as (volume, journals):
                recover(volume, journals, now=runner.now)
                restore_reference(volume, journals, reference, runner.now)

        with self.losing_nothing(), suppress(NothingToUndoError):
            self.perform(bring_back, call)
        self.before.clear()

    @precondition(lambda self: self.runner.journals())
    @rule(call=CALLS, in_use=IN_USE)
    def purge(self, call: int | None, in_use: list[str]) -> None:
        with self.losing_nothing():
            self.perform(lambda runner: runner.purge(now=runner.now, in_use=used(*in_use)), call)

    @precondition(lambda self: self.runner.journals())
    @rule(call=CALLS, in_use=IN_USE)
    def restore_used(self, call: int | None, in_use: list[str]) -> None:
        def bring_back(runner: Runner) -> None:
            with runner.changing() as (volume, journals):
                recover(volume, journals, now=runner.now)
                restore_used(volume, journals, used(*in_use))

        with self.losing_nothing(), suppress(NothingToUndoError):
            self.perform(bring_back, call)
        self.before.clear()

    def perform(self, work: Callable[[Runner], T], call: int | None) -> T | None:
        """Do it in this process, or in one that is killed if it makes so many calls; then the answer is lost."""
        self.came_back = self.is_unfinished()
        if call is None:
            return work(self.runner)
        runner = self.runner
        runner.guard = Killing(call)
        if killed(lambda: _undo_or_nothing(work, runner)):
            self.before.clear()
        return None

    @invariant()
    def every_tag_is_whole(self) -> None:
        world = read(self.volume.v2)
        tags = {(name, tag) for name, there in world.repositories.items() for tag in there.tags}
        served = {place for place in tags if world.repositories[place[0]].tags[place[1]].digest is not None}
        assert complete_tags(world) == served
        assert ("anchor", "kept") in served


def _undo_or_nothing(work: Callable[[Runner], object], runner: Runner) -> None:
    with suppress(NothingToUndoError):
        work(runner)


def test_every_tag_is_whole_and_nothing_is_lost_whatever_happens() -> None:
    # Shrinking takes minutes: the story of a failure is short enough.
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    run_state_machine_as_test(Sequences, settings=settings(cases(15), stateful_step_count=25, phases=phases))
