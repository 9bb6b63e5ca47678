"""The one room in which a volume is changed: every mutating system call of the engine is made by `WritableVolume`.

All of them go through descriptors of directories that were opened component by component with `O_NOFOLLOW`, so that
no name from the volume (a symbolic link, `..`) leads out of it. Before each call the volume's `guard` is asked: it is
how the absolute end time holds, and where tests kill the process or make the call fail.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from regkeeper.retention.errors import RefusedError, StoppedError
from regkeeper.retention.processes.stop import Stop, never
from regkeeper.retention.quarantine.no_replace import rename_to_free
from regkeeper.retention.volume.beneath import open_directory
from regkeeper.retention.volume.layout import (
    BLOBS,
    REPOSITORIES,
    UPLOADS,
    Volume,
    open_volume,
    repository_path,
    walk_repositories,
)
from regkeeper.retention.volume.places import KEPT, QUARANTINE, RESERVE

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a volume without space or inodes."""

_NEEDED = (QUARANTINE, KEPT, REPOSITORIES, BLOBS)
"""Directories without which nothing can be deleted, or brought back. A journal would need a file beside its own."""

Guard = Callable[[str], None]
"""Asked with the name of a mutating call just before it; raises to prevent it."""


def no_guard(call: str) -> None:
    """Let every call pass."""


class EndTime:
    """A guard after whose `end` (seconds since 1970) no mutating call is made."""

    def __init__(self, end: float, clock: Callable[[], float]) -> None:
        self._end = end
        self._clock = clock

    def __call__(self, call: str) -> None:
        """Raise `StoppedError` when the time is over."""
        if self._clock() >= self._end:
            raise StoppedError(f"the end time has passed: no {call} any more; the next run rolls this one back")


def components(path: str) -> list[str]:
    """The parts of a path below the volume.

    Raises:
        RefusedError: a part is empty, `.` or `..`, or holds a NUL: such a path is never ours.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise RefusedError(f"{path!r} is not a path below the registry's volume")
    return parts


class WritableVolume(Volume):
    """A registry's storage, opened at `docker/registry/v2`, with all that the engine may do to it.

    Attributes:
        stop: asked before each entry that is moved, comes back or is freed.
        freed: whether a purge removed anything for good.
    """

    def __init__(self, descriptor: int, path: str, guard: Guard = no_guard, stop: Stop = never) -> None:
        super().__init__(descriptor, path)
        self._guard = guard
        self.stop = stop
        self.freed = False

    def __enter__(self) -> Self:
        return self

    # Reading

    def open_directory(self, path: str) -> int:
        """A descriptor of the directory at `path`, which the caller closes.

        Raises:
            OSError: as open(2); `ELOOP` or `ENOTDIR` for a symbolic link.
        """
        return open_directory(self.descriptor, "/".join(components(path)))

    def exists(self, path: str) -> bool:
        return self.status(path) is not None

    def status(self, path: str) -> os.stat_result | None:
        """The status of what is at `path`, not followed if it is a symbolic link; None if there is nothing."""
        *parents, name = components(path)
        try:
            with self.directory("/".join(parents)) as parent:
                return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def free_bytes(self) -> int:
        """What is left on the file system for those who are not root."""
        filesystem = os.fstatvfs(self.descriptor)
        return filesystem.f_bavail * filesystem.f_frsize

    # Changing

    def make_directories(self, path: str) -> int:
        """Open the directory at `path`, making what is missing as its parent is; the caller closes the descriptor."""
        descriptor = os.open(".", DIRECTORY_FLAGS, dir_fd=self.descriptor)
        for part in components(path):
            try:
                try:
                    following = os.open(part, DIRECTORY_FLAGS, dir_fd=descriptor)
                except FileNotFoundError:
                    following = self._make_directory(descriptor, part, needed=path.startswith(_NEEDED))
            finally:
                os.close(descriptor)
            descriptor = following
        return descriptor

    def _make_directory(self, parent: int, name: str, *, needed: bool) -> int:
        self._guard("mkdir")
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return os.open(name, DIRECTORY_FLAGS, dir_fd=parent)  # a registry has just made it
        except OSError as error:
            if not needed or error.errno not in FULL or not self._take_empty_directory(parent, name):
                raise
        descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        try:
            self._own_as(descriptor, os.fstat(parent), mode_mask=0o7777)
            self.sync(parent)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _take_empty_directory(self, parent: int, name: str) -> bool:
        """On a full volume, where even a directory does not fit, take one in which a registry has nothing any more.

        It makes `_uploads` anew for each upload. Answers whether there was one; not while there is a reserve to spend.
        """
        if self.names(RESERVE):
            return False
        for found in walk_repositories(self):
            path = repository_path(found.name)
            status = None if found.problem else self.status(f"{path}/{UPLOADS}")
            if status is None or not stat.S_ISDIR(status.st_mode) or self.names(f"{path}/{UPLOADS}"):
                continue
            with self.directory(path) as repository:
                self.rename(repository, UPLOADS, parent, name)
                if not _has_names(parent, name):
                    return True
                self.rename(parent, name, repository, UPLOADS)  # an upload began just before
        return False

    def create_file(self, parent: int, name: str) -> int:
        """Make an empty file that must not be there yet, as its directory is; the caller closes the descriptor."""
        self._guard("create")
        descriptor = os.open(
            name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent
        )
        try:
            self._own_as(descriptor, os.fstat(parent), mode_mask=0o666)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _own_as(self, descriptor: int, parent: os.stat_result, *, mode_mask: int) -> None:
        """Give what was made the owner, group and mode of its parent, as far as this user may."""
        made = os.fstat(descriptor)
        if (made.st_uid, made.st_gid) != (parent.st_uid, parent.st_gid):
            try:
                self._change_owner(descriptor, parent.st_uid, parent.st_gid)
            except PermissionError:
                with suppress(PermissionError):
                    self._change_owner(descriptor, -1, parent.st_gid)
        mode = stat.S_IMODE(parent.st_mode) & mode_mask
        # After a change of owner, which clears the set-group-id bit. A set-group-id bit for a group that this user is
        # not in is dropped by the kernel.
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            self._guard("chmod")
            os.fchmod(descriptor, mode)

    def _change_owner(self, descriptor: int, owner: int, group: int) -> None:
        self._guard("chown")
        os.fchown(descriptor, owner, group)

    def write_at(self, descriptor: int, content: bytes, offset: int) -> int:
        """Write all of `content` at `offset`; answers the offset behind it."""
        view = memoryview(content)
        while view:
            self._guard("write")
            written = os.pwrite(descriptor, view, offset)
            view = view[written:]
            offset += written
        return offset

    def sync(self, descriptor: int) -> None:
        """Make a file's content, or a directory's entries, survive a loss of power."""
        self._guard("fsync")
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network and FUSE filesystems have no fsync for directories and are synchronous in them.
            if error.errno != errno.EINVAL:
                raise

    def touch(self, descriptor: int) -> None:
        """Set a file's times to the present of the volume's own clock."""
        self._guard("utime")
        os.utime(descriptor)

    def rename(self, parent: int, name: str, target_parent: int, target: str) -> None:
        self._guard("rename")
        os.rename(name, target, src_dir_fd=parent, dst_dir_fd=target_parent)

    def rename_to_free(self, parent: int, name: str, target_parent: int, target: str) -> None:
        """Rename to where nothing was a moment ago; `FileExistsError` if something is there now."""
        self._guard("rename")
        rename_to_free(parent, name, target_parent, target)

    def unlink(self, parent: int, name: str) -> None:
        self._guard("unlink")
        os.unlink(name, dir_fd=parent)

    def remove_directory(self, parent: int, name: str) -> None:
        self._guard("rmdir")
        os.rmdir(name, dir_fd=parent)

    def remove_tree(self, parent: int, name: str) -> None:
        """Remove `name` and all below it, from the bottom; symbolic links are removed, never followed."""
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            self.unlink(parent, name)
            return
        descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        try:
            # Backwards: `current`, `link` and `data` go last, so that what can't be removed is still what it was.
            for child in sorted(os.listdir(descriptor), reverse=True):
                self.remove_tree(descriptor, child)
        finally:
            os.close(descriptor)
        self.remove_directory(parent, name)

    def replace_file(self, path: str, content: bytes) -> None:
        """Write a small file whole or not at all, and durably."""
        *parents, name = components(path)
        directory = self.make_directories("/".join(parents))
        temporary = f"{name}.new"
        try:
            with suppress(FileNotFoundError):
                self.unlink(directory, temporary)
            descriptor = self.create_file(directory, temporary)
            try:
                self.write_at(descriptor, content, 0)
                self.sync(descriptor)
            finally:
                os.close(descriptor)
            self.rename(directory, temporary, directory, name)
            self.sync(directory)
        finally:
            os.close(directory)


def _has_names(parent: int, name: str) -> bool:
    descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
    try:
        return bool(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def open_writable(root: str, guard: Guard = no_guard, stop: Stop = never) -> WritableVolume:
    """The volume below `root`, to be changed.

    Raises:
        RefusedError: there is none.
    """
    volume = open_volume(root)
    return WritableVolume(volume.descriptor, volume.path, guard, stop)
