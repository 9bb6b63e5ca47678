"""A read-only client of container registries (OCI distribution spec 1.1), for servers that may be hostile.

Tenants choose the image that answers at a registry's address, so nothing that comes back is trusted: redirects are
not followed, a `Link` counts only within the list that it continues, no proxy is taken from the environment, no
compressed body is accepted, and bytes, pages, names and seconds are bounded. A list that was cut says so.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import aiohttp
from yarl import URL

from regkeeper.concurrency import in_order
from regkeeper.distribution.answers import (
    REPOSITORIES,
    TAGS,
    Answer,
    Counts,
    Kind,
    Listing,
    RegistryReadError,
    Response,
    cause,
    names_of,
    next_page,
    printable,
    require_ok,
)
from regkeeper.naming import REGISTRY_HEADER

_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,128}")

MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""What we accept as a manifest; without the header distribution answers with, or converts to, schema 1."""

_PAGE_SIZE = 1000
"""Names asked for a page; also the most that distribution allows by default (`catalog.maxentries`)."""

_FEW_REPOSITORIES = 8
"""Whose tags are counted one after the other: a connection costs more than an answer over the one that is there."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one client, which are to hold whatever the server does. The defaults suit a look in passing."""

    seconds: float = 20
    """All requests of the client together, from its making."""
    request_seconds: float = 5
    """One request with its answer."""
    body_bytes: int = 1 << 20
    """One answer."""
    pages: int = 200
    """Requests for one list."""
    names: int = 50_000
    """Names kept of one list."""
    requests: int = 4
    """Requests at a time."""


def open_session(*, keep_alive: bool = True) -> aiohttp.ClientSession:
    """A session that keeps no cookie, decodes no compressed body and reads no proxy or .netrc from the environment.

    Without `keep_alive` each request makes a connection of its own.
    """
    return aiohttp.ClientSession(
        # Each client bounds its own requests.
        connector=aiohttp.TCPConnector(limit=0, force_close=not keep_alive),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),  # each request has its own, below
        headers={"Accept-Encoding": "identity", "User-Agent": "regkeeper"},
    )


@dataclass
class _Total:
    """What was counted of one list so far."""

    names: int = 0
    inside: int = 0
    """Names of the lists that belong to these names: the tags of repositories."""
    pages: int = 0
    complete: bool = True


class RegistryClient:
    """One look at one registry: its limits of time start with its making."""

    def __init__(self, session: aiohttp.ClientSession, origin: URL, limits: Limits | None = None) -> None:
        self._session = session
        self._origin = origin
        self._limits = limits or Limits()
        self._deadline = asyncio.get_running_loop().time() + self._limits.seconds
        self._slots = asyncio.Semaphore(self._limits.requests)

    async def ping(self) -> Answer:
        """Ask `/v2/` who answers.

        Raises:
            RegistryReadError: nobody answers, or not with HTTP.
        """
        answer = await self._request("GET", self._origin / "v2/", body=False)
        return Answer(answer.status, answer.headers.get(REGISTRY_HEADER))

    async def count(self) -> Counts:
        """Count repositories and tags within the limits. A repository that is listed without tags counts too.

        No name outlives its page, so that memory is bounded by pages under way, whatever the server lists.

        Raises:
            RegistryReadError: not even the first page of repositories could be read.
        """
        total = _Total()
        try:
            async with aclosing(self._counted_pages("v2/_catalog", REPOSITORIES, total)) as pages:
                async for repositories in pages:
                    ahead = self._limits.requests if len(repositories) > _FEW_REPOSITORIES else 1
                    async for tags in in_order(repositories, self._count_tags, ahead=ahead):
                        total.inside += tags.names
                        total.complete = total.complete and tags.complete
        except RegistryReadError:
            if not total.pages:
                raise
            total.complete = False
        return Counts(total.names, total.inside, total.complete)

    async def repositories(self) -> Listing:
        """The repositories that `_catalog` lists.

        Raises:
            RegistryReadError: not even the first page could be read.
        """
        return await self._list("v2/_catalog", REPOSITORIES)

    async def tags(self, repository: str) -> Listing:
        """The tags of a repository; none if it is gone, or if distribution lists it though its last tag went.

        Raises:
            RegistryReadError: not even the first page could be read.
        """
        try:
            return await self._list(f"v2/{repository}/tags/list", TAGS)
        except RegistryReadError as error:
            if error.reason == "NotFound":
                return Listing()
            raise

    async def digest(self, repository: str, tag: str) -> str:
        """Digest of the manifest (or index) that a tag names.

        Raises:
            RegistryReadError: there is no such manifest, or the server doesn't say its digest.
        """
        url = self._origin / f"v2/{repository}/manifests/{tag}"
        answer = await self._request("HEAD", url, body=False, headers={"Accept": ", ".join(MANIFEST_TYPES)})
        require_ok(answer)
        digest = answer.headers.get("Docker-Content-Digest", "")
        if not _DIGEST.fullmatch(digest):
            raise RegistryReadError("the answer has no valid Docker-Content-Digest", reason="NotARegistry")
        return digest

    async def _count_tags(self, repository: str) -> _Total:
        total = _Total()
        try:
            async with aclosing(self._counted_pages(f"v2/{repository}/tags/list", TAGS, total)) as pages:
                async for _ in pages:
                    pass
        except RegistryReadError as error:
            total.complete = error.reason == "NotFound" and not total.pages
        return total

    async def _counted_pages(self, path: str, kind: Kind, total: _Total) -> AsyncGenerator[list[str], None]:
        """Yield the valid names of each page, after they were added to `total`."""
        fingerprints = set[int]()
        async with aclosing(self._pages(path, kind.key)) as pages:
            async for entries in pages:
                fingerprint = hash(tuple(entries))
                if entries and fingerprint in fingerprints:
                    raise RegistryReadError("cut at a page that repeats what came before", reason="Repeats")
                fingerprints.add(fingerprint)
                valid = [entry for entry in dict.fromkeys(entries) if kind.is_valid(entry)]
                total.complete = total.complete and len(valid) == len(set(entries))
                del entries  # else it would stay until the next page is there
                room = self._limits.names - total.names
                total.pages += 1
                total.names += len(valid[:room])
                yield valid[:room]
                if len(valid) > room:
                    raise RegistryReadError(f"cut after {self._limits.names} names", reason="TooLarge")
                del valid

    async def _list(self, path: str, kind: Kind) -> Listing:
        listing, seen, invalid = Listing(), set[str](), list[str]()
        try:
            async with aclosing(self._pages(path, kind.key)) as pages:
                async for entries in pages:
                    fresh = [entry for entry in dict.fromkeys(entries) if entry not in seen]
                    if entries and not fresh:
                        raise RegistryReadError("cut at a page that repeats what came before", reason="Repeats")
                    room = self._limits.names - len(seen)
                    seen.update(fresh[:room])
                    for entry in fresh[:room]:
                        (listing.names if kind.is_valid(entry) else invalid).append(entry)
                    if len(fresh) > room:
                        raise RegistryReadError(f"cut after {self._limits.names} names", reason="TooLarge")
        except RegistryReadError as error:
            if not seen:
                raise
            listing.problems.append(str(error))
        if invalid:
            examples = ", ".join(repr(printable(name)) for name in invalid[:3])
            listing.problems.append(f"lists names that are not valid ({len(invalid)}), such as {examples}")
        return listing

    async def _pages(self, path: str, key: str) -> AsyncGenerator[list[str], None]:
        start = self._origin / path
        url = start.with_query(n=_PAGE_SIZE)
        for number in range(self._limits.pages):
            answer = await self._request("GET", url)
            if number == 0 and answer.status == 400:
                # distribution refuses a page larger than its catalog.maxentries; without n it takes its own size.
                answer = await self._request("GET", start)
            require_ok(answer)
            yield names_of(answer.body, key)
            following = next_page(answer.headers.get("Link", ""), start)
            if following is None:
                return
            url = following
        raise RegistryReadError(f"cut after {self._limits.pages} pages", reason="TooLarge")

    async def _request(
        self, method: str, url: URL, *, body: bool = True, headers: dict[str, str] | None = None
    ) -> Response:
        async with self._slots:
            left = self._deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise RegistryReadError(f"no time left of {self._limits.seconds:g} s", reason="Timeout")
            seconds = min(left, self._limits.request_seconds)
            try:
                async with (
                    asyncio.timeout(seconds),
                    self._session.request(method, url, headers=headers, allow_redirects=False) as response,
                ):
                    content = await self._body(response) if body else b""
                    return Response(response.status, response.headers, content)
            except TimeoutError as error:
                raise RegistryReadError(f"no answer within {seconds:.3g} s", reason="Timeout") from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise RegistryReadError(f"cannot be reached: {cause(error)}", reason="Unreachable") from error

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > self._limits.body_bytes:
                raise RegistryReadError(f"an answer of more than {self._limits.body_bytes} bytes", reason="TooLarge")
        return bytes(content)
