"""Is nobody else writing to the volume? Looks at the volume itself; probe.py asks a registry that is named.

A second registry, a backup or a forgotten `docker run registry` may write to the same directory, so what the volume
shows is looked at in every mode: an upload under way, and links that changed after the mark began.
"""

import errno
import os
from collections.abc import Callable, Collection, Container, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

from regkeeper.retention.errors import NotQuietError
from regkeeper.retention.moments import SECOND
from regkeeper.retention.processes.spread import spread
from regkeeper.retention.volume.layout import (
    LAYERS,
    REVISIONS,
    TAGS,
    UPLOADS,
    Volume,
    repository_path,
    walk_repositories,
)

UPLOAD_SECONDS = 600
"""An upload touched more recently counts as being under way."""

_TELLS_NOTHING = frozenset({errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Error numbers by which nobody knows whether something is there."""

_CLOCK_SKEW = 60 * SECOND
"""How far the clocks of the servers of one network filesystem may be apart."""


class Mode(StrEnum):
    """What the registry does while the engine works."""

    READ_ONLY = "ReadOnly"
    """Pulls go on, pushes are refused."""
    OFFLINE = "Offline"
    """The registry is stopped."""


def refuse_pull_through_cache(volume: Volume, mode: Mode) -> None:
    """Refuse a cache of another registry while it runs: it writes on pulls, even when it is read-only.

    Raises:
        NotQuietError: it is one.
    """
    if mode != Mode.OFFLINE and os.path.exists(os.path.join(volume.path, "../../../scheduler-state.json")):
        raise NotQuietError(
            "this is the volume of a pull-through cache (scheduler-state.json), which writes even when it is "
            "read-only: stop it and use --mode Offline"
        )


class Upload(NamedTuple):
    """A push of a blob that was begun and not ended, as it is at a moment."""

    repository: str
    name: str
    touched: int
    """Nanoseconds since 1970."""

    def age(self, *, now: int, clock: int) -> int | None:
        """Nanoseconds since it was touched; None: it is no sign of life.

        A time that is far ahead is none either: it came with a copy, or from a clock that was wrong.
        """
        ages = [age for age in (abs(clock - self.touched), now - self.touched) if 0 <= age < UPLOAD_SECONDS * SECOND]
        return min(ages, default=None)


def uploads(volume: Volume) -> Iterator[Upload]:
    """All uploads."""
    for found in walk_repositories(volume):
        path = f"{repository_path(found.name)}/{UPLOADS}"
        names: list[str] = []
        with _passing_over_unreadable():
            names = [] if found.problem else volume.names(path)
        for name in names:
            touched = max(_times(volume, f"{path}/{name}", ("startedat", "data")), default=0)
            yield Upload(found.name, name, touched)


def refuse_uploads(volume: Volume, *, now: int, clock: int, given_up: Container[Upload] = ()) -> None:
    """Refuse to go on beside an upload that was touched in the last ten minutes.

    Args:
        volume: Where to look.
        now: Nanoseconds since 1970: what the run takes for the present.
        clock: The same by the volume's own clock; differs from `now` where the caller chose one.
        given_up: Uploads with which nobody can go on, unless they were touched since.

    Raises:
        NotQuietError: names the upload, when it was touched, and what helps.
    """
    for upload in uploads(volume):
        age = upload.age(now=now, clock=clock)
        if age is not None and upload not in given_up:
            seconds = age // SECOND
            raise NotQuietError(
                f"something writes here: an upload to {upload.repository} ({upload.name}) was touched {seconds} s ago. "
                f"Wait until its push has ended; one that nobody ends stops counting in {UPLOAD_SECONDS - seconds} s"
            )


def _times(volume: Volume, path: str, names: Collection[str]) -> list[int]:
    times = []
    for name in names:
        with _passing_over_unreadable(), volume.directory(path) as directory:
            times.append(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns)
    return times


def refuse_changes(
    volume: Volume, since: int, clock: Callable[[], int], ours: Collection[str] = (), *, processes: int = 1
) -> None:
    """Refuse to go on when a link was written after the mark began.

    It is told by ctimes, which no writer can choose. One that is ahead of the clock is of a clock that was wrong.

    Args:
        volume: Where to look.
        since: Nanoseconds since 1970 by the volume's own clock. A write within the same tick of that clock as the
            mark's beginning (4 ms at most on Linux before 6.13) is not seen here, but by the witness of each move.
        clock: What the volume's own clock says now.
        ours: Directories out of which this run has moved something, so that they changed themselves.
        processes: How many may look at once.

    Raises:
        NotQuietError: names what changed.
    """
    paths = [repository_path(found.name) for found in walk_repositories(volume) if not found.problem]

    def look(numbers: Iterator[int]) -> Iterator[tuple[int, str]]:
        for number in numbers:
            yield from _changes(volume, paths[number], since, ours)

    changes = list(spread(len(paths), look, processes))
    latest = clock() + _CLOCK_SKEW if changes else 0
    for changed, path in changes:
        if changed <= latest:
            raise NotQuietError(f"something writes here: {path} changed while the run was under way")


def _changes(volume: Volume, path: str, since: int, ours: Collection[str]) -> Iterator[tuple[int, str]]:
    """The ctimes after `since` in a repository, with their paths."""
    yield from _changed_tags(volume, f"{path}/{TAGS}", since)
    for parent in (f"{path}/{REVISIONS}", f"{path}/{LAYERS}"):
        algorithms: list[str] = []
        with _passing_over_unreadable():
            algorithms = volume.names(parent)
        # A run may have taken what a push by digest needs. Where its revision was deleted through the API, the push
        # writes into the directory that this left, and changes none of those that hold such directories.
        within = bool(ours) and parent.endswith(REVISIONS)
        for algorithm in algorithms:
            yield from _changed_links(volume, f"{parent}/{algorithm}", since, ours, within=within)


def _changed_tags(volume: Volume, path: str, since: int) -> Iterator[tuple[int, str]]:
    """A re-push rewrites `current/link` in place up to distribution 3.0, so that no directory shows it."""
    with _passing_over_unreadable(), volume.directory(path) as directory:
        for tag in os.listdir(directory):
            changed = _changed_at(directory, f"{tag}/current/link")
            if changed > since:
                yield changed, f"{path}/{tag}"


def _changed_links(
    volume: Volume, path: str, since: int, ours: Collection[str], *, within: bool
) -> Iterator[tuple[int, str]]:
    """What changed of a directory of links; `within`: what is in it is looked at though it did not change itself."""
    with _passing_over_unreadable(), volume.directory(path) as directory:
        changed = os.fstat(directory).st_ctime_ns
        if changed > since and path not in ours:
            yield changed, path
            return
        if changed <= since and not within:
            return
        for name in os.listdir(directory):
            changed = _changed_at(directory, name)
            if changed > since:
                yield changed, f"{path}/{name}"


def _changed_at(directory: int, path: str) -> int:
    """When what is at a path changed, ctime in nanoseconds; 0 if that can't be told. Nothing behind it is read.

    Raises:
        PermissionError: it may not be looked at by this user.
    """
    try:
        return os.stat(path, dir_fd=directory, follow_symlinks=False).st_ctime_ns
    except PermissionError:
        raise
    except OSError:
        return 0


@contextmanager
def _passing_over_unreadable() -> Iterator[None]:
    """What can't be opened is not there, or pins its repository, and stops nothing else.

    Raises:
        OSError: it may not be opened by this user, or nothing more may be opened by this process.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _TELLS_NOTHING:
            raise
