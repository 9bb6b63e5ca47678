"""Is nobody else writing to the volume? Looks at the volume itself, and asks a registry that is named.

A second registry, a backup or a forgotten `docker run registry` may write to the same directory, so what the volume
shows is looked at in every mode: an upload under way, and links that changed after the mark began.
"""

import http.client
import os
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import urlsplit

from regkeeper.retention.beneath import open_file
from regkeeper.retention.credentials import basic
from regkeeper.retention.errors import NotQuietError, UnansweredError
from regkeeper.retention.layout import (
    LAYERS,
    REVISIONS,
    TAGS,
    UPLOADS,
    Volume,
    repository_path,
    walk_repositories,
)
from regkeeper.retention.moments import SECOND

UPLOAD_SECONDS = 600
"""An upload touched more recently counts as being under way."""

_CLOCK_SKEW = 60 * SECOND
"""How far the clocks of the servers of one network filesystem may be apart."""

_PROBE_SECONDS = 5.0
_PROBE = "/v2/regkeeper-probe/manifests/probe"
_REGISTRYS_HEADER = "Docker-Distribution-Api-Version"
"""In each answer of distribution (`App.ServeHTTP` in registry/handlers/app.go), Harbor and zot, whatever its status."""


class Mode(StrEnum):
    """What the registry does while the engine works."""

    READ_ONLY = "ReadOnly"
    """Pulls go on, pushes are refused."""
    OFFLINE = "Offline"
    """The registry is stopped."""


def refuse_pull_through_cache(volume: Volume, mode: Mode) -> None:
    """Refuse a cache of another registry while it runs: it writes on pulls, even when it is read-only.

    Raises:
        NotQuietError: it is one.
    """
    if mode != Mode.OFFLINE and os.path.exists(os.path.join(volume.path, "../../../scheduler-state.json")):
        raise NotQuietError(
            "this is the volume of a pull-through cache (scheduler-state.json), which writes even when it is "
            "read-only: stop it and use --mode Offline"
        )


def refuse_uploads(volume: Volume, *, now: int, clock: int) -> None:
    """Refuse to go on beside an upload that was touched in the last ten minutes.

    Args:
        volume: Where to look.
        now: Nanoseconds since 1970: what the run takes for the present.
        clock: The same by the volume's own clock; differs from `now` where the caller chose one.

    Raises:
        NotQuietError: names the upload, when it was touched, and what helps.
    """
    window = UPLOAD_SECONDS * SECOND
    for found in walk_repositories(volume):
        uploads = f"{repository_path(found.name)}/{UPLOADS}"
        names: list[str] = []
        with _passing_over_unreadable():
            names = [] if found.problem else volume.names(uploads)
        for upload in names:
            touched = max(_times(volume, f"{uploads}/{upload}", ("startedat", "data")), default=0)
            # A time further ahead is no sign of life: it came with a copy, or from a clock that was wrong.
            ages = [age for age in (abs(clock - touched), now - touched) if 0 <= age < window]
            if ages:
                seconds = min(ages) // SECOND
                raise NotQuietError(
                    f"something writes here: an upload to {found.name} ({upload}) was touched {seconds} s ago. Wait "
                    f"until its push has ended; one that nobody ends stops counting in {UPLOAD_SECONDS - seconds} s"
                )


def _times(volume: Volume, path: str, names: Collection[str]) -> list[int]:
    times = []
    for name in names:
        with _passing_over_unreadable(), volume.directory(path) as directory:
            times.append(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns)
    return times


def refuse_changes(volume: Volume, since: int, clock: Callable[[], int], ours: Collection[str] = ()) -> None:
    """Refuse to go on when a link was written after the mark began.

    It is told by ctimes, which no writer can choose. One that is ahead of the clock is of a clock that was wrong.

    Args:
        volume: Where to look.
        since: Nanoseconds since 1970 by the volume's own clock. A write within the same tick of that clock as the
            mark's beginning (4 ms at most on Linux before 6.13) is not seen here, but by the witness of each move.
        clock: What the volume's own clock says now.
        ours: Directories out of which this run has moved something, so that they changed themselves.

    Raises:
        NotQuietError: names what changed.
    """
    changes: list[tuple[int, str]] = []
    for found in walk_repositories(volume):
        if not found.problem:
            changes += _changes(volume, repository_path(found.name), since, ours)
    latest = clock() + _CLOCK_SKEW if changes else 0
    for changed, path in changes:
        if changed <= latest:
            raise NotQuietError(f"something writes here: {path} changed while the run was under way")


def _changes(volume: Volume, path: str, since: int, ours: Collection[str]) -> Iterator[tuple[int, str]]:
    """The ctimes after `since` in a repository, with their paths."""
    yield from _changed_tags(volume, f"{path}/{TAGS}", since)
    for parent in (f"{path}/{REVISIONS}", f"{path}/{LAYERS}"):
        algorithms: list[str] = []
        with _passing_over_unreadable():
            algorithms = volume.names(parent)
        for algorithm in algorithms:
            yield from _changed_links(volume, f"{parent}/{algorithm}", since, ours)


def _changed_tags(volume: Volume, path: str, since: int) -> Iterator[tuple[int, str]]:
    """A re-push rewrites `current/link` in place up to distribution 3.0, so that no directory shows it."""
    with _passing_over_unreadable(), volume.directory(path) as directory:
        for tag in os.listdir(directory):
            with _passing_over_unreadable():
                descriptor = open_file(directory, f"{tag}/current/link")
                try:
                    changed = os.fstat(descriptor).st_ctime_ns
                finally:
                    os.close(descriptor)
                if changed > since:
                    yield changed, f"{path}/{tag}"


def _changed_links(volume: Volume, path: str, since: int, ours: Collection[str]) -> Iterator[tuple[int, str]]:
    with _passing_over_unreadable(), volume.directory(path) as directory:
        changed = os.fstat(directory).st_ctime_ns
        if changed <= since:
            return
        if path not in ours:
            yield changed, path
            return
        for name in os.listdir(directory):
            with _passing_over_unreadable():
                changed = os.stat(name, dir_fd=directory, follow_symlinks=False).st_ctime_ns
                if changed > since:
                    yield changed, f"{path}/{name}"


@contextmanager
def _passing_over_unreadable() -> Iterator[None]:
    """What can't be opened is not there, or pins its repository, and stops nothing else.

    Raises:
        PermissionError: it may not be opened by this user.
    """
    try:
        yield
    except PermissionError:
        raise
    except OSError:
        pass


def probe(registry: str, mode: Mode) -> None:
    """Ask the registry itself: read-only, it refuses a push; stopped, nothing answers.

    Neither a proxy nor a redirect is followed: the question is for this address. An answer that is not a registry's
    says nothing: while a Service's address is not known to a node, packets to it may leave the cluster, and a gateway
    on their way may answer with any status.

    Args:
        registry: Its URL, `http://host:port` or `https://…`.
        mode: What is expected.

    Raises:
        UnansweredError: it can't be reached, or somebody else answers.
        NotQuietError: it is not so, or can't be found out.
    """
    url = urlsplit(registry)
    host = url.hostname or ""
    connection: http.client.HTTPConnection = (
        http.client.HTTPSConnection(host, url.port, timeout=_PROBE_SECONDS)
        if url.scheme == "https"
        else http.client.HTTPConnection(host, url.port, timeout=_PROBE_SECONDS)
    )
    with closing(connection):
        try:
            connection.connect()
        except ConnectionRefusedError:
            if mode == Mode.OFFLINE:
                return
            raise UnansweredError(f"{registry} does not answer: if it is stopped, use --mode Offline") from None
        except ssl.SSLError as error:
            raise NotQuietError(f"{registry} answers, but can't be trusted: {error}") from error
        except OSError as error:
            raise UnansweredError(f"{registry} can't be reached, so nobody knows whether it writes: {error}") from error
        try:
            if mode == Mode.OFFLINE:
                _request(connection, registry, "GET", "/v2/")
                raise NotQuietError(f"a registry answers at {registry}: stop it, or use --mode ReadOnly")
            _probe_push(connection, registry)
        except (OSError, http.client.HTTPException) as error:
            what = "something accepts connections at" if mode == Mode.OFFLINE else "no answer to a probing push from"
            raise UnansweredError(f"{what} {registry}, so nobody knows whether it writes: {error!r}") from error


def _probe_push(connection: http.client.HTTPConnection, registry: str) -> None:
    """Push a manifest that is none: a registry that takes pushes refuses it with 400, before it writes anything."""
    response = _request(connection, registry, "PUT", _PROBE)
    if response.status == http.HTTPStatus.UNAUTHORIZED:
        credentials = basic(registry, response.getheader("WWW-Authenticate", ""))
        response = _request(connection, registry, "PUT", _PROBE, {"Authorization": credentials})
    if response.status == http.HTTPStatus.METHOD_NOT_ALLOWED:
        return
    if response.status == http.HTTPStatus.BAD_REQUEST:
        raise NotQuietError(
            f"{registry} takes pushes: make it read-only (storage.maintenance.readonly.enabled: true) or stop it"
        )
    raise NotQuietError(
        f"{registry} answered a probing push with {response.status} {response.reason} instead of 405: "
        "nobody knows whether it is read-only"
    )


def _request(
    connection: http.client.HTTPConnection,
    registry: str,
    method: str,
    path: str,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> http.client.HTTPResponse:
    connection.request(method, path, body=b"" if method == "PUT" else None, headers=dict(headers))
    response = connection.getresponse()
    response.read()
    if response.getheader(_REGISTRYS_HEADER) is None:
        raise UnansweredError(
            f"what answers at {registry} is no registry ({method} {path}: {response.status} {response.reason}, without "
            f"the header {_REGISTRYS_HEADER}), so nobody knows whether the registry writes"
        )
    return response
