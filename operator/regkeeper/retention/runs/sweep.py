"""Carries a plan out: one rename for each of its moves, in its order, which is the order that survives a crash.

References go before what they refer to, and the renames of one kind are durable before the first of the next begins:
at whatever point the power fails, every manifest that a registry can still reach is whole.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from regkeeper.retention.errors import OF_ONE_ENTRY, NotQuietError, StoppedError, StorageError, translated
from regkeeper.retention.quarantine import reserve
from regkeeper.retention.quarantine.moves import Kind, Move, Plan
from regkeeper.retention.quarantine.renames import Parents, opened_parents, split
from regkeeper.retention.quarantine.storage import WritableVolume
from regkeeper.retention.runs.rooms import is_filled
from regkeeper.retention.volume.layout import is_symbolic_link
from regkeeper.retention.volume.repository import Problem

_WITNESSES = {
    Kind.TAG: "current/link",
    Kind.INDEX_REVISION: "link",
    Kind.REVISION: "link",
    Kind.LAYER_LINK: "link",
    Kind.BLOB: "data",
    Kind.MANIFEST_BLOB: "data",
    Kind.LEFTOVER: "data",
    Kind.TEMPORARY: "",
}
"""The file within what is moved, or that itself, to which a move's witness belongs; without a witness it must not be
there."""


class Swept(NamedTuple):
    """What became of a plan."""

    touched: frozenset[str]
    """The directories out of which something was moved."""
    half_written: Mapping[Move, bool]
    """What was half written beside blobs that stay, and whether it could be moved."""


def sweep(volume: WritableVolume, quarantine: int, plan: Plan, *, progress: Callable[[Move], None]) -> Swept:
    """Move everything into the run's quarantine.

    Args:
        volume: Where it is.
        quarantine: Descriptor of the run's directory.
        plan: Its moves; the position of each is its name in the quarantine. What was half written and can't be moved
            is added to its problems: nobody needs that it goes.
        progress: Told of each move that was made.

    Raises:
        StoppedError: the volume's `stop` said so.
        NotQuietError: something changed since the plan.
        StorageError: a rename failed.
    """
    touched: frozenset[str] = frozenset()
    half_written: dict[Move, bool] = {}
    kind: Kind | None = None
    with opened_parents(volume) as parents:
        for number, move in enumerate(plan.moves):
            if reason := volume.stop():
                raise StoppedError(f"{reason}: stopped after {number} entries, which the next run puts back")
            if move.kind != kind:
                touched |= _make_durable(volume, quarantine, parents)
                kind = move.kind
            try:
                _move(volume, quarantine, number, parents, move)
            except StorageError as error:
                if move.kind is not Kind.TEMPORARY or error.errno not in OF_ONE_ENTRY:
                    raise
                plan.problems.append(Problem("", move.path, f"half written, and can't be moved: {error.words}"))
                half_written[move] = False
                continue
            if move.kind is Kind.TEMPORARY:
                half_written[move] = True
            progress(move)
        touched |= _make_durable(volume, quarantine, parents)
    for number, move in enumerate(plan.moves):
        # Who had the file open, or came between the last look and the rename, has written into the quarantine.
        # The rename of a file changes its ctime, that of a directory not those of the files in it.
        name = str(number)
        if (
            move.kind is not Kind.TEMPORARY
            and _changed(quarantine, name, move)
            and not is_symbolic_link(quarantine, name)
        ):
            raise _has_changed(move)
    return Swept(touched, half_written)


def _make_durable(volume: WritableVolume, quarantine: int, parents: Parents) -> frozenset[str]:
    touched = parents.touched
    if touched:
        # Where an entry arrives before where it left: a crash between the two may show it twice, never not at all.
        with translated("the quarantine"):
            volume.sync(quarantine)
        parents.sync()
    return touched


def _move(volume: WritableVolume, quarantine: int, number: int, parents: Parents, move: Move) -> None:
    path, name = split(move)
    with translated(move.path):
        try:
            parent = parents.open(path)
            if _changed(parent, name, move):
                raise _has_changed(move)
            # The quarantine's directory grows with its entries.
            reserve.on_full(volume, partial(volume.rename, parent, name, quarantine, str(number)))
        except FileNotFoundError:
            raise NotQuietError(f"something writes here: {move.path} has gone since the plan was made") from None
        parents.touch()


def _changed(parent: int, name: str, move: Move) -> bool:
    """Whether what is moved is not as it was at the time of the mark."""
    if move.kind is Kind.REPOSITORY:
        return is_filled(parent, name, move.name)
    if (file := _WITNESSES.get(move.kind)) is None:
        return False
    try:
        status = os.stat(f"{name}/{file}" if file else name, dir_fd=parent, follow_symlinks=False)
    except PermissionError:
        raise
    except OSError:
        return move.witness is not None
    return (status.st_ino, status.st_ctime_ns) != move.witness


def _has_changed(move: Move) -> NotQuietError:
    return NotQuietError(f"something writes here: {move.path} has changed since the plan was made")
