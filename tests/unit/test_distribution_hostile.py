"""The registry client against a server that misbehaves in each way we know."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from regkeeper.distribution import Answer, Counts, Limits, RegistryClient, RegistryReadError

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[URL]:
    """An HTTP server on loopback whose every answer comes from `handler`."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield URL(site.name).with_port(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_bytes(*pieces: bytes, pause: float = 0) -> AsyncIterator[URL]:
    """A server that answers each connection with `pieces`, `pause` seconds after each, and for ever with the last."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
            while pause:
                writer.write(pieces[-1])
                await writer.drain()
                await asyncio.sleep(pause)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield URL.build(scheme="http", host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    finally:
        server.close()


def pages(*answers: tuple[object, str | None], key: str = "repositories") -> Handler:
    """A server of one list: page by page the names and the `Link` header; tags of every repository: `v1`."""
    left = iter(answers)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith("/tags/list"):
            return web.json_response({"tags": ["v1"]})
        names, link = next(left)
        return web.json_response({key: names}, headers={"Link": link} if link else {})

    return handler


def next_page(target: str) -> str:
    return f'<{target}>; rel="next"'


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: web.Response(text="<html>welcome</html>", content_type="text/html"), "is not JSON"),
        (lambda: web.Response(body=b"[" * 500_000), "is not JSON"),
        (lambda: web.Response(body=b"\xff\xfe"), "is not JSON"),
        (lambda: web.json_response([]), "no list of repositories"),
        (lambda: web.json_response({"errors": []}), "no list of repositories"),
        (lambda: web.json_response({"repositories": "abc"}), "no list of repositories"),
        (lambda: web.json_response({"repositories": ["a", 7]}), "no list of repositories"),
        (lambda: web.json_response({"repositories": []}, status=500), "HTTP status 500"),
        (lambda: web.json_response({}, status=404), "not found"),
        (lambda: web.json_response({}, status=401), "credentials"),
        (
            lambda: web.Response(status=307, headers={"Location": "http://other/\u202e"}),
            "to http://other/\ufffd, which is not followed",
        ),
        (lambda: web.Response(body=b" " * (Limits().body_bytes + 1)), "more than 1048576 bytes"),
    ],
)
async def test_an_answer_that_is_no_list(
    answer: Callable[[], web.Response], message: str, session: aiohttp.ClientSession
) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return answer()

    async with serving(handler) as origin:
        with pytest.raises(RegistryReadError, match=message) as caught:
            await RegistryClient(session, origin).count()
    assert str(caught.value).isprintable()


async def test_null_is_an_empty_list(session: aiohttp.ClientSession) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"repositories": ["a", "b"]} if "_catalog" in request.path else {"tags": None})

    async with serving(handler) as origin:
        assert await RegistryClient(session, origin).count() == Counts(2, 0, complete=True)
    async with serving(pages((None, None))) as origin:
        assert await RegistryClient(session, origin).count() == Counts(0, 0, complete=True)


@pytest.mark.parametrize(
    ("status", "counts"), [(404, Counts(2, 1, complete=True)), (500, Counts(2, 1, complete=False))]
)
async def test_a_listed_repository_that_cannot_be_read(
    status: int, counts: Counts, session: aiohttp.ClientSession
) -> None:
    """404 is how distribution 2.8 says that a repository has no tag any more."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if "_catalog" in request.path:
            return web.json_response({"repositories": ["bad", "good"]})
        return web.json_response({"tags": ["v1"]}, status=status if "bad" in request.path else 200)

    async with serving(handler) as origin:
        assert await RegistryClient(session, origin).count() == counts


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/v2/_catalog?last=a",
        "//127.0.0.1:1/v2/_catalog?last=a",
        "https://{host}/v2/_catalog?last=a",
        "/v2/secret/blobs/sha256:0",
        "../../etc/passwd",
        "http://[/",
        "file:///etc/passwd",
        "http://user@127.0.0.1:1/v2/_catalog",
    ],
)
async def test_a_next_page_elsewhere_is_not_followed(target: str, session: aiohttp.ClientSession) -> None:
    asked: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        link = next_page(target.format(host=request.host))
        return web.json_response({"repositories": ["a"]}, headers={"Link": link})

    async with serving(handler) as origin:
        listing = await RegistryClient(session, origin).repositories()
    assert listing.names == ["a"]
    assert "elsewhere" in listing.problems[0]
    assert asked == ["/v2/_catalog"]


@pytest.mark.parametrize("target", ["/v2/_catalog?last=a&n=1000", "?last=a", "http://{host}/v2/_catalog?last=a"])
async def test_a_next_page_of_the_same_list_is_followed(target: str, session: aiohttp.ClientSession) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if "last" in request.query:
            return web.json_response({"repositories": [request.query["last"] + "b"]})
        link = next_page(target.format(host=request.host))
        return web.json_response({"repositories": ["a"]}, headers={"Link": link})

    async with serving(handler) as origin:
        listing = await RegistryClient(session, origin).repositories()
    assert (listing.names, listing.problems) == (["a", "ab"], [])


async def test_a_page_that_comes_again_ends_the_list(session: aiohttp.ClientSession) -> None:
    again = next_page("/v2/_catalog?last=b")
    async with serving(pages((["a", "b"], again), (["b", "a"], again))) as origin:
        listing = await RegistryClient(session, origin).repositories()
    assert listing.names == ["a", "b"]
    assert "repeats" in listing.problems[0]


async def test_a_name_twice_is_listed_once(session: aiohttp.ClientSession) -> None:
    """distribution 2.8 may give a page's last name again, as the first of the next."""
    async with serving(pages((["a", "b"], next_page("?last=b")), (["b", "c"], None))) as origin:
        listing = await RegistryClient(session, origin).repositories()
    assert (listing.names, listing.problems) == (["a", "b", "c"], [])


async def test_names_that_are_not_valid_are_named_and_never_asked_for(session: aiohttp.ClientSession) -> None:
    asked: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.raw_path)
        if "_catalog" in request.path:
            names = ["../../etc", "Upper", "a//b", "a\nb", "good", "\x1b[2J", "", "a" * 256, "a?x=1", "ok/"]
            return web.json_response({"repositories": names})
        return web.json_response({"tags": ["v1", "-bad", "a/b", "x" * 129, "v1@sha256:0", "_ok"]})

    async with serving(handler) as origin:
        client = RegistryClient(session, origin)
        repositories, tags = await client.repositories(), await client.tags("good")
    assert repositories.names == ["good"]
    assert repositories.problems == ["lists names that are not valid (9), such as '../../etc', 'Upper', 'a//b'"]
    assert tags.names == ["v1", "_ok"]
    assert "(4)" in tags.problems[0]
    assert asked == ["/v2/_catalog?n=1000", "/v2/good/tags/list?n=1000"]


async def test_an_endless_catalog_is_cut_and_says_so(session: aiohttp.ClientSession) -> None:
    """By the number of pages, and by the number of names, whichever comes first."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith("/tags/list"):
            return web.json_response({"tags": []})
        page = int(request.query.get("last", "0"))
        names = [f"r{page}x{number}" for number in range(10)]
        return web.json_response({"repositories": names}, headers={"Link": next_page(f"?last={page + 1}")})

    async with serving(handler) as origin:
        by_pages = await RegistryClient(session, origin, Limits(pages=3)).repositories()
        by_names = await RegistryClient(session, origin, Limits(names=25)).repositories()
        counts = await RegistryClient(session, origin, Limits(pages=3)).count()
    assert (len(by_pages.names), by_pages.problems) == (30, ["cut after 3 pages"])
    assert (len(by_names.names), by_names.problems) == (25, ["cut after 25 names"])
    assert counts == Counts(30, 0, complete=False)


async def test_counting_keeps_no_names(session: aiohttp.ClientSession) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/v2/_catalog":
            return web.json_response({"repositories": ["a", "b", "c", "d"]})
        page = int(request.query.get("last", "0"))
        names = [f"{page * 1000 + number:0128d}" for number in range(1000)]
        return web.json_response({"tags": names}, headers={"Link": next_page(f"?last={page + 1}")})

    async with serving(handler) as origin:
        tracemalloc.start()
        try:
            # No time bounds it here: tracing takes some of a busy machine's.
            counts = await RegistryClient(session, origin, Limits(seconds=300, request_seconds=300)).count()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert counts == Counts(4, 4 * Limits().names, complete=False)
    assert peak < 8 << 20, "the names of one such list take 9 MiB"


async def test_a_count_ends_at_pages_that_come_again(session: aiohttp.ClientSession) -> None:
    answers = pages((["a", "b"], next_page("?last=b")), (["c"], next_page("?last=c")), (["a", "b"], None))
    async with serving(answers) as origin:
        assert await RegistryClient(session, origin).count() == Counts(3, 3, complete=False)


async def test_the_time_of_all_requests_is_bounded(session: aiohttp.ClientSession) -> None:
    asked: list[str] = []
    test_is_over = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        if "_catalog" in request.path:
            return web.json_response({"repositories": [f"r{number}" for number in range(50)]})
        await test_is_over.wait()
        return web.json_response({"tags": ["v1"]})

    async with serving(handler) as origin:
        counts = await RegistryClient(session, origin, Limits(seconds=1, request_seconds=0.3, requests=4)).count()
        test_is_over.set()
    assert counts == Counts(50, 0, complete=False)
    assert len(asked) < 20


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n",),
        (b" ",),
    ],
    ids=["headers", "body", "chunks", "continue", "nothing"],
)
async def test_a_server_that_trickles_is_left(pieces: tuple[bytes, ...], session: aiohttp.ClientSession) -> None:
    async with serving_bytes(*pieces, pause=0.02) as origin:
        with pytest.raises(RegistryReadError):
            await asyncio.wait_for(RegistryClient(session, origin, Limits(request_seconds=0.5)).count(), timeout=5)


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\n\x1b[2J: x\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46"],
    ids=["closes", "ssh", "escape", "tls"],
)
async def test_a_server_that_does_not_speak_http(answer: bytes, session: aiohttp.ClientSession) -> None:
    async with serving_bytes(answer) as origin:
        with pytest.raises(RegistryReadError, match="cannot be reached") as caught:
            await RegistryClient(session, origin).ping()
    assert caught.value.reason == "Unreachable"
    assert str(caught.value).isprintable()


async def test_nobody_answers(session: aiohttp.ClientSession) -> None:
    with pytest.raises(RegistryReadError, match="cannot be reached: Connection refused"):
        await RegistryClient(session, URL("http://127.0.0.1:1")).ping()
    with pytest.raises(RegistryReadError, match=r"cannot be reached: .*[Nn]ame"):
        await RegistryClient(session, URL("http://no-such-host.invalid:5000")).ping()


async def test_a_compressed_bomb_is_not_unpacked(session: aiohttp.ClientSession) -> None:
    asked: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.headers["Accept-Encoding"])
        response = web.json_response({"repositories": ["a" * 4_000_000]})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with serving(handler) as origin:
        with pytest.raises(RegistryReadError, match="is not JSON"):
            await RegistryClient(session, origin).count()
    assert asked == ["identity"]


async def test_no_proxy_no_cookies(session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    cookies: list[str | None] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        cookies.append(request.headers.get("Cookie"))
        return web.json_response({}, headers={"Set-Cookie": "a=b; Path=/"})

    async with serving(handler) as origin:
        client = RegistryClient(session, origin)
        assert await client.ping() == await client.ping() == Answer(200, None)
    assert cookies == [None, None]


async def test_ping_reports_who_answers(session: aiohttp.ClientSession) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=401, headers={"X-Regkeeper-Registry": "another"})

    async with serving(handler) as origin:
        assert await RegistryClient(session, origin).ping() == Answer(401, "another")


@pytest.mark.parametrize("digest", [None, "sha256:short", "sha256:" + "0" * 64 + "\x7f"])
async def test_a_digest_that_is_none(digest: str | None, session: aiohttp.ClientSession) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(headers={"Docker-Content-Digest": digest} if digest else {})

    async with serving(handler) as origin:
        with pytest.raises(RegistryReadError, match=r"no valid Docker-Content-Digest|cannot be reached"):
            await RegistryClient(session, origin).digest("a", "v1")


async def test_no_more_requests_at_a_time_than_allowed(session: aiohttp.ClientSession) -> None:
    running, most = 0, 0

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return web.json_response({"repositories": [f"r{number}" for number in range(40)], "tags": ["v1"]})

    async with serving(handler) as origin:
        counts = await RegistryClient(session, origin, Limits(requests=8)).count()
    assert counts == Counts(40, 40, complete=True)
    assert most == 8


async def test_a_small_registry_is_counted_over_one_connection(session: aiohttp.ClientSession) -> None:
    connections = set[int]()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        connections.add(id(request.transport))
        return web.json_response({"repositories": ["a", "b", "c"], "tags": ["v1"]})

    async with serving(handler) as origin:
        assert await RegistryClient(session, origin).count() == Counts(3, 3, complete=True)
    assert len(connections) == 1
