"""Runs of the engine's writing half in this process: on a copy of a volume, with a guard before each mutating call."""

import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regkeeper.retention.planning.asking import Inquiry, ask
from regkeeper.retention.planning.plan import Plan
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.policies.intent import Intent, deletion_intent
from regkeeper.retention.policies.policy import merge
from regkeeper.retention.policies.references import parse_reference
from regkeeper.retention.processes.stop import Stop, never
from regkeeper.retention.quarantine import lock, reserve
from regkeeper.retention.quarantine.history import due
from regkeeper.retention.quarantine.journal import Journal
from regkeeper.retention.quarantine.journal_writer import WritableJournals, open_writable_journals
from regkeeper.retention.quarantine.journals import open_journals
from regkeeper.retention.quarantine.moves import Move
from regkeeper.retention.quarantine.storage import Guard, WritableVolume, no_guard, open_writable
from regkeeper.retention.runs.purge import Purged, purge
from regkeeper.retention.runs.quiet import Mode
from regkeeper.retention.runs.recovery import recover
from regkeeper.retention.runs.restore import Restored, last_undoable, undo, undoable
from regkeeper.retention.runs.restore_images import restore_reference
from regkeeper.retention.runs.run import Order, Outcome, carry_out
from regkeeper.retention.volume.layout import open_volume
from regkeeper.retention.volume.repository_reader import RepositoryReader
from tests.engine.planning import UNLIMITED, policies
from tests.engine.volumes import DAY, SECOND, Entry, Volume, files

STATE = "docker/registry/v2/.regkeeper"


@dataclass
class Runner:
    """The engine on one volume, at the volume's `now`.

    Attributes:
        root: what is mounted as /var/lib/registry.
        now: nanoseconds since 1970.
        guard: asked before each mutating call.
        stop: asked between two entries.
    """

    root: Path
    now: int
    guard: Guard = no_guard
    stop: Stop = never
    mode: Mode = Mode.READ_ONLY
    progress: Callable[[Move], None] = field(default=lambda _: None)
    quiet: Callable[[], None] = field(default=lambda: None)
    journal: Path | None = None

    @contextmanager
    def changing(self) -> Iterator[tuple[WritableVolume, WritableJournals]]:
        elsewhere = None if self.journal is None else str(self.journal)
        with (
            open_writable(str(self.root), self.guard, self.stop) as volume,
            lock.exclusive(volume),
            reserve.laid_in_again(volume),
            open_writable_journals(volume, elsewhere) as journals,
        ):
            yield volume, journals

    def retain(self, *specs: Mapping[str, Any], **options: Any) -> Outcome[Plan]:
        """A run of `retain` without limits."""
        return self.run("retain", merge(policies(*({"limits": UNLIMITED, **spec} for spec in specs))), **options)

    def delete(self, *references: str, undo_window: int = DAY, **options: Any) -> Outcome[Plan]:
        """A run of the command `delete`."""
        intent = deletion_intent(map(parse_reference, references), undo_window=undo_window * SECOND)
        return self.run("delete", intent, **options)

    def run(
        self, command: str, intent: Intent, *, in_use: InUse | None = None, now: int | None = None
    ) -> Outcome[Plan]:
        with self.changing() as (volume, journals):

            def make_plan(moment: int) -> Plan:
                return ask(
                    volume,
                    RepositoryReader(volume, pause=lambda _: None),
                    journals,
                    Inquiry(intent=intent, in_use=in_use, mode=self.mode),
                    now=moment,
                )

            order = Order(
                command=command,
                undo_window=intent.undo_window // SECOND,
                make_plan=make_plan,
                refuse_writers=self.quiet,
                now=now or self.now,
                in_use=in_use,
                progress=self.progress,
            )
            return carry_out(volume, journals, order, lambda: (now or self.now) / SECOND)

    def restore(self) -> Restored:
        """Undo the last run; nothing if what had not ended was put back."""
        with self.changing() as (volume, journals):
            recovered = recover(volume, journals, now=self.now)
            for restored in (*recovered.rolled_back.values(), *recovered.undone.values()):
                return restored
            return undo(volume, journals, last_undoable(journals), self.now)

    def restore_run(self, run: str) -> Restored:
        """Undo one run, or end its undo."""
        with self.changing() as (volume, journals):
            recovered = recover(volume, journals, now=self.now)
            return recovered.undone.get(run) or undo(volume, journals, undoable(journals, run), self.now)

    def restore_image(self, reference: str) -> Restored:
        """Bring one image back."""
        with self.changing() as (volume, journals):
            return restore_reference(volume, journals, parse_reference(reference), self.now)

    def stop_after(self, entries: int) -> None:
        """Let a SIGTERM come once so many entries were looked at."""
        answers = iter([None] * entries)
        self.stop = lambda: next(answers, "SIGTERM")

    def purge(self, *, now: int | None = None, in_use: InUse | None = None) -> Purged:
        """Purge what is due at `now`: two days later, if none is given."""
        moment = now or self.now + 2 * DAY * SECOND
        with self.changing() as (volume, journals):
            recover(volume, journals, now=moment)
            return purge(volume, journals, due(journals, volume, moment), now=moment, in_use=in_use)

    def journals(self) -> list[Journal]:
        with (
            open_volume(str(self.root)) as volume,
            open_journals(volume, None if self.journal is None else str(self.journal)) as journals,
        ):
            return journals.all()

    def moves(self, run: str) -> list[Move]:
        with open_volume(str(self.root)) as volume, open_journals(volume) as journals:
            return [move for _, move in journals.moves(run)]


def content(root: Path) -> dict[str, Entry]:
    """Every file of the registry itself, times included."""
    return files(root, ignore=lambda path: path == STATE)


def quarantined(root: Path) -> list[bytes]:
    """The contents of the files in the quarantine, whatever their numbers."""
    return sorted(entry.content for entry in files(root / STATE / "quarantine").values())


@dataclass
class Counting:
    """A guard that notes each call."""

    calls: list[str] = field(default_factory=list)

    def __call__(self, call: str) -> None:
        self.calls.append(call)


@dataclass
class Failing:
    """A guard that makes the call of one number fail, and with `lasting` every later one too."""

    number: int
    error: int
    lasting: bool
    seen: int = 0

    def __call__(self, call: str) -> None:
        self.seen += 1
        if self.seen == self.number or (self.lasting and self.seen > self.number):
            raise OSError(self.error, os.strerror(self.error), call)


@dataclass
class Killing:
    """A guard that kills its process, as nothing can hold back, before the call of one number."""

    number: int
    seen: int = 0

    def __call__(self, call: str) -> None:
        self.seen += 1
        if self.seen == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], object]) -> bool:
    """Do the work in a child process; answers whether it was killed. It must not fail otherwise."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def copied(volume: Volume, target: Path) -> Path:
    """A copy of the volume with owners, modes and times."""
    shutil.copytree(volume.root, target, symlinks=True, copy_function=shutil.copy2)
    return target


def linked(root: Path, target: Path) -> Path:
    """A copy that shares the registry's files, which the engine renames and removes but never writes."""
    _link(str(root), str(target), shares=True)
    return target


def _link(source: str, target: str, *, shares: bool) -> None:
    """One directory with all below it; what is the engine's own is copied, save for its quarantine."""
    os.mkdir(target)
    with os.scandir(source) as found:
        for each in found:
            copy = f"{target}/{each.name}"
            if each.is_dir(follow_symlinks=False):
                below = (shares and not each.path.endswith(f"/{STATE}")) or each.path.endswith(f"/{STATE}/quarantine")
                _link(each.path, copy, shares=below)
            elif shares:
                os.link(each.path, copy, follow_symlinks=False)
            else:
                shutil.copy2(each.path, copy, follow_symlinks=False)
    status = os.stat(source)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
