"""Looks before the first rename whether every one of them can work: filesystem and permissions of what is touched."""

import os
from collections.abc import Iterable
from itertools import groupby

from regkeeper.retention.errors import NotPermittedError, RefusedError, translated
from regkeeper.retention.quarantine.moves import Kind, Move
from regkeeper.retention.quarantine.renames import Parents, opened_parents, split
from regkeeper.retention.quarantine.storage import WritableVolume

_SHOWN = 5


def refuse_impossible(volume: WritableVolume, quarantine: int, moves: Iterable[Move]) -> None:
    """Ask the kernel about every directory that the moves touch.

    Args:
        volume: Where they are.
        quarantine: Descriptor of the run's directory in the quarantine.
        moves: What is to be moved.

    Raises:
        NotPermittedError: one refusal with the names and the `chown` that helps.
        RefusedError: a directory is on another filesystem than the quarantine.
        StorageError: the volume is read-only, or can't be read.
    """
    device = os.fstat(quarantine).st_dev
    denied: dict[str, None] = {}
    with opened_parents(volume) as parents:
        for path, some in groupby(moves, _parent):
            denied.update(dict.fromkeys(_denied(parents, path, some, device)))
    if not denied:
        return
    names = ", ".join(list(denied)[:_SHOWN]) + (f" and {len(denied) - _SHOWN} more" if len(denied) > _SHOWN else "")
    owner = os.fstat(volume.descriptor).st_uid
    raise NotPermittedError(
        f"user {os.geteuid()} may not change {names}. Nothing was changed. "
        f"Run as user {owner}, or: chown -R {os.geteuid()}:{os.getegid()} {volume.path}"
    )


def _parent(move: Move) -> str:
    return split(move)[0]


def _denied(parents: Parents, path: str, moves: Iterable[Move], device: int) -> list[str]:
    """What may not be written to of a directory and of what is to be moved out of it."""
    # Nobody needs that what is half written goes: the sweep leaves what of it can't be moved.
    needed = [move for move in moves if move.kind is not Kind.TEMPORARY]
    with translated(path):
        try:
            parent = parents.open(path)
        except PermissionError:
            return [path] if needed else []
        except FileNotFoundError:
            return []  # The sweep reads it again and says what changed.
        if os.fstat(parent).st_dev != device:
            raise RefusedError(
                f"{path} is on another filesystem than the quarantine: only a rename within one can be undone. "
                "Mount the whole of docker/registry/v2 as one volume"
            )
        denied = [] if not needed or _may_write(".", parent) else [path]
        for move in needed:
            _, name = split(move)
            # A directory that changes its parent is itself written to: its `..` changes.
            if not _may_write(name, parent) and name in os.listdir(parent):
                denied.append(move.path)
        return denied


def _may_write(directory: str, parent: int) -> bool:
    return os.access(directory, os.W_OK | os.X_OK, dir_fd=parent, effective_ids=True)
