"""Runs may be undone in any order: of the tags that they took, the one that was pushed last stands in the end.

Where the tag of an earlier run has come back before that of a later one, it goes back into the quarantine, as if the
later one had been undone first and the earlier had found a newer push. Whatever a client pushed since stays.
"""

import os
from contextlib import suppress
from functools import cached_property, partial
from typing import NamedTuple

from regkeeper.retention.quarantine import reserve
from regkeeper.retention.quarantine.contents import UNDOABLE
from regkeeper.retention.quarantine.journal_writer import WritableJournals
from regkeeper.retention.quarantine.moves import Kind, Move
from regkeeper.retention.quarantine.renames import opened_parents, put_back, split
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.volume.places import run_directory


class Former(NamedTuple):
    """A tag of an earlier run, with its place in the quarantine of that."""

    run: str
    number: int
    move: Move

    @property
    def place(self) -> str:
        return f"{run_directory(self.run)}/{self.number}"


class BroughtBack:
    """The tags of all runs, by which what came back of them is told from what was pushed since.

    Args:
        volume: where they may stand.
        journals: of the runs.
    """

    def __init__(self, volume: WritableVolume, journals: WritableJournals) -> None:
        self._volume = volume
        self._journals = journals

    def take_away(self, move: Move) -> Former | None:
        """Move what stands in the place of a tag back into the quarantine, if it was pushed before that.

        Which is so if a run had taken it before any took the other: a run may take again what came back.
        """
        # In the place of one that can't be read whatever can stays.
        former = self._former(move.path, move.path) if move.digest else None
        if former is None or self._volume.exists(former.place):
            return None
        first = self._tags.get((move.path, move.witness))
        if first is None or former.run >= first.run:
            return None
        self._expect_more(former.run)
        parent, name = split(former.move)
        quarantine = reserve.on_full(self._volume, partial(self._volume.make_directories, run_directory(former.run)))
        try:
            with self._volume.directory(parent) as tags:
                reserve.on_full(self._volume, partial(self._volume.rename, tags, name, quarantine, str(former.number)))
                if self._former(move.path, former.place) != former:
                    # Somebody pushed just before; who has pushed again since makes a tag of his own.
                    with suppress(FileExistsError):
                        self._volume.rename_to_free(quarantine, str(former.number), tags, name)
                    return None
        finally:
            os.close(quarantine)
        return former

    def _expect_more(self, run: str) -> None:
        """Note, before it is so, that the quarantine of a run has more than the run has left there."""
        journal = self._journals.load(run)
        if journal.remaining is not None:
            self._journals.enter(journal, journal.state, journal.at)

    def _former(self, path: str, place: str) -> Former | None:
        """The first run that took a tag whose path this is, and which is now at some place."""
        status = self._volume.status(f"{place}/current/link")
        return None if status is None else self._tags.get((path, (status.st_ino, status.st_ctime_ns)))

    def merge(self, former: Former) -> None:
        """Bring the history back of what was taken away, now that a later push stands in its place."""
        with self._volume.directory(run_directory(former.run)) as quarantine, opened_parents(self._volume) as parents:
            put_back(self._volume, quarantine, former.number, parents, former.move)
            parents.sync()
            self._volume.sync(quarantine)

    @cached_property
    def _tags(self) -> dict[tuple[str, tuple[int, int] | None], Former]:
        """By path, inode and ctime of the link, which a push changes and no rename of the tag's directory does."""
        return {
            (move.path, move.witness): Former(journal.run, number, move)
            for journal in reversed(self._journals.all())
            if journal.came_back or journal.state in UNDOABLE
            for number, move in self._journals.moves_of(journal.run, Kind.TAG)
            if move.witness is not None
        }
