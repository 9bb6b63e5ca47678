"""Files that are ours as a whole, with the directories that we made for them: written, repaired and removed.

The record names a file before it is made and until it is gone, so that a killed agent's next start knows all of them.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from msgspec.structs import replace

from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import FileChangedError, NodeProblemError
from regkeeper.nodes.record import Ledger, OwnedFile

MARK = "# Managed by regkeeper"
"""The first line of every such file. One that has lost it is somebody else's."""


def is_ours(data: bytes) -> bool:
    """Whether the file bears our mark."""
    return data.startswith(MARK.encode())


def put(files: NodeFiles, ledger: Ledger, path: str, data: bytes, *, reload_pending: bool = False) -> None:
    """Write a file of ours; directories that are missing on the way are made, and become ours too.

    Args:
        files: the node's tree.
        ledger: the record, in which the file stands before it is made.
        path: of the file.
        data: its content.
        reload_pending: the runtime has to be told; `reloaded` notes that it was.

    Raises:
        NodeProblemError: it could not be written; then nothing of it remains.
    """
    known = path in ledger.record.files
    made = _missing_directories(files, path)
    owned = ledger.record.files.get(path, OwnedFile())
    directories = tuple(dict.fromkeys((*owned.directories, *made)))
    becomes = OwnedFile(directories=directories, reload_pending=reload_pending)
    ledger.write(files={**ledger.record.files, path: becomes})
    try:
        for directory in made:
            files.make_directory(directory)
        files.write(path, data, check=lambda: _expect_ours(files, path))
    except BaseException:
        if not known:
            with suppress(NodeProblemError):  # then it stays in the record, for the next pass
                take_away(files, ledger, path)
        raise


def reloaded(ledger: Ledger, path: str) -> None:
    """The runtime was told of the file."""
    owned = replace(ledger.record.files[path], reload_pending=False)
    ledger.write(files={**ledger.record.files, path: owned})


def remove(files: NodeFiles, ledger: Ledger, path: str, *, reload_pending: bool) -> None:
    """Remove the file but keep it in the record, for what is still to be done about it."""
    owned = replace(ledger.record.files.get(path, OwnedFile()), reload_pending=reload_pending)
    ledger.write(files={**ledger.record.files, path: owned})
    files.remove(path, check=lambda: _expect_ours(files, path))


def take_away(files: NodeFiles, ledger: Ledger, path: str) -> None:
    """Remove a file of ours unless somebody took it over, and the directories that we made and nobody else uses."""
    owned = ledger.record.files[path]
    content = files.read(path)
    if content is not None and is_ours(content.data):
        files.remove(path)
    files.remove_temporaries(os.path.dirname(path))
    rest = {other: kept for other, kept in ledger.record.files.items() if other != path}
    for directory in sorted(owned.directories, key=len, reverse=True):
        if not files.remove_directory(directory):
            rest = _hand_on(rest, directory)
    ledger.write(files=rest)


def beneath(record_files: Mapping[str, OwnedFile], roots: Sequence[str]) -> list[str]:
    """Paths of ours that lie under one of these directories."""
    return [path for path in record_files if any(path.startswith(root.rstrip("/") + "/") for root in roots)]


def _expect_ours(files: NodeFiles, path: str) -> None:
    """Somebody may have put a file of their own there since it was looked at.

    Raises:
        FileChangedError: so it is.
    """
    content = files.read(path)
    if content is not None and not is_ours(content.data):
        raise FileChangedError(path)


def _missing_directories(files: NodeFiles, path: str) -> list[str]:
    missing = []
    directory = os.path.dirname(path)
    while directory != "/" and not files.is_directory(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    return missing[::-1]


def _hand_on(owned: Mapping[str, OwnedFile], directory: str) -> dict[str, OwnedFile]:
    """Another file of ours in this directory takes over to remove it in the end; where there is none, it is others'."""
    heirs = beneath(owned, [directory])
    if not heirs:
        return dict(owned)
    heir = owned[heirs[0]]
    return {**owned, heirs[0]: replace(heir, directories=tuple(dict.fromkeys((directory, *heir.directories))))}
