"""One run that deletes: purge what is due, plan, journal, renames, purge again if it can't wait."""

import os
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

from regkeeper.retention.errors import NotQuietError, RetentionError, StoppedError, UnverifiedError, translated
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.processes.stop import never
from regkeeper.retention.quarantine import reserve
from regkeeper.retention.quarantine.history import due
from regkeeper.retention.quarantine.immovable import note_immovable
from regkeeper.retention.quarantine.journal import Journal, State
from regkeeper.retention.quarantine.journal_writer import WritableJournals
from regkeeper.retention.quarantine.moves import Kind, Move, Plan
from regkeeper.retention.quarantine.renames import drop_run_directory
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.runs.permission import refuse_impossible
from regkeeper.retention.runs.purge import Purged, purge
from regkeeper.retention.runs.quiet import Upload, refuse_changes, refuse_uploads
from regkeeper.retention.runs.recovery import Recovered, recover
from regkeeper.retention.runs.restore import roll_back
from regkeeper.retention.runs.sweep import sweep
from regkeeper.retention.volume.places import LEFT, run_directory

AnyPlan = TypeVar("AnyPlan", bound=Plan)


@dataclass(frozen=True, kw_only=True)
class Order(Generic[AnyPlan]):
    """What a run is to do.

    Attributes:
        command: `retain` or `delete`.
        undo_window: Seconds for which it can be undone; 0: it is purged in the same run.
        make_plan: Given the run's `now` in nanoseconds; raises to refuse the run, and nothing is deleted.
        refuse_writers: Raises `NotQuietError` when the registry is not as quiet as the mode asks for.
        now: Nanoseconds since 1970 by which all ages are judged; None: the volume's own clock.
        in_use: What is in use now; None: not asked for.
        progress: Told of each move that was made.
        given_up: Uploads with which nobody can go on (`refuse_uploads`).
        processes: How many may look at the volume at once.
        cleared: Told what earlier runs had left and what was due, which is done though the run be refused then.
    """

    command: str
    undo_window: int
    make_plan: Callable[[int], AnyPlan]
    refuse_writers: Callable[[], None]
    now: int | None
    in_use: InUse | None
    progress: Callable[[Move], None]
    given_up: Container[Upload] = ()
    processes: int = 1
    cleared: Callable[[Recovered, Purged], None] = lambda _recovered, _purged: None


@dataclass
class Outcome(Generic[AnyPlan]):
    """What a run did.

    Attributes:
        plan: What it was to do.
        journal: Of the run; None: there was nothing to delete.
        recovered: What earlier runs had left.
        purged: What was freed, by this run's window or because it was due.
    """

    plan: AnyPlan
    journal: Journal | None
    recovered: Recovered
    purged: list[Purged] = field(default_factory=list)


def carry_out(
    volume: WritableVolume, journals: WritableJournals, order: Order[AnyPlan], clock: Callable[[], float]
) -> Outcome[AnyPlan]:
    """Delete what a plan says. The caller holds the volume's lock.

    Args:
        volume: What to change.
        journals: Of all its runs.
        order: What to do.
        clock: Seconds since 1970; used for the run's name, and for times in journals when `order.now` is None.

    Raises:
        NotQuietError: something writes to the volume; everything is where it was.
        RetentionError: it was refused, or failed; what was moved already is put back by the next run.
    """
    now = round(clock() * 10**9) if order.now is None else order.now
    recovered = recover(volume, journals, now=now)
    purged = _purge(volume, journals, due(journals, volume, now), order, now)
    order.cleared(recovered, purged)
    started = datetime.fromtimestamp(clock(), UTC)
    plan, journal = reserve.on_full(volume, lambda: _prepare(volume, journals, order, started))
    try:
        outcome = Outcome(plan, journal, recovered, [purged])
        if journal is not None:
            outcome.journal = _sweep(volume, journals, order, plan, journal)
            if order.undo_window == 0:
                outcome.purged.append(_purge(volume, journals, [outcome.journal], order, now))
        _record_repositories(volume, plan)
        return outcome
    finally:
        reserve.replenish(volume)


def _record_repositories(volume: WritableVolume, plan: Plan) -> None:
    """Record how many are left. The run is done, though there be no room for this: an older record is stricter."""
    gone = {move.repository for move in plan.moves if move.kind == Kind.REPOSITORY}
    with suppress(OSError, StoppedError):
        volume.replace_file(LEFT, f"{plan.repositories - len(gone)}\n".encode())


def _purge(
    volume: WritableVolume, journals: WritableJournals, due_journals: list[Journal], order: Order[AnyPlan], now: int
) -> Purged:
    """Purge on the way to something else, which goes on all the same where nothing could be freed safely."""
    try:
        return purge(volume, journals, due_journals, now=now, in_use=order.in_use, given_up=order.given_up)
    except (UnverifiedError, NotQuietError) as error:
        return Purged(unverified=str(error))


def _prepare(
    volume: WritableVolume, journals: WritableJournals, order: Order[AnyPlan], started: datetime
) -> tuple[AnyPlan, Journal | None]:
    """Everything up to the first rename. Whatever fails in here leaves no trace of the run."""
    run = journals.next_run(started)
    with translated("the journal"):
        journal = None
        try:
            journal = journals.begin(run=run, command=order.command, undo_window=order.undo_window, now=order.now)
            # On a full volume it may be a directory that the plan would move.
            os.close(volume.make_directories(run_directory(run)))
            plan = order.make_plan(journal.header.now)
            if plan.moves:
                return plan, _open(volume, journals, order, plan, journal)
        except BaseException:
            with suppress(RetentionError, OSError):
                _discard(volume, journals, run)
                journals.leave_no_trace()
            raise
        _discard(volume, journals, run)
        return plan, None


def _open(
    volume: WritableVolume, journals: WritableJournals, order: Order[AnyPlan], plan: AnyPlan, journal: Journal
) -> Journal:
    order.refuse_writers()
    refuse_uploads(volume, now=journal.header.now, clock=journals.clock(journal), given_up=order.given_up)
    refuse_changes(volume, journal.header.began, lambda: journals.clock(journal), processes=order.processes)
    with volume.directory(run_directory(journal.run)) as quarantine:
        refuse_impossible(volume, quarantine, plan.moves)
        volume.sync(quarantine)
    return journals.plan(journal, plan=plan.hash, policies=plan.policies, moves=plan.moves)


def _discard(volume: WritableVolume, journals: WritableJournals, run: str) -> None:
    drop_run_directory(volume, run)
    if run in journals.runs():
        journals.discard(run)


def _sweep(
    volume: WritableVolume, journals: WritableJournals, order: Order[AnyPlan], plan: AnyPlan, journal: Journal
) -> Journal:
    path = run_directory(journal.run)
    with translated(path):
        try:
            with volume.directory(path) as quarantine:
                swept = sweep(volume, quarantine, plan, progress=order.progress)
            refuse_changes(
                volume,
                journal.header.began,
                lambda: journals.clock(journal),
                swept.touched,
                processes=order.processes,
            )
        except NotQuietError:
            # Whoever writes may need what was moved: it goes back at once and to the end, not with the next run.
            volume.stop = never
            roll_back(volume, journals, journal, journal.header.now)
            raise
        note_immovable(volume, swept.half_written)
        return journals.enter(journal, State.DONE, journal.header.now, moves=journal.count, bytes=journal.bytes)
