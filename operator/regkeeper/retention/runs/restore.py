"""Brings back what runs have moved: an open run entirely (rollback), a finished one (undo), or single images of it.

What is referred to comes back before what refers to it, so that at no moment a registry sees a manifest without its
blobs. Everything is renamed, never rewritten: content, owners and times are those of before.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from regkeeper.retention.errors import NothingToUndoError, StoppedError, translated
from regkeeper.retention.moments import moment
from regkeeper.retention.quarantine import reserve
from regkeeper.retention.quarantine.contents import UNDOABLE, Contents, Entry, Image, images_of, undoable_contents
from regkeeper.retention.quarantine.journal import Journal, State
from regkeeper.retention.quarantine.journal_writer import WritableJournals
from regkeeper.retention.quarantine.journals import Journals
from regkeeper.retention.quarantine.marks import write_mark
from regkeeper.retention.quarantine.moves import Kind, Move
from regkeeper.retention.quarantine.renames import drop_run_directory, entries_of, opened_parents, put_back
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.runs.brought_back import BroughtBack
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.places import run_directory


@dataclass
class Restored:
    """What came back.

    Attributes:
        runs: whose entries came back.
        moves: what came back.
        newer: tags that stayed in the quarantine because a newer push stands in their place.
        missing: what is nowhere any more: digests that what came back needs, as `alg:hex`, and tags that a purge had
            freed before it was interrupted, as `repository:tag`.
    """

    runs: list[str] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    newer: list[Move] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(move.bytes for move in self.moves)

    def add(self, other: "Restored") -> None:
        """Count another one in."""
        self.runs += other.runs
        self.moves += other.moves
        self.newer += other.newer
        self.missing = sorted({*self.missing, *other.missing})


def roll_back(volume: WritableVolume, journals: WritableJournals, journal: Journal, at: int) -> Restored:
    """Put everything back that an open run has moved."""
    restored = put_run_back(volume, journals, journal.run)
    end(volume, journals, journal, State.ROLLED_BACK, at, restored)
    return restored


def undo(volume: WritableVolume, journals: WritableJournals, journal: Journal, at: int) -> Restored:
    """Undo a finished run, or finish an undo, and mark what comes back.

    What another run took meanwhile, because nothing but this run's images needed it, comes back too.
    """
    contents = undoable_contents(volume, journals)
    needs = contents.needs(images_of(journals, journal.run), dependants=False)
    others = [[entry for entry in entries if entry.run != journal.run] for entries in needs.generations]
    taken = [entry.move for entries in others for entry in entries]
    reserve.on_full(
        volume, lambda: write_mark(volume, journal, chain((move for _, move in journals.moves(journal.run)), taken))
    )
    if journal.state != State.RESTORING:
        journal = journals.enter(journal, State.RESTORING, at)
    missing = map(digests.to_text, contents.missing(needs.images))
    restored = Restored(missing=[*missing, *_missing_tags(volume, journals, journal.run, contents)])
    brought_back = BroughtBack(volume, journals)
    restored.add(put_generations_back(volume, others, brought_back))
    restored.add(put_run_back(volume, journals, journal.run, brought_back))
    end(volume, journals, journal, State.RESTORED, at, restored)
    return restored


def end(
    volume: WritableVolume, journals: WritableJournals, journal: Journal, state: State, at: int, restored: Restored
) -> None:
    """Note that a run has come back, save for what a newer push stands in the place of."""
    journals.enter(journal, state, at, moves=len(restored.moves), remaining=len(entries_of(volume, journal.run)))
    drop_run_directory(volume, journal.run)


def undo_images(
    volume: WritableVolume,
    journals: WritableJournals,
    tags: Iterable[Entry],
    images: Iterable[Image],
    contents: Contents,
) -> Restored:
    """Bring single images back, with their dependants, from whatever runs have them, and mark them.

    Args:
        volume: Where they are.
        journals: Of the runs.
        tags: Entries of tags to bring back.
        images: Manifests to bring back; those of the tags among them.
        contents: Of all runs that can be undone.
    """
    needs = contents.needs(images, tags=tags, dependants=True)
    by_run: dict[str, list[Entry]] = defaultdict(list)
    for entries in needs.generations:
        for entry in entries:
            by_run[entry.run].append(entry)
    for run, of_run in sorted(by_run.items()):
        journal, moves = journals.load(run), [entry.move for entry in of_run]
        reserve.on_full(volume, partial(write_mark, volume, journal, moves))
    missing = [digests.to_text(digest) for digest in contents.missing(needs.images)]
    restored = put_generations_back(volume, needs.generations, BroughtBack(volume, journals))
    restored.missing = missing
    return restored


def last_undoable(journals: WritableJournals) -> Journal:
    """The last run that is done and not undone.

    Raises:
        NothingToUndoError: there is none.
    """
    every = journals.all()
    for journal in reversed(every):
        if can_be_undone(journal):
            return journal
    raise nothing_to_undo(every)


def undoable(journals: Journals, run: str) -> Journal:
    """The journal of a run that can be undone.

    Raises:
        NothingToUndoError: there is no such run, or it is undone or purged already.
    """
    if run not in journals.runs():
        raise NothingToUndoError(f"there is no run {run}: `regkeeper runs` lists them")
    journal = journals.load(run)
    if not can_be_undone(journal):
        raise NothingToUndoError(f"run {run} can't be undone: it was {_words(journal)}")
    return journal


def can_be_undone(journal: Journal) -> bool:
    """Whether a run is done and nothing has brought it back before."""
    return journal.state in UNDOABLE and not journal.came_back


def nothing_to_undo(journals: list[Journal]) -> NothingToUndoError:
    """What to say when no run can be undone: when the last one was purged."""
    purged = [journal for journal in journals if journal.state == State.PURGED]
    when = f": the last one, {purged[-1].run}, was {_words(purged[-1])}" if purged else ""
    return NothingToUndoError(f"there is no run to undo{when}")


def _words(journal: Journal) -> str:
    if journal.undone:
        return f"restored at {moment(journal.undone)}"
    if journal.rolled_back:
        return f"rolled back at {moment(journal.rolled_back)}"
    return f"{journal.state.replace('-', ' ')} at {moment(journal.at)}"


def _missing_tags(volume: WritableVolume, journals: WritableJournals, run: str, contents: Contents) -> Iterable[str]:
    """Tags of a run that are neither where they were nor in a quarantine: an interrupted purge begins with them."""
    for _, move in journals.moves_of(run, Kind.TAG):
        entry = contents.tags.get((move.repository, move.name))
        # Of one that it was just removing the link may be gone, and the directory not yet.
        link = "/current/link" if move.witness else ""
        if not any(volume.exists(f"{place}{link}") for place in (move.path, *([entry.path] if entry else []))):
            yield f"{move.repository}:{move.name}"


def put_run_back(
    volume: WritableVolume, journals: WritableJournals, run: str, brought_back: BroughtBack | None = None
) -> Restored:
    """Put back what the quarantine of a run has, and nothing of other runs; no mark is written.

    `brought_back`: of what stands in the place of its tags tells what was pushed before them, and does not stay.
    """
    if not volume.exists(run_directory(run)):
        return Restored(runs=[run])
    return _put_back(volume, run, journals.moves_backwards(run), brought_back)


def put_generations_back(
    volume: WritableVolume, generations: Iterable[Iterable[Entry]], brought_back: BroughtBack | None = None
) -> Restored:
    """Put single entries back, of whatever runs, one generation of dependants after the other."""
    restored = Restored()
    for entries in generations:
        restored.add(_put_entries_back(volume, entries, brought_back))
    restored.runs = sorted(set(restored.runs))
    return restored


def _put_entries_back(volume: WritableVolume, entries: Iterable[Entry], brought_back: BroughtBack | None) -> Restored:
    backwards = list(reversed(Kind))
    by_run: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_run[entry.run].append(entry)
    restored = Restored()
    # Kind by kind over all runs: a blob of one run comes back before the link to it of another.
    for kind in backwards:
        for run, of_run in sorted(by_run.items()):
            chosen = [(entry.number, entry.move) for entry in of_run if entry.move.kind == kind]
            if chosen:
                restored.add(_put_back(volume, run, chosen, brought_back))
    return restored


def _put_back(
    volume: WritableVolume, run: str, moves: Iterable[tuple[int, Move]], brought_back: BroughtBack | None
) -> Restored:
    restored = Restored(runs=[run])
    path = run_directory(run)
    with translated(path), volume.directory(path) as quarantine, opened_parents(volume) as parents:
        there = entries_of(volume, run)
        kind: Kind | None = None
        for number, move in moves:
            if number not in there:
                continue
            if reason := volume.stop():
                raise StoppedError(
                    f"{reason}: stopped after {len(restored.moves)} entries had come back from run {run}; "
                    "the rest comes back when this is repeated"
                )
            if move.kind != kind:
                parents.sync()
                kind = move.kind
            former = brought_back.take_away(move) if brought_back is not None and move.kind is Kind.TAG else None
            whole = put_back(volume, quarantine, number, parents, move)
            if brought_back is not None and former is not None:
                brought_back.merge(former)
            if whole:
                restored.moves.append(move)
            elif move.kind == Kind.TAG:  # whatever else was pushed again is the same, by its digest
                restored.newer.append(move)
        parents.sync()
        volume.sync(quarantine)
    return restored
