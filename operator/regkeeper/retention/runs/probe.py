"""Asks a registry whether it is as quiet as the mode of a run says."""

import http.client
import ssl
from collections.abc import Mapping
from contextlib import closing
from types import MappingProxyType
from urllib.parse import urlsplit

from regkeeper.retention.errors import NotQuietError, UnansweredError
from regkeeper.retention.runs.credentials import basic
from regkeeper.retention.runs.quiet import Mode

_PROBE_SECONDS = 5.0
_PROBE = "/v2/regkeeper-probe/manifests/probe"
_REGISTRYS_HEADER = "Docker-Distribution-Api-Version"
"""In each answer of distribution (`App.ServeHTTP` in registry/handlers/app.go), Harbor and zot, whatever its status."""


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
