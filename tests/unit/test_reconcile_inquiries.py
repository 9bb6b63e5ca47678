"""Questions to registries hold no worker up, whoever answers slowly or never."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from regkeeper.distribution import open_session
from regkeeper.reconcile.inquiries import Inquiries
from regkeeper.reconcile.queue import Key, Result, Verdict, WorkQueue
from regkeeper.reconcile.registry.diagnosis import Problem
from regkeeper.reconcile.registry.endpoints import HOLDS_SECONDS, Endpoint, Finding, Prober, Probes
from tests.waiting import wait_for_async

KEY = Key("default", "main")
OTHER = Key("default", "other")


class Tarpit:
    """A server that takes connections and says nothing."""

    def __init__(self) -> None:
        self.connections = 0
        self.url = URL()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Tarpit"]:
        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            try:
                await reader.read()  # until the client gives up
            finally:
                self.connections -= 1
                writer.close()

        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        self.url = URL.build(scheme="http", host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        try:
            yield self
        finally:
            server.close()


class NoObserver:
    def finished(self, result: Result, reason: str, seconds: float) -> None:
        assert result == Result.DONE, reason


async def no_condition(_: Key, error: Exception, __: Verdict) -> None:
    raise error


async def test_registries_that_never_answer_hold_no_worker_up() -> None:
    finished: list[Key] = []
    async with open_session() as session, Tarpit().serve() as tarpit:
        endpoint = Endpoint("ClusterIP", "tarpit:5000", tarpit.url)
        loop = asyncio.get_running_loop()

        async def look(key: Key) -> None:
            if key != KEY:
                probes.find(key, "uid", [endpoint], was_ready=False)
            finished.append(key)

        queue = WorkQueue(look=look, tell=no_condition, observer=NoObserver(), random=random.random)
        probes = Probes(Prober(session, session).check, loop.time, queue.add)
        worker = asyncio.create_task(queue.work())
        slow = [Key("default", f"tarpit-{number}") for number in range(20)]
        for key in [*slow, KEY]:
            queue.add(key)

        async def all_wait() -> bool:
            return KEY in finished and tarpit.connections == len(slow)

        try:
            await wait_for_async(all_wait, 2, "the good one, while all the others wait for an answer")
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            await probes.close()


async def test_no_more_at_a_time_than_the_limit_and_in_turn() -> None:
    began, release = list[str](), asyncio.Event()
    ended = asyncio.Queue[Key]()
    inquiries = Inquiries[str](limit=2, ended=ended.put_nowait)

    def question(name: str) -> Callable[[], Awaitable[str]]:
        async def ask() -> str:
            began.append(name)
            await release.wait()
            return f"answer {name}"

        return ask

    keys = [Key("default", str(number)) for number in range(6)]
    for key in keys:
        inquiries.ask(key, question(key.name))
        inquiries.ask(key, question("never asked"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert began == ["0", "1"]
    release.set()
    assert [await asyncio.wait_for(ended.get(), 5) for _ in keys] == keys
    assert began == [key.name for key in keys]
    assert [inquiries.take(key) for key in keys] == [f"answer {key.name}" for key in keys]
    assert inquiries.take(keys[0]) is None, "an answer is taken once"


async def test_an_error_is_raised_where_the_answer_is_taken() -> None:
    ended = asyncio.Queue[Key]()
    inquiries = Inquiries[str](limit=1, ended=ended.put_nowait)

    async def fail() -> str:
        raise ValueError("broken")

    inquiries.ask(KEY, fail)
    assert await asyncio.wait_for(ended.get(), 5) == KEY
    with pytest.raises(ValueError, match="broken"):
        inquiries.take(KEY)


async def test_what_was_cancelled_from_outside_is_asked_again() -> None:
    ended = asyncio.Queue[Key]()
    inquiries = Inquiries[str](limit=1, ended=ended.put_nowait)
    before = asyncio.all_tasks()
    inquiries.ask(KEY, lambda: asyncio.sleep(3600, "late"))
    (born,) = asyncio.all_tasks() - before
    born.cancel()
    assert await asyncio.wait_for(ended.get(), 5) == KEY, "kopf cancels what was born under it when it restarts"
    assert inquiries.take(KEY) is None
    inquiries.ask(KEY, lambda: asyncio.sleep(0, "soon"))
    assert await asyncio.wait_for(ended.get(), 5) == KEY
    assert inquiries.take(KEY) == "soon"


async def test_what_was_dropped_is_heard_of_no_more() -> None:
    ended = asyncio.Queue[Key]()
    inquiries = Inquiries[str](limit=1, ended=ended.put_nowait)
    inquiries.ask(KEY, lambda: asyncio.sleep(3600, "late"))
    inquiries.drop(KEY)
    inquiries.ask(OTHER, lambda: asyncio.sleep(0, "soon"))
    assert await asyncio.wait_for(ended.get(), 5) == OTHER
    assert ended.empty()
    inquiries.ask(KEY, lambda: asyncio.sleep(3600, "late"))
    await inquiries.close()
    assert ended.empty()


class Probed:
    """A Registry with one address, and what is wrong there at each probe in turn."""

    def __init__(self, *problems: Problem | None) -> None:
        self._left = list(problems)
        self.asked = 0
        self.now = 1000.0
        self._ended = asyncio.Queue[Key]()
        self._probes = Probes(self._check, lambda: self.now, self._ended.put_nowait)

    async def _check(self, _: Sequence[Endpoint], __: str) -> Problem | None:
        self.asked += 1
        return self._left.pop(0)

    def find(self, address: str = "192.0.2.1", *, was_ready: bool = False) -> Finding | None:
        endpoint = Endpoint("ClusterIP", address, URL(f"http://{address}:5000"))
        return self._probes.find(KEY, "uid", [endpoint], was_ready=was_ready)

    async def probed(self, *, was_ready: bool = False) -> Problem | None:
        assert self.find(was_ready=was_ready) is None, "it is being asked"
        assert await asyncio.wait_for(self._ended.get(), 5) == KEY
        found = self.find()
        assert found is not None
        return found.problem


SILENT = Problem("NotAnswering", "no registry answers")


async def test_a_good_answer_serves_the_passes_of_the_next_seconds() -> None:
    probed = Probed(None, None)
    assert await probed.probed() is None
    assert probed.find() is not None, "the pass that a count asks for"
    probed.now += HOLDS_SECONDS + 1
    assert await probed.probed() is None
    assert probed.asked == 2


async def test_a_bad_answer_serves_one_pass() -> None:
    probed = Probed(SILENT, None)
    assert await probed.probed() == SILENT
    assert await probed.probed() is None


async def test_an_answer_of_other_addresses_is_none() -> None:
    probed = Probed(None, None)
    await probed.probed()
    assert probed.find("192.0.2.2") is None


async def test_one_lost_packet_is_no_outage() -> None:
    probed = Probed(SILENT, None)
    assert await probed.probed(was_ready=True) is None
    assert probed.asked == 2
