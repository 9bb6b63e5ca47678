"""Looks for what keeps this process, with the ids that it has, from using a registry's volume; leaves nothing behind.

What every push touches is tried. Of what lies below, a sample is looked at, or a registry with a million files would
wait for minutes at each start: ids go wrong by whole trees, as root's own pushes or a copy leave them.

kubelet applies fsGroup only where the volume's root does not have the group yet, and on NFS often not at all. So a
matching root says little about what lies below it.
"""

import errno
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from itertools import islice

TREE = ("docker", "registry", "v2")
BRANCHES = ("blobs", "repositories")

PROBE_PREFIX = "_regkeeper-check-"
"""A registry that runs on the same volume passes over names with an underscore (distribution's catalog.go)."""

MESSAGE_BYTES = 2000
"""The end of a log that kubelet takes for a termination message has 2048 bytes."""

BREADTH = 1000
"""Directories that are looked at level by level, before single lines are followed down."""
LINES = 32
ENTRIES = 100_000
"""Directories of a level among which the next level, or the lines, are chosen."""


class VolumeError(Exception):
    """The volume can't be used. The message says which path, whose it is, and what helps."""


def check_volume(root: str, *, volume_path: str | None = None) -> None:
    """Write, rename and delete in the upper directories of the volume, and ask the kernel about a sample below.

    Args:
        root: Where the volume is mounted.
        volume_path: Where the volume's root is for the person who can change it; None: `root`.

    Raises:
        VolumeError: With a message of at most MESSAGE_BYTES bytes.
    """
    path = root
    try:
        _prove_writable(path)
        for path in _upper_directories(root):
            _prove_writable(path)
        for path in _sample(os.path.join(root, *TREE)):
            _ask_kernel(path)
    except OSError as error:
        message = _explain(error, path=path, root=root, volume_path=volume_path or root)
        raise VolumeError(message.encode()[:MESSAGE_BYTES].decode(errors="ignore")) from error


def _upper_directories(root: str) -> Iterator[str]:
    """Those below the root that every registry has; none are made on a new volume."""
    path = root
    for name in TREE:
        path = os.path.join(path, name)
        if not os.path.isdir(path):
            return
        yield path
    yield from filter(os.path.isdir, (os.path.join(path, name) for name in BRANCHES))


def _prove_writable(directory: str) -> None:
    probe = tempfile.mkdtemp(prefix=PROBE_PREFIX, dir=directory)
    try:
        nested = os.path.join(probe, "nested")
        os.mkdir(nested)
        written, renamed = os.path.join(nested, "written"), os.path.join(probe, "renamed")
        with open(written, "wb") as file:
            file.write(b"regkeeper")
        os.rename(written, renamed)
        os.unlink(renamed)
        os.rmdir(nested)
        os.rmdir(probe)
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def _sample(top: str) -> Iterator[str]:
    """Directories below `top`: whole levels while they are small, then lines straight down, spread evenly."""
    level = [top] if os.path.isdir(top) else []
    seen = 0
    while level and seen + len(level) <= BREADTH:
        yield from level
        seen += len(level)
        most = ENTRIES // len(level)
        level = [child for directory in level for child in _subdirectories(directory, most)]
    for start in level[:: max(1, len(level) // LINES)]:
        directory: str | None = start
        while directory is not None:
            yield directory
            directory = next(iter(_subdirectories(directory, 1)), None)


def _subdirectories(directory: str, most: int) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in islice(filter(_is_directory, entries), most)]
    except FileNotFoundError:  # an upload that ended meanwhile
        return []


def _is_directory(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _ask_kernel(directory: str) -> None:
    """Raise PermissionError for a directory that can't be written to, or that holds a file that can't be used."""
    _require(directory, os.R_OK | os.W_OK | os.X_OK)
    for name in ("data", "link"):
        # Up to 3.0 a link is written in place; data is only ever read again.
        _require(os.path.join(directory, name), os.R_OK | (os.W_OK if name == "link" else 0))


def _require(path: str, mode: int) -> None:
    if not os.access(path, mode) and os.path.lexists(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _explain(error: OSError, *, path: str, root: str, volume_path: str) -> str:
    problem = f"{path} can't be used: {error.strerror}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{problem} Make room on the volume, or grow it (spec.storage.size)."
    if error.errno == errno.EROFS:
        return f"{problem} The volume is mounted read-only: mount it for writing."
    if error.errno not in (errno.EACCES, errno.EPERM):
        return problem
    blocked = path if not isinstance(error.filename, str) or PROBE_PREFIX in error.filename else error.filename
    volume = shlex.quote(volume_path)
    return (
        f"{blocked} can't be used: {error.strerror}. It is {_ownership(blocked)}; "
        f"the registry runs as uid {os.getuid()}, gid {os.getgid()}. "
        f"Where the volume can be changed ({root} is its root in the pod), run: "
        f"chgrp -R {os.getgid()} {volume} && chmod -R g+rwX {volume}"
    )


def _ownership(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        return f"unreadable ({error.strerror})"
    return f"owned by {status.st_uid}:{status.st_gid}, mode {stat.S_IMODE(status.st_mode):04o}"
