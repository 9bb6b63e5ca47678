"""The only room that changes a node's files: whole files, atomically, below the mounted root, through no symlink.

A path is opened component by component, each as a directory descriptor with O_NOFOLLOW, so that nothing on the node
can lead out of the tree. A file is written beside its target under a temporary name, synced, and renamed over it;
owner, mode and extended attributes (SELinux label, ACL) of the file that it replaces are kept, or the write fails.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from regkeeper.nodes.reasons import NodeProblemError, Reason

MAXIMUM_BYTES = 1 << 20
"""A larger file is hostile or a mistake; daemon.json and hosts.toml have some hundred bytes."""

TEMPORARY_PREFIX = ".regkeeper-"
TEMPORARY_SUFFIX = ".tmp"
"""No runtime reads names that end so: certs.d wants hosts.toml, .crt, .cert and .key, registries.conf.d wants .conf."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_REASONS = {
    errno.EROFS: Reason.FILE_READ_ONLY,
    errno.EPERM: Reason.FILE_DENIED,
    errno.EACCES: Reason.FILE_DENIED,
    errno.EBUSY: Reason.FILE_BIND_MOUNTED,
    errno.ENOSPC: Reason.FILE_NO_SPACE,
    errno.EDQUOT: Reason.FILE_NO_SPACE,
    errno.ELOOP: Reason.FILE_SYMLINK,
    errno.ENOENT: Reason.FILE_MISSING_DIRECTORY,
}


@dataclass(frozen=True, slots=True)
class Content:
    """A file as it was read."""

    data: bytes
    mode: int
    owner: int
    group: int
    attributes: tuple[tuple[str, bytes], ...]

    @property
    def digest(self) -> str:
        return digest(self.data)


def digest(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


class NodeFiles:
    """The node's file system as seen below `root`. Every path is absolute as on the node: `/etc/docker/daemon.json`."""

    def __init__(self, root: str, before: Callable[[str, str], None] | None = None) -> None:
        """Open the tree.

        Args:
            root: where the node's `/` is seen.
            before: called as `before(operation, path)` ahead of every single change; tests stop the process there or
                raise an OSError in the operation's place.
        """
        self.root = root
        self._before = before or (lambda _operation, _path: None)

    def read(self, path: str) -> Content | None:
        """The file, or None if it or a directory on the way is absent.

        Raises:
            NodeProblemError: it is a symlink, no regular file, too large, or can't be read.
        """
        with _problems(path):
            try:
                with self._directory(os.path.dirname(path)) as directory:
                    descriptor = os.open(
                        os.path.basename(path),
                        os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                        dir_fd=directory,
                    )
            except FileNotFoundError:
                return None
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise NodeProblemError(Reason.FILE_NOT_REGULAR, path=path)
                data = file.read(MAXIMUM_BYTES + 1)
                if len(data) > MAXIMUM_BYTES:
                    raise NodeProblemError(Reason.FILE_TOO_LARGE, path=path)
                return Content(
                    data, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, _attributes(file.fileno())
                )

    def list(self, path: str) -> list[str]:
        """Sorted names in a directory; none if it is absent."""
        with _problems(path):
            try:
                with self._directory(path) as directory:
                    return sorted(os.listdir(directory))
            except FileNotFoundError:
                return []

    def is_directory(self, path: str) -> bool:
        with _problems(path):
            try:
                with self._directory(path):
                    return True
            except FileNotFoundError:
                return False

    def write(
        self,
        path: str,
        data: bytes,
        *,
        like: Content | None = None,
        mode: int = 0o644,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Replace the file as a whole; after a crash it is the old or the new one.

        Args:
            path: its directory exists.
            data: the new content.
            like: the file whose owner, mode and attributes the new one gets; None: root's, with `mode`.
            mode: permissions where `like` is None.
            check: called last of all before the file is replaced; what it raises leaves the file as it is.

        Raises:
            NodeProblemError: nothing changed.
        """
        temporary = f"{TEMPORARY_PREFIX}{os.path.basename(path)}{TEMPORARY_SUFFIX}"
        with _problems(path), self._directory(os.path.dirname(path)) as directory:
            try:
                self._before("create", path)
                descriptor = os.open(
                    temporary,
                    os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o600,
                    dir_fd=directory,
                )
                with os.fdopen(descriptor, "wb") as file:
                    _dress(file.fileno(), like, mode)
                    self._before("write", path)
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                self._before("rename", path)
                check()
                os.rename(temporary, os.path.basename(path), src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise
            self._before("sync", path)
            os.fsync(directory)

    def remove(self, path: str, *, check: Callable[[], None] = lambda: None) -> None:
        """Remove the file if it is there; `check` as for `write`."""
        with _problems(path):
            try:
                with self._directory(os.path.dirname(path)) as directory:
                    os.stat(os.path.basename(path), dir_fd=directory, follow_symlinks=False)
                    self._before("remove", path)
                    check()
                    os.unlink(os.path.basename(path), dir_fd=directory)
                    os.fsync(directory)
            except FileNotFoundError:
                return

    def make_directory(self, path: str) -> None:
        """Make one directory (0755) if it is absent; its parent exists."""
        if self.is_directory(path):
            return
        with _problems(path), self._directory(os.path.dirname(path)) as parent:
            self._before("make directory", path)
            os.mkdir(os.path.basename(path), 0o755, dir_fd=parent)
            os.fsync(parent)

    def remove_directory(self, path: str) -> bool:
        """Remove the directory if it is empty; False if something else lives in it, or it is a mount point."""
        with _problems(path):
            try:
                with self._directory(os.path.dirname(path)) as parent:
                    os.stat(os.path.basename(path), dir_fd=parent, follow_symlinks=False)
                    self._before("remove directory", path)
                    os.rmdir(os.path.basename(path), dir_fd=parent)
                    os.fsync(parent)
            except FileNotFoundError:
                return True
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EBUSY):
                    return False
                raise
            return True

    def remove_temporaries(self, path: str) -> None:
        """Remove what a killed `write` left in this directory."""
        for name in self.list(path):
            if name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX):
                self.remove(os.path.join(path, name))

    @contextmanager
    def open_parent(self, path: str) -> Iterator[int]:
        """A descriptor of the directory that holds `path`, for what is neither read nor written as a file: a socket."""
        with _problems(path), self._directory(os.path.dirname(path)) as directory:
            yield directory

    @contextmanager
    def _directory(self, path: str) -> Iterator[int]:
        parts = [part for part in path.split("/") if part]
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                below = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


@contextmanager
def _problems(path: str) -> Iterator[None]:
    """Refuse a path that is none of the node's, and turn an OSError into the problem that the report names."""
    if not path.startswith("/") or ".." in path.split("/"):
        # It is of a command line or a configuration, and what it is relative to is not known here.
        raise NodeProblemError(Reason.FILE_ERROR, path=path, detail="not an absolute path without ..")
    try:
        yield
    except NotADirectoryError as error:
        # What O_DIRECTORY with O_NOFOLLOW says of a symlink (open(2)).
        raise NodeProblemError(Reason.FILE_SYMLINK, path=path) from error
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, Reason.FILE_ERROR)
        place = os.path.dirname(path) if reason is Reason.FILE_MISSING_DIRECTORY else path
        raise NodeProblemError(reason, path=place, detail=os.strerror(error.errno or 0)) from error


def _attributes(descriptor: int) -> tuple[tuple[str, bytes], ...]:
    try:
        return tuple((name, os.getxattr(descriptor, name)) for name in os.listxattr(descriptor))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return ()
        raise


def _dress(descriptor: int, like: Content | None, mode: int) -> None:
    """Give a new file the owner, attributes and mode that it has to have."""
    if like is None:
        os.fchmod(descriptor, mode)
        return
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (like.owner, like.group):
        os.fchown(descriptor, like.owner, like.group)
    os.fchmod(descriptor, like.mode)
    present = dict(_attributes(descriptor))
    for name, value in like.attributes:
        if present.get(name) != value:
            os.setxattr(descriptor, name, value)
