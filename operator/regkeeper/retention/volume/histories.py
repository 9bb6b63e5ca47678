"""When tags left digests: `tags/<tag>/index/<alg>/<hex>/link` has the time of each digest's last push under a tag."""

import os
from bisect import bisect_right
from collections.abc import Iterator

from regkeeper.retention.volume import digests
from regkeeper.retention.volume.beneath import open_file
from regkeeper.retention.volume.digests import ALGORITHMS, Digest
from regkeeper.retention.volume.layout import ABSENT, TAGS, Volume, permission_refused, repository_path
from regkeeper.retention.volume.repository import Repository

ANY: Digest = b""
"""In the place of every digest that a history may name which can't be read."""

_AT_NO_TIME = 2**63
"""Later than any run: nobody knows when."""


def departures(volume: Volume, repository: Repository) -> dict[Digest, int]:
    """For each digest that a tag of the repository once pointed to, when the last tag left it: the next push there.

    Digests that a tag still points to are not in the answer.

    Returns:
        Nanoseconds since the epoch.

    Raises:
        NotPermittedError: a history may not be read.
    """
    left: dict[Digest, int] = {}
    for name, tag in repository.listed_tags.items():
        history = f"{repository_path(repository.name)}/{TAGS}/{name}"
        for digest, time in departures_from(volume, history, tag.digest, tag.link.pushed):
            left[digest] = max(left.get(digest, 0), time)
    for tag in repository.tags.values():
        if tag.digest is not None:
            left.pop(tag.digest, None)
    return left


def departures_from(volume: Volume, tag: str, digest: Digest | None, pushed: int) -> Iterator[tuple[Digest, int]]:
    """The digests to which one tag pointed before, with the nanoseconds since the epoch at which it left each.

    If that can't be read, `ANY` with its last push: none can have left it later.

    Args:
        volume: the volume.
        tag: the path of its directory.
        digest: what it points to.
        pushed: since when; 0: that can't be told.

    Raises:
        NotPermittedError: it may not be read.
    """
    try:
        pushes = _pushes(volume, tag)
    except OSError:
        yield ANY, pushed or _AT_NO_TIME
        return
    times = sorted(pushes.values())
    for former, time in pushes.items():
        if former != digest:
            # Of two at the same time nobody knows which came first, and so left at once.
            position = bisect_right(times, time)
            yield former, max(times[position] if position < len(times) else pushed, time)


def pushed_at(volume: Volume, tag: str) -> int:
    """When a tag was pushed, by the path of its directory; 0 if that can't be told.

    Raises:
        NotPermittedError: it may not be read.
    """
    try:
        return _modified(volume, f"{tag}/current/link") or 0
    except OSError:
        return 0


def _pushes(volume: Volume, tag: str) -> dict[Digest, int]:
    """The time of the last push of each digest in a tag's history."""
    pushes = {}
    for algorithm in ALGORITHMS.values():
        path = f"{tag}/index/{algorithm.name}"
        for name in volume.names(path):
            digest = digests.from_hex(algorithm, name)
            time = _modified(volume, f"{path}/{name}/link") if digest is not None else None
            if digest is not None and time is not None:
                pushes[digest] = time
    return pushes


def _modified(volume: Volume, path: str) -> int | None:
    try:
        descriptor = open_file(volume.descriptor, volume.place(path))
    except PermissionError as error:
        raise permission_refused(volume, path, error) from None
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)
