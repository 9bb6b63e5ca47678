"""The directories of a repository that a run moves whole, once nothing is left in them: has somebody pushed there?

They have no link of their own whose change would show that something came after the plan, and take along whatever did.
"""

import os
from collections.abc import Iterator

from regkeeper.retention.volume.beneath import open_directory
from regkeeper.retention.volume.layout import ABSENT, LAYERS, MANIFESTS, REVISIONS, TAGS, UPLOADS


def is_filled(parent: int, name: str, room: str) -> bool:
    """Whether a directory has what a client pushes: a link, or an upload.

    Args:
        parent: descriptor of the directory that holds it.
        name: how it is called there.
        room: what it is in a repository.

    Raises:
        OSError: nobody knows.
    """
    if room == UPLOADS:
        return any(_names(parent, name))
    if room == LAYERS:
        return _has_links(parent, name)
    tags, revisions = (path.removeprefix(MANIFESTS) for path in (TAGS, REVISIONS))
    return _has_links(parent, f"{name}{revisions}") or any(
        _is_there(parent, f"{name}{tags}/{tag}/current/link") for tag in _names(parent, f"{name}{tags}")
    )


def _has_links(parent: int, path: str) -> bool:
    return any(
        _is_there(parent, f"{path}/{algorithm}/{digest}/link")
        for algorithm in _names(parent, path)
        for digest in _names(parent, f"{path}/{algorithm}")
    )


def _names(parent: int, path: str) -> Iterator[str]:
    try:
        descriptor = open_directory(parent, path)
    except OSError as error:
        if error.errno in ABSENT:
            return
        raise
    try:
        yield from os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _is_there(parent: int, path: str) -> bool:
    try:
        os.stat(path, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise
    return True
