"""Renaming without replacing: what a registry writes in the very instant between a look and a rename stays.

renameat2(2) with RENAME_NOREPLACE (Linux 3.15) looks and renames in one; where the filesystem (NFS), seccomp or gVisor
refuse it, or the C library has it not (musl), the look that went before must do.
"""

import ctypes
import errno
import os
from collections.abc import Callable

_NO_REPLACE = 1
_REFUSED = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL})

_renameat2: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def rename_to_free(parent: int, name: str, target_parent: int, target: str) -> None:
    """Rename `name` to `target`, where nothing was a moment ago; both are names in directories that are open.

    Raises:
        OSError: as rename(2); EEXIST if something is there.
    """
    if _renameat2 is not None:
        if _renameat2(parent, os.fsencode(name), target_parent, os.fsencode(target), _NO_REPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _REFUSED:
            raise OSError(number, os.strerror(number), target)
    os.rename(name, target, src_dir_fd=parent, dst_dir_fd=target_parent)
