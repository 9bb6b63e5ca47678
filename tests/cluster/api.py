"""What the tool and its tests ask the API server again and again, with nothing but the standard library.

kubectl takes a tenth of a second of processor time to ask one thing, with its start and its discovery.
"""

import http.client
import json
import select
import ssl
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

_TIMEOUT = 30  # seconds; takes a few milliseconds

Object = dict[str, Any]


class ApiError(Exception):
    """The API server refused a request; the message has its words."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """Of HTTP."""


class Wire:
    """One connection to a server, made when it is needed and kept, for one request at a time."""

    def __init__(self, server: str, certificates: Path | None = None, user: str = "") -> None:
        self._address = urlsplit(server).netloc
        self._certificates = certificates
        """None: in plain HTTP."""
        self._user = user
        self._kept: http.client.HTTPConnection | None = None
        self._lock = Lock()

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The status and the body of the answer.

        Raises:
            OSError: there is none.
        """
        with self._lock:
            connection = self._take()
            try:
                connection.request(method, path, body, dict(headers))
                response = connection.getresponse()
                answer = response.status, response.read()
            except (http.client.IncompleteRead, http.client.BadStatusLine) as error:
                connection.close()
                raise ConnectionError(f"{method} {path}: the answer broke off: {error!r}") from error
            except BaseException:
                connection.close()
                raise
            self._kept = connection
            return answer

    def close(self) -> None:
        """Let the connection go."""
        with self._lock:
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    def _take(self) -> http.client.HTTPConnection:
        """The kept one, unless the server has closed it; nobody keeps it until it has brought an answer again."""
        kept, self._kept = self._kept, None
        if kept is not None:
            if kept.sock is not None and not select.select([kept.sock], [], [], 0)[0]:
                return kept
            kept.close()
        if self._certificates is None:
            return http.client.HTTPConnection(self._address, timeout=_TIMEOUT)
        return http.client.HTTPSConnection(self._address, context=self._context, timeout=_TIMEOUT)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        assert self._certificates is not None
        context = ssl.create_default_context(cafile=str(self._certificates / "ca.crt"))
        context.load_cert_chain(self._certificates / f"{self._user}.crt", self._certificates / f"{self._user}.key")
        return context


class Api:
    """The API server as one of its users has it."""

    def __init__(self, wire: Wire, impersonated: str = "") -> None:
        self._wire = wire
        self._headers = {"Impersonate-User": impersonated} if impersonated else {}
        self._kinds: dict[tuple[str, str], Object] = {}

    def impersonating(self, user: str) -> "Api":
        """The same as another user has it."""
        return Api(self._wire, user)

    def close(self) -> None:
        """Let the connection go; the next request makes another one."""
        self._wire.close()

    def ready(self) -> bool:
        """Whether the server says that it is ready; False while nothing answers."""
        try:
            return self._wire.send("GET", "/readyz", None, self._headers) == (200, b"ok")
        except OSError:
            return False

    def get(self, path: str) -> Object | None:
        """The object at that path, None if there is none."""
        try:
            return self._ask("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def create(self, body: Object, *, dry_run: bool = False, strict: bool = True) -> Object:
        """Make an object; unless `strict`, without the fields that its kind does not have."""
        return self.post(self.path_of(body, named=False) + _query(dry_run=dry_run, strict=strict), body)

    def post(self, path: str, body: Object) -> Object:
        """Make what is asked for at a path that no kind tells: a binding, a token."""
        return self._ask("POST", path, body, "application/json")

    def apply(self, body: Object, *, manager: str, force: bool = False, dry_run: bool = False) -> Object:
        """Apply an object, by the server's own apply; `force` takes over what another manager owns."""
        query = _query(dry_run=dry_run, fieldManager=manager, force=json.dumps(force))
        return self._ask("PATCH", self.path_of(body) + query, body, "application/apply-patch+yaml")

    def replace(self, body: Object) -> Object:
        """Put an object in the place of the one of its name, whatever that is by now."""
        path = self.path_of(body)
        there = self._ask("GET", path)
        version = {"resourceVersion": there["metadata"]["resourceVersion"]}
        return self._ask(
            "PUT", path + _query(), {**body, "metadata": {**body["metadata"], **version}}, "application/json"
        )

    def merge(self, path: str, patch: Object, *, dry_run: bool = False) -> Object:
        """Merge a patch into the object at that path."""
        return self._ask("PATCH", path + _query(dry_run=dry_run), patch, "application/merge-patch+json")

    def delete(
        self, path: str, *, propagation: str = "Background", at_once: bool = False, dry_run: bool = False
    ) -> None:
        """Delete the object at that path, or a collection; it goes when its finalizers do.

        Args:
            path: of what.
            propagation: what becomes of what it owns.
            at_once: without waiting for a kubelet to end a pod.
            dry_run: change nothing.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if at_once:
            options["gracePeriodSeconds"] = 0
        if dry_run:
            options["dryRun"] = ["All"]
        self._ask("DELETE", path, options, "application/json")

    def path_of(self, body: Object, *, named: bool = True) -> str:
        """Where an object is, or those of its kind.

        Raises:
            LookupError: the server has no such kind.
        """
        version, kind, metadata = body["apiVersion"], body["kind"], body["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self._kinds:
            listed = self.get(root) or {"resources": []}
            self._kinds |= {(version, each["kind"]): each for each in listed["resources"] if "/" not in each["name"]}
        known = self._kinds[version, kind]
        if known["namespaced"]:
            root += f"/namespaces/{quote(metadata.get('namespace') or 'default')}"
        return f"{root}/{known['name']}" + (f"/{quote(metadata['name'])}" if named else "")

    def _ask(self, method: str, path: str, body: Object | None = None, content: str = "") -> Object:
        headers = {**self._headers, "Content-Type": content} if content else self._headers
        status, text = self._wire.send(method, path, None if body is None else _encoded(body), headers)
        if status >= 300:
            raise ApiError(f"{method} {path}: {status} {_message(text)}", status)
        answer: Object = json.loads(text)
        return answer


def _encoded(body: Object) -> bytes:
    """JSON that is YAML too, which has no surrogates, and breaks lines where JSON does not."""
    text = json.dumps(body, ensure_ascii=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def _query(*, dry_run: bool = False, strict: bool = True, **options: str) -> str:
    """What is asked of a write: a field that its kind does not have is an error, as it is for kubectl."""
    options["fieldValidation"] = "Strict" if strict else "Ignore"
    if dry_run:
        options["dryRun"] = "All"
    return "?" + urlencode(options)


def _message(text: bytes) -> str:
    """What a Status says; whatever it is where it is none."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError):
        return text.decode(errors="replace")
