"""What the operator tells a run: its policy, the other policies, the images in use, and how far the run may go.

The document is JSON, compressed and cut into parts, each a ConfigMap that the Job's pod mounts, as a suspended Job's
volumes can't change and an object ends at 1 MiB. `<directory>/<part>/header` says which run, which generation, which
stage and how many parts; `<directory>/<part>/part` has the bytes. kubelet replaces each part at a time of its own, so
what is read counts only when all headers agree and the checksum of the whole holds.

Both sides use this file: the operator writes, the Job reads. It knows neither Kubernetes nor the engine.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import msgspec
from inotify_simple import INotify, flags

from regkeeper.errors import RegkeeperError

PARTS = 8
"""How many ConfigMaps there are, used or not."""

PART_BYTES = 900_000
"""Of one part; the API server takes 1 MiB of an object's data, which it counts decoded."""

MOST_DECODED_BYTES = 4 << 20
"""Of a document that the operator reads back, some 30,000 images in use. Whoever may write ConfigMaps can put there
what grows a thousandfold, and once more twentyfold as objects; the operator has 256 MiB for all Registries."""

_NOT_UNDERSTOOD = (msgspec.MsgspecError, OSError, EOFError, zlib.error, RecursionError)
"""What decompressing and decoding raise for what `encode` did not write."""


class Stage(StrEnum):
    """How far a run may go."""

    PLAN = "plan"
    """Look at the volume and say what would go. The registry takes pushes."""
    RUN = "run"
    """Change the volume: the registry is as quiet as the mode asks for."""


class SnapshotError(RegkeeperError):
    """The snapshot is not there, not whole, or another run's. Nothing was done."""

    reason = "SnapshotMissing"


class SnapshotTooLargeError(RegkeeperError):
    """More images are in use than a snapshot can hold."""

    reason = "SnapshotTooLarge"


class _Struct(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """camelCase outside; what the other side does not know is an error: both are of one image."""


class Undo(_Struct, frozen=True, kw_only=True):
    """What comes back.

    Attributes:
        run: The run on the volume.
        forget: Nothing comes back; what an earlier undo brought back loses its mark.
    """

    run: str
    forget: bool = False


class Document(_Struct, frozen=True, kw_only=True):
    """The content of a snapshot.

    Attributes:
        action: What the run does: delete by the policy, free what is due, undo a run, bring back what is in use of all
            that was deleted, or print a plan of before.
        name: Of the ImageRetention.
        policy: Its manifest; None: it is deleted, and the run only purges or restores.
        others: Manifests of the other ImageRetentions of the same Registry, which only keep.
        in_use: Reference and user in words; None: nobody was asked, as no policy wants it.
        hosts: The registry's own names, for `protect.hosts`.
        dry_run: Change nothing.
        mode: `ReadOnly` or `Offline`.
        registry: URL at which the mode is verified; None: nothing is asked.
        end_time: RFC 3339, by the node's clock; nothing is changed afterwards.
        approved: Hash of the plan that was approved.
        restore: For the action `restore`.
        show: For the action `show`: the run whose plan is printed.
        keep_plans: How many plans of earlier runs stay on the volume.
        unanswered: Job UID of an earlier run whose answer was lost, to be repeated from the volume.
    """

    action: Literal["retain", "purge", "restore", "rescue", "show"]
    name: str
    end_time: str
    policy: dict[str, Any] | None = None
    others: list[dict[str, Any]] = []
    in_use: list[tuple[str, str]] | None = None
    hosts: list[str] = []
    dry_run: bool = False
    mode: Literal["ReadOnly", "Offline"] = "ReadOnly"
    registry: str | None = None
    approved: str | None = None
    restore: Undo | None = None
    show: str | None = None
    keep_plans: int = 10
    unanswered: str | None = None


class _Header(_Struct, frozen=True, kw_only=True):
    run: str
    generation: int
    stage: Stage
    part: int
    parts: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Part:
    """One ConfigMap: `data.header` and `binaryData.part`."""

    header: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as it was read, whole."""

    stage: Stage
    generation: int
    document: Document


def encode(document: Document, *, run: str, generation: int, stage: Stage) -> list[Part]:
    """The parts of a snapshot, `PARTS` of them; those that are not needed are empty.

    Args:
        document: What to tell.
        run: UID of the run's Job.
        generation: Higher with each snapshot of the same run.
        stage: How far the run may go.

    Raises:
        SnapshotTooLargeError: it does not fit.
    """
    content = gzip.compress(msgspec.json.encode(document), mtime=0)
    parts = -(-len(content) // PART_BYTES)
    if parts > PARTS:
        raise SnapshotTooLargeError(
            f"the images in use take {len(content):,} bytes compressed, more than {PARTS * PART_BYTES:,}: narrow them "
            "with protect.hosts"
        )
    checksum = _checksum(content)
    encoded = []
    for part in range(parts):
        header = _Header(run=run, generation=generation, stage=stage, part=part, parts=parts, checksum=checksum)
        chunk = content[part * PART_BYTES : (part + 1) * PART_BYTES]
        encoded.append(Part(msgspec.json.encode(header).decode(), chunk))
    return encoded + [Part("", b"")] * (PARTS - parts)


def read(directory: str, run: str) -> Snapshot:
    """The snapshot that is mounted at a directory.

    Args:
        directory: With a directory for each part, called by its number.
        run: UID of this run's Job.

    Raises:
        SnapshotError: a part is missing, of another run or of an older generation, or the whole is damaged.
    """
    first, content = _read_part(directory, 0, run)
    for part in range(1, first.parts):
        header, more = _read_part(directory, part, run)
        if (header.generation, header.stage, header.checksum) != (first.generation, first.stage, first.checksum):
            raise SnapshotError(f"the parts 0 and {part} of the snapshot are of different generations")
        content += more
    if _checksum(content) != first.checksum:
        raise SnapshotError("the snapshot is damaged: its checksum differs")
    try:
        document = msgspec.json.decode(gzip.decompress(content), type=Document)
    except _NOT_UNDERSTOOD as error:
        raise SnapshotError(f"the snapshot can't be understood: {error}") from error
    return Snapshot(first.stage, first.generation, document)


def decode(parts: Sequence[Part], run: str, generation: int | None = None) -> Document | None:
    """What a run was told, from its parts; None if they are not those of that run, not whole, or too much to read.

    Or if they are of another generation than the one by which the run went, where that is known: an operator that died
    as it told a run tells it again, perhaps when the run has long begun.
    """
    try:
        headers = [msgspec.json.decode(part.header, type=_Header) for part in parts if part.header]
        content = b"".join(part.content for part in parts)
        if not headers or any(header.run != run or header.checksum != _checksum(content) for header in headers):
            return None
        if generation is not None and headers[0].generation != generation:
            return None
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # with gzip's header
        text = stream.decompress(content, MOST_DECODED_BYTES)
        return msgspec.json.decode(text, type=Document) if stream.eof else None
    except _NOT_UNDERSTOOD:
        return None


def wait_for_run(directory: str, run: str, until: float, clock: Callable[[], float]) -> Snapshot:
    """Wait until the whole snapshot says that the run may change the volume.

    Parts that are missing, foreign or old are no error before then: kubelet brings them one by one.

    Args:
        directory: As for `read`.
        run: As for `read`.
        until: Seconds since 1970.
        clock: Seconds since 1970.

    Raises:
        SnapshotError: `until` has come; says what was missing.
    """
    with closing(INotify()) as changes:
        # kubelet renames `..data` in the directory of each part.
        for part in range(PARTS):
            path = f"{directory}/{part}"
            if os.path.isdir(path):
                changes.add_watch(path, flags.MOVED_TO | flags.CREATE | flags.CLOSE_WRITE)
        while True:
            missing = "it still says to plan only"
            try:
                snapshot = read(directory, run)
            except SnapshotError as error:
                missing = str(error)
            else:
                if snapshot.stage is Stage.RUN:
                    return snapshot
            left = until - clock()
            if left <= 0:
                raise SnapshotError(f"the operator did not let the run begin before its end time: {missing}")
            changes.read(timeout=max(1, round(left * 1000)))


def _read_part(directory: str, part: int, run: str) -> tuple[_Header, bytes]:
    where = f"part {part} of the snapshot"
    try:
        # Through `..data`, so that both files are of one moment.
        folder = os.path.realpath(
            f"{directory}/{part}/..data" if _is_volume(directory, part) else f"{directory}/{part}"
        )
        with open(f"{folder}/header", "rb") as file:
            header = msgspec.json.decode(file.read(), type=_Header)
        with open(f"{folder}/part", "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise SnapshotError(f"{where} is missing") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise SnapshotError(f"{where} can't be read: {error}") from error
    if header.run != run:
        raise SnapshotError(f"{where} is of another run, {header.run}")
    if header.part != part or not part < header.parts <= PARTS:
        raise SnapshotError(f"{where} says that it is part {header.part} of {header.parts}")
    return header, content


def _is_volume(directory: str, part: int) -> bool:
    return os.path.lexists(f"{directory}/{part}/..data")


def _checksum(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
