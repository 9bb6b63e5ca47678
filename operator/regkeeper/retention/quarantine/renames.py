"""Renames into a run's quarantine and back out of it.

Back: what a registry wrote in the meantime wins, and what it left out comes back, so two trees are merged name by name.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple

from regkeeper.retention.errors import translated
from regkeeper.retention.processes.at_once import at_once
from regkeeper.retention.quarantine import reserve
from regkeeper.retention.quarantine.journal import State
from regkeeper.retention.quarantine.journals import Journals, damaged
from regkeeper.retention.quarantine.moves import Kind, Move
from regkeeper.retention.quarantine.storage import DIRECTORY_FLAGS, WritableVolume, components
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.beneath import open_file
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import Volume, read_link
from regkeeper.retention.volume.patient_links import PatientLinks
from regkeeper.retention.volume.places import QUARANTINE, run_directory

_MANY = 64
"""Directories from which on several are made durable at once: disks and servers do that together."""

_THREADS = 8

_PIECE_BYTES = 1 << 20

_HOLDING = frozenset({State.OPEN, State.DONE, State.RESTORING, State.PURGING})
"""States in which a run has its directory in the quarantine, empty or not."""


class Parents:
    """The directories that a series of renames touches: the last one stays open, and all are made durable at once.

    Attributes:
        links: reads those that may be in the midst of being written.
    """

    def __init__(self, volume: WritableVolume) -> None:
        self._volume = volume
        self._path = ""
        self._descriptor = -1
        self._touched: dict[str, None] = {}
        self.links = PatientLinks()

    def open(self, path: str, *, make: bool = False) -> int:
        """The descriptor of the directory `path`, valid until the next call."""
        if path != self._path:
            self.close()
            self._descriptor = self._volume.make_directories(path) if make else self._volume.open_directory(path)
            self._path = path
        return self._descriptor

    def touch(self) -> None:
        """Remember that an entry of the open directory changed."""
        self._touched[self._path] = None

    def sync(self) -> None:
        """Make all changes so far durable."""
        touched, self._touched = self._touched, {}
        if len(touched) < _MANY:
            for path in touched:
                with translated(path):
                    self._volume.sync(self.open(path))
        else:
            at_once(self._sync_one, touched, _THREADS)

    def _sync_one(self, path: str) -> None:
        with translated(path):
            descriptor = self._volume.open_directory(path)
            try:
                self._volume.sync(descriptor)
            finally:
                os.close(descriptor)

    @property
    def touched(self) -> frozenset[str]:
        return frozenset(self._touched)

    def close(self) -> None:
        if self._path:
            os.close(self._descriptor)
            self._path = ""


@contextmanager
def opened_parents(volume: WritableVolume) -> Iterator[Parents]:
    parents = Parents(volume)
    try:
        yield parents
    finally:
        parents.close()


def split(move: Move) -> tuple[str, str]:
    """The directory that holds what is moved, and its name there."""
    *parents, name = components(move.path)
    return "/".join(parents), name


def put_back(volume: WritableVolume, quarantine: int, number: int, parents: Parents, move: Move) -> bool:
    """Rename one entry back to where it was, if it is still in the quarantine.

    Returns:
        Whether all of it is where it was. False: something newer stands there, and the entry stays in the quarantine.

    Raises:
        StorageError: a rename failed.
    """
    name = str(number)
    with translated(move.path):
        if not _is_there(quarantine, name):
            return True
        path, target = split(move)
        parent = reserve.on_full(volume, partial(parents.open, path, make=True))
        digest = digests.parse(move.name) if move.kind in (Kind.BLOB, Kind.MANIFEST_BLOB) else None
        whole = _merge(_Return(volume, parents.links, digest), quarantine, name, parent, target)
        parents.touch()
        return whole


class _Return(NamedTuple):
    """One entry that comes back; `digest`: of a blob."""

    volume: WritableVolume
    links: PatientLinks
    digest: Digest | None


def _merge(entry: _Return, source: int, name: str, parent: int, target: str) -> bool:
    volume, links, digest = entry
    free = not _is_there(parent, target)
    if free or _is_of_failed_push(source, name, parent, target, digest):
        rename = volume.rename_to_free if free else volume.rename
        try:
            reserve.on_full(volume, partial(rename, source, name, parent, target))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # A push has just made it. That of a tag is the newer one, and its link is not to be overwritten.
            if name == "current":
                return False
        else:
            return True
    if not (_is_directory(source, name) and _is_directory(parent, target)):
        return False
    inner = os.open(name, DIRECTORY_FLAGS, dir_fd=source)
    outer = os.open(target, DIRECTORY_FLAGS, dir_fd=parent)
    try:
        # A tag that was pushed since points to what that push says; its history has what it pointed to before.
        pushed_since = _points_somewhere(inner, links) and _points_somewhere(outer, links)
        whole = not pushed_since
        for child in sorted(os.listdir(inner)):
            if child != "current" or not pushed_since:
                whole &= _merge(entry, inner, child, outer, child)
        volume.sync(outer)
    finally:
        os.close(inner)
        os.close(outer)
    if whole:
        volume.remove_directory(source, name)
    return whole


def _is_there(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_of_failed_push(source: int, name: str, parent: int, target: str, digest: Digest | None) -> bool:
    """Whether what stands in the place of something is what a push leaves that fails on a full volume, or in a crash.

    An empty directory can be replaced if it still is empty, which the kernel sees to. What lies in a directory that is
    named by its digest has but one content, whoever may be about to write it; of a blob, one that is shorter is half
    written, unless it was the other that was damaged. The link of a tag is asked about only if its tag does not point
    anywhere.
    """
    if _is_directory(source, name) and _is_directory(parent, target):
        return not _names(parent, target)
    ours, other = (os.stat(path, dir_fd=at, follow_symlinks=False) for path, at in ((name, source), (target, parent)))
    if not (stat.S_ISREG(ours.st_mode) and stat.S_ISREG(other.st_mode)):
        return False
    if name == "data" and digest is not None:
        return ours.st_size > other.st_size and not _has_digest(parent, target, digest)
    return name == "link" and _reads_well(source, name) and not _reads_well(parent, target)


def _has_digest(parent: int, data: str, digest: Digest) -> bool:
    hasher = digests.hasher(digests.algorithm_of(digest))
    with os.fdopen(open_file(parent, data), "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            hasher.update(piece)
    return bool(hasher.digest() == digest[1:])


def _reads_well(parent: int, link: str) -> bool:
    """Whether a file is a link; so is one that may not be read, and stays as it is."""
    with suppress(PermissionError):
        content, _ = read_link(parent, link)
        return digests.parse(content.decode("ascii", "replace")) is not None
    return True


def _points_somewhere(tag: int, links: PatientLinks) -> bool:
    """Whether a tag's directory says what it points to, or may be about to: a push that failed left an empty link."""
    try:
        link = links.look(tag, "current/link")
    except PermissionError:
        return True
    return link is not None and link.digest is not None


def _names(parent: int, name: str) -> list[str]:
    descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _is_directory(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def drop_run_directory(volume: WritableVolume, run: str) -> bool:
    """Remove the run's quarantine if it is empty; answers whether it is gone."""
    with translated(run_directory(run)):
        try:
            with volume.directory(QUARANTINE) as quarantine:
                volume.remove_directory(quarantine, run)
                volume.sync(quarantine)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
    return True


def refuse_lost_plans(volume: Volume, journals: Journals) -> None:
    """Refuse to go on beside a quarantine whose journal has lost what it planned (a repaired or once full disk).

    Raises:
        DamagedJournalError: names the run.
    """
    # The quarantine is looked at first: what lies in it has a plan that is durable.
    for run in [run for run in volume.names(QUARANTINE) if volume.names(run_directory(run))]:
        if run in journals.runs() and journals.load(run).state == State.UNPLANNED:
            raise damaged(run, "it ends before the plan of what was moved")


def foreign_quarantine(volume: Volume, journals: Journals) -> str:
    """What to say of a quarantine and journals that are not of one another; empty: they are.

    A quarantine without its journal may be an open run's. A journal without its quarantine may be another volume's,
    whose run would end here without coming back there.
    """
    strangers = sorted(set(volume.names(QUARANTINE)) - set(journals.runs()))
    if strangers:
        return (
            f"the quarantine holds {', '.join(strangers[:5])}, whose journal is not here: if it was written elsewhere, "
            f"say where (--journal); if it is lost, move {volume.path}/{run_directory(strangers[0])} away"
        )
    if not journals.elsewhere:
        return ""
    every = journals.all()
    foreign = [j.run for j in every if j.state in _HOLDING and volume.device(run_directory(j.run)) is None]
    if foreign:
        return (
            f"the journals in the directory of --journal are of another volume: {', '.join(foreign[:5])} has no "
            "quarantine here. Each volume needs a directory of its own; if that quarantine is lost, move the journal "
            "away"
        )
    newer = [j.run for j in every if j.remaining is not None and len(entries_of(volume, j.run)) > j.remaining]
    if not newer:
        return ""
    return (
        f"the volume is older than the journals in the directory of --journal: the quarantine holds what came back, or "
        f"was freed, from {', '.join(newer[:5])}. Bring the journals back from the backup of the volume, too"
    )


def entries_of(volume: Volume, run: str) -> set[int]:
    """The numbers of what the quarantine of a run has."""
    return {int(name) for name in volume.names(run_directory(run)) if name.isdecimal()}
