"""Brings single images back: named by a reference, or because somebody uses them."""

from collections.abc import Container

from regkeeper.retention.errors import NothingToUndoError
from regkeeper.retention.moments import moment
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.policies.references import Reference
from regkeeper.retention.quarantine.contents import Entry, Image, undoable_contents
from regkeeper.retention.quarantine.journal import State
from regkeeper.retention.quarantine.journal_writer import WritableJournals
from regkeeper.retention.quarantine.journals import Journals
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.runs.needed import used_again
from regkeeper.retention.runs.restore import Restored, end, put_generations_back, put_run_back, undo_images
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.layout import Volume
from regkeeper.retention.volume.places import run_directory


def restore_reference(volume: WritableVolume, journals: WritableJournals, reference: Reference, at: int) -> Restored:
    """Bring back the tags or manifests that a reference names, with their dependants, and mark them.

    A run of which no image is left in the quarantine is undone by that.

    Raises:
        NothingToUndoError: the quarantine has none; says when it was purged.
    """
    contents = undoable_contents(volume, journals)
    named = (entry for entry in contents.every_tag if _is_named(entry, reference))
    tags = {entry.move.path: entry for entry in named}.values()  # of each the last one that it names
    images = [image for entry in tags if (image := contents.tagged(entry)) is not None]
    images += [image for image in contents.revisions if _names_image(reference, image)]
    if not tags and not images:
        raise NothingToUndoError(f"nothing that can come back is named {reference.text}{_purged(journals, reference)}")
    restored = undo_images(volume, journals, tags, images, contents)
    for journal in map(journals.load, list(restored.runs)):
        if journal.state == State.DONE and not _has_images(volume, journals, journal.run):
            # No `undo`: it would bring back what a later run took of this one's images.
            emptied = put_run_back(volume, journals, journal.run)
            end(volume, journals, journal, State.RESTORED, at, emptied)
            restored.moves += emptied.moves
    return restored


def _has_images(volume: WritableVolume, journals: WritableJournals, run: str) -> bool:
    """Whether the quarantine of a run has more than the empty directories of repositories."""
    there = set(volume.names(run_directory(run)))
    return any(str(number) in there and move.kind != Kind.REPOSITORY for number, move in journals.moves(run))


def restore_used(volume: WritableVolume, journals: WritableJournals, in_use: InUse) -> Restored:
    """Bring back what is in use of all that was deleted, with what it needs. No mark: its use is what keeps it."""
    return put_generations_back(volume, all_used_generations(volume, journals, in_use))


def all_used_generations(volume: Volume, journals: Journals, in_use: InUse) -> list[list[Entry]]:
    """The entries in the quarantine that images in use need, as `used_generations` has them of some runs."""
    return used_generations(volume, journals, frozenset(journals.runs()), in_use)


def used_generations(volume: Volume, journals: Journals, runs: Container[str], in_use: InUse) -> list[list[Entry]]:
    """The entries in the quarantine that images in use of some runs need, in the order of `Needs`.

    A later run may have taken a part of them: a manifest that another tag kept, layers that young links held.
    """
    contents = undoable_contents(volume, journals, runs)
    tags, images = used_again(in_use, contents, runs)
    return contents.needs(images, tags=tags, dependants=True).generations


def _is_named(entry: Entry, reference: Reference) -> bool:
    move = entry.move
    if not reference.matches_repository(move.repository):
        return False
    if reference.whole_repository:
        return True
    named = reference.tag is not None and reference.matches_tag(move.name)
    return named and reference.digest in (None, digests.parse(move.digest))


def _names_image(reference: Reference, image: Image) -> bool:
    if not reference.matches_repository(image.repository):
        return False
    return reference.whole_repository or (reference.tag is None and image.digest == reference.digest)


def _purged(journals: WritableJournals, reference: Reference) -> str:
    for journal in reversed(journals.all()):
        if journal.state != State.PURGED:
            continue
        for number, move in journals.moves_of(journal.run, Kind.TAG):
            if _is_named(Entry(journal.run, number, move), reference):
                return f": it was purged at {moment(journal.at)} (run {journal.run})"
    return ""
