"""Where dockerd reads another daemon.json than the one with our entries: what became of that one, and of ours. Pure."""

from contextlib import suppress
from dataclasses import dataclass

from msgspec.structs import replace

from regkeeper.nodes.daemon_json import KEY, BrokenError, entries_of, parse, with_entries
from regkeeper.nodes.docker_observation import DockerObservation
from regkeeper.nodes.files import Content
from regkeeper.nodes.record import DockerRecord


@dataclass(frozen=True, slots=True)
class Moved:
    """What is to be done about the file that dockerd no longer reads."""

    left: frozenset[str]
    """Entries of ours in it, which somebody has to take out: it may be read again."""
    is_ours: bool
    """Nothing but ours is in it."""
    record: DockerRecord | None
    """Of the file that dockerd reads now, if it is the old one, moved as it was."""


def make_out(record: DockerRecord, old: Content | None, backup: Content | None, seen: DockerObservation) -> Moved:
    """Find out what became of it.

    Args:
        record: of the old file.
        old: that file, if it is there still, or again: the agent makes anew what is gone before dockerd reads another.
        backup: of the old file, wherever it is now.
        seen: dockerd with the new one.
    """
    is_ours = old is not None and record.original == "" and old.digest == record.written
    undo = record.intent.undo if record.intent is not None else None
    left = frozenset({*record.entries, *(undo.entries if undo is not None else ())})
    with suppress(BrokenError, UnicodeDecodeError):  # then any of them may be there
        left &= set(entries_of(parse(old.data.decode()))) if old is not None and not is_ours else set()
    return Moved(left, is_ours, _followed(record, backup, seen))


def _followed(record: DockerRecord, backup: Content | None, seen: DockerObservation) -> DockerRecord | None:
    """The record of the new file, if that is what the old one was at some time, byte for byte."""
    if seen.content is None:
        return None
    digest = seen.content.digest
    candidates = [(record, {record.written})]
    if record.intent is not None and record.intent.undo is not None:
        candidates.append((record.intent.undo, {record.intent.undo.written, record.intent.before}))
    for found, known in candidates:
        moved = replace(found, path=seen.path, written=digest, intent=None)
        if backup is not None and _is_without(found.entries, seen.content, backup):
            return replace(moved, original=backup.digest, key_was_there=KEY in parse(backup.data.decode()))
        if digest in known:
            # Where no file was before us, one has to stay: dockerd does not start from a --config-file that is absent.
            return replace(moved, original=found.original or None)
    return None


def _is_without(entries: tuple[str, ...], content: Content, before: Content) -> bool:
    """Whether a file is the one of before, but for these entries."""
    try:
        keep_key = KEY in parse(before.data.decode())
        return with_entries(content.data.decode(), remove=entries, keep_key=keep_key).encode() == before.data
    except (BrokenError, UnicodeDecodeError):
        return False
