"""When tags left digests: `tags/<tag>/index/<alg>/<hex>/link` has the time of each digest's last push under a tag."""

import os
from bisect import bisect_right
from collections.abc import Iterator

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.beneath import open_file
from regkeeper.retention.volume.digests import ALGORITHMS, Digest
from regkeeper.retention.volume.layout import ABSENT, TAGS, Volume, repository_path
from regkeeper.retention.volume.repository import Repository


def departures(volume: Volume, repository: Repository) -> dict[Digest, int]:
    """For each digest that a tag of the repository once pointed to, when the last tag left it: the next push there.

    Digests that a tag still points to are not in the answer. A history that can't be read tells nothing.

    Returns:
        Nanoseconds since the epoch.
    """
    left: dict[Digest, int] = {}
    for name, tag in repository.listed_tags.items():
        history = f"{repository_path(repository.name)}/{TAGS}/{name}"
        for digest, time in departures_from(volume, history, tag.digest, tag.link.pushed):
            left[digest] = max(left.get(digest, 0), time)
    for tag in repository.tags.values():
        left.pop(tag.digest or b"", None)
    return left


def departures_from(volume: Volume, tag: str, digest: Digest | None, pushed: int) -> Iterator[tuple[Digest, int]]:
    """The digests to which one tag pointed before, with the nanoseconds since the epoch at which it left each.

    Args:
        volume: the volume.
        tag: the path of its directory.
        digest: what it points to.
        pushed: since when.
    """
    pushes = _pushes(volume, tag)
    times = sorted(pushes.values())
    for former, time in pushes.items():
        if former != digest:
            # Of two at the same time nobody knows which came first, and so left at once.
            position = bisect_right(times, time)
            yield former, max(times[position] if position < len(times) else pushed, time)


def pushed_at(volume: Volume, tag: str) -> int:
    """When a tag was pushed, by the path of its directory; 0 if that can't be told."""
    return _modified(volume, f"{tag}/current/link") or 0


def _pushes(volume: Volume, tag: str) -> dict[Digest, int]:
    """The time of the last push of each digest in a tag's history."""
    pushes = {}
    for algorithm in ALGORITHMS.values():
        path = f"{tag}/index/{algorithm.name}"
        try:
            names = volume.names(path)
        except OSError:
            continue
        for name in names:
            digest = digests.from_hex(algorithm, name)
            time = _modified(volume, f"{path}/{name}/link") if digest is not None else None
            if digest is not None and time is not None:
                pushes[digest] = time
    return pushes


def _modified(volume: Volume, path: str) -> int | None:
    try:
        descriptor = open_file(volume.descriptor, volume.place(path))
    except OSError as error:
        if error.errno in ABSENT:
            return None
        if isinstance(error, PermissionError):
            raise
        return None
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)
