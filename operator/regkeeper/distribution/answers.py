"""What registries answer, and what of it can be used. Nothing that comes back is trusted."""

import json
import os
import re
from dataclasses import dataclass, field

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from regkeeper.errors import RegkeeperError

_NEXT = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?')


class RegistryReadError(RegkeeperError):
    """The registry could not be asked, or its answer could not be used. Its text holds no control characters."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Answer:
    """What `GET /v2/` gave."""

    status: int
    """HTTP status; 200 is a registry, 401 one that asks who you are."""
    registry_uid: str | None
    """Value of the header by which a Registry of ours is known."""


@dataclass
class Listing:
    """Names that the server listed."""

    names: list[str] = field(default_factory=list)
    """Valid, each once, in the server's order."""
    problems: list[str] = field(default_factory=list)
    """Why the list may not be whole, for people. Empty: it is."""


@dataclass(frozen=True)
class Counts:
    """Size of a registry."""

    repositories: int
    tags: int
    complete: bool
    """False: a bound or an error cut the count, and the numbers are lower bounds."""


@dataclass(frozen=True)
class Kind:
    """Names of one kind."""

    key: str
    """Under which an answer lists them."""
    grammar: re.Pattern[str]
    length: int
    """Characters at most."""

    def is_valid(self, name: str) -> bool:
        return len(name) <= self.length and self.grammar.fullmatch(name) is not None


# The grammar of the distribution spec ("Pulling manifests"). A name that it refuses is neither asked for (it could
# lead the request elsewhere) nor printed as it is (it could hold escape sequences).
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORIES = Kind("repositories", re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*"), 255)
TAGS = Kind("tags", re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*"), 128)


@dataclass(frozen=True)
class Response:
    """One answer, its body whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


def printable(text: str) -> str:
    """What a server said, cut and without control characters, which could rewrite a terminal or forge a log line."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:200])
    return shown + ("…" if len(text) > len(shown) else "")


def cause(error: Exception) -> str:
    """Why a request got no answer, in words."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.strerror:
        # errno is negative for the resolver's errors, whose text is in strerror; asyncio hides the system's text.
        errno = error.errno or 0
        return os.strerror(errno) if errno > 0 else error.strerror
    return printable(str(error) or type(error).__name__)


def require_ok(answer: Response) -> None:
    """Check that the answer is what was asked for.

    Raises:
        RegistryReadError: it is not; says what it is instead.
    """
    if answer.status == 200:
        return
    if 300 <= answer.status < 400:
        target = printable(answer.headers.get("Location", "nowhere"))
        raise RegistryReadError(f"redirects to {target}, which is not followed", reason="Redirected")
    if answer.status == 401:
        raise RegistryReadError("asks for credentials (401), of which regkeeper has none", reason="Unauthorized")
    if answer.status == 404:
        raise RegistryReadError("not found (404)", reason="NotFound")
    raise RegistryReadError(f"answers with HTTP status {answer.status}", reason="BadStatus")


def names_of(body: bytes, key: str) -> list[str]:
    """The names in `{key: [...]}`; distribution writes `null` for none.

    Raises:
        RegistryReadError: the body is something else.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RegistryReadError("the answer is not JSON: is this a registry?", reason="NotARegistry") from error
    if isinstance(document, dict) and document.get(key, ...) is None:
        return []
    entries = document.get(key) if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise RegistryReadError(f"the answer has no list of {key}: is this a registry?", reason="NotARegistry")
    return entries


def next_page(link: str, start: URL) -> URL | None:
    """The next page that a `Link` header (RFC 8288) names; None at the last one.

    Raises:
        RegistryReadError: it is not of the list that began at `start`.
    """
    match = _NEXT.search(link)
    if match is None:
        return None
    try:
        following = start.join(URL(match[1]))
        same_list = following.origin() == start.origin() and following.path == start.path
    except ValueError:
        same_list = False
    if not same_list:
        raise RegistryReadError(f"its next page is elsewhere: {printable(match[1])}", reason="NotARegistry")
    return following
