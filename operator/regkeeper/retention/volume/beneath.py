"""Opening files below a directory without ever leaving it: no `..`, no symbolic link in any part of the path.

One openat2(2) (Linux 5.6) with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS costs as much as Python's `os.open`; opening
part by part with O_NOFOLLOW costs three times that and is what remains where seccomp or gVisor refuse openat2.
"""

import ctypes
import errno
import os
import stat

_OPENAT2 = 437  # the same on every architecture, save alpha
_RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x04, 0x08
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO must not block us
_FALLBACK = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.ENOTDIR})
"""Refused, or ENOTDIR: the kernel says that of a symbolic link in a directory's place too, which is not absent."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


# Without `argtypes`, of which the conversions take as long as a third of the call.
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_NUMBER, _SIZE = ctypes.c_long(_OPENAT2), ctypes.c_size_t(ctypes.sizeof(_OpenHow))
_FILE = ctypes.byref(_OpenHow(_FLAGS, 0, _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH))
_DIRECTORY = ctypes.byref(_OpenHow(_FLAGS | os.O_DIRECTORY, 0, _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH))


def open_file(directory: int, path: str) -> int:
    """A descriptor for reading the file at `path` below the directory descriptor.

    Raises:
        OSError: as open(2); ELOOP for a symbolic link anywhere in the path, EXDEV for a path that leaves the directory.
    """
    descriptor: int = _syscall(_NUMBER, directory, path.encode("utf-8", "surrogateescape"), _FILE, _SIZE)
    return descriptor if descriptor >= 0 else _failed(directory, path, _FLAGS)


def open_directory(directory: int, path: str) -> int:
    """The same for a directory; ENOTDIR for anything else."""
    descriptor: int = _syscall(_NUMBER, directory, path.encode("utf-8", "surrogateescape"), _DIRECTORY, _SIZE)
    return descriptor if descriptor >= 0 else _failed(directory, path, _FLAGS | os.O_DIRECTORY)


def _failed(directory: int, path: str, flags: int) -> int:
    number = ctypes.get_errno()
    if number in _FALLBACK:
        return _open_by_parts(directory, path, flags)
    raise OSError(number, os.strerror(number), path)


def _open_by_parts(directory: int, path: str, flags: int) -> int:
    *parents, name = path.split("/")
    if path.startswith("/") or ".." in parents or name == "..":
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    here = directory
    try:
        for parent in parents:
            below = _open_part(parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, here)
            if here != directory:
                os.close(here)
            here = below
        return _open_part(name, flags, here)
    finally:
        if here != directory:
            os.close(here)


def _open_part(name: str, flags: int, directory: int) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise
