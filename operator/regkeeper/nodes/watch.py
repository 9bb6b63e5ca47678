"""Waking up when something on the node changes, by inotify; asleep otherwise."""

import os
import select
from collections.abc import Iterable

from inotify_simple import INotify, flags

_EVENTS = flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.CLOSE_WRITE | flags.ATTRIB
_ONLY = flags.ONLYDIR | flags.DONT_FOLLOW
_SETTLE_MILLISECONDS = 50
"""A change is rarely one event; what follows within this time belongs to it."""


class Watcher:
    """Watches names in directories; never a file itself, which a rename would take away from under the watch."""

    def __init__(self, root: str) -> None:
        """Watch nothing yet.

        Args:
            root: where the node's `/` is seen.
        """
        self._root = root.rstrip("/")
        self._inotify = INotify(nonblocking=True)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._inotify.fileno(), select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        self._watched: dict[int, set[str]] = {}
        """Watch descriptor → names that matter; `*` for all."""

    def watch(self, paths: Iterable[str], *, outside: Iterable[str] = ()) -> bool:
        """Watch exactly these.

        Args:
            paths: of the node. One that ends in `/` stands for everything in that directory and those in it, another
                for its own name.
            outside: directories that are not the node's (the mounted list).

        Returns:
            True if a watch is new, so that something may have happened before it.
        """
        wanted: dict[int, set[str]] = {}
        for path in paths:
            if path.endswith("/"):
                self._watch_tree(self._root + path.rstrip("/"), wanted)
            else:
                self._watch_name(self._root + path, wanted)
        for directory in outside:
            self._add(directory, "*", wanted)
        new = not wanted.keys() <= self._watched.keys()
        for descriptor in self._watched.keys() - wanted.keys():
            try:
                self._inotify.rm_watch(descriptor)
            except OSError:
                continue  # the kernel dropped it with its directory
        self._watched = wanted
        return new

    def wait(self, seconds: float) -> bool:
        """Sleep until something that is watched changes, `wake` is called, or the time has passed.

        Returns:
            True if something that is watched changed.
        """
        milliseconds = max(1, round(seconds * 1000))
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll(milliseconds)}
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if self._inotify.fileno() in ready and self._drain():
                while self._poll.poll(_SETTLE_MILLISECONDS) and self._drain():
                    pass
                return True
            if not ready or self._wake in ready:
                return False

    def wake(self) -> None:
        """End a `wait`, from any thread or signal handler."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Watch no more."""
        self._inotify.close()
        os.close(self._wake)

    def _drain(self) -> bool:
        """Take every event that is there; True if one matters."""
        matters = False
        for event in self._inotify.read(timeout=0):
            names = self._watched.get(event.wd, set())
            # IN_IGNORED and IN_Q_OVERFLOW: a watched directory went, or events were lost.
            lost = event.mask & (flags.IGNORED | flags.Q_OVERFLOW)
            matters |= bool(lost and names) or "*" in names or event.name in names
        return matters

    def _watch_name(self, path: str, wanted: dict[int, set[str]]) -> None:
        """Watch a name in its directory, or the name of the first directory that is missing on the way."""
        directory, name = os.path.split(path)
        while not os.path.isdir(directory) and directory not in ("", "/"):
            directory, name = os.path.split(directory)
        self._add(directory or "/", name, wanted)

    def _watch_tree(self, path: str, wanted: dict[int, set[str]]) -> None:
        self._watch_name(path, wanted)
        if os.path.isdir(path) and not os.path.islink(path):
            self._add(path, "*", wanted)
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        self._add(entry.path, "*", wanted)

    def _add(self, directory: str, name: str, wanted: dict[int, set[str]]) -> None:
        try:
            descriptor = self._inotify.add_watch(directory, _EVENTS | _ONLY)
        except OSError:
            return  # it went, or is a symlink, which is not followed; the next pass by the clock sees what happened
        wanted.setdefault(descriptor, set()).add(name)
