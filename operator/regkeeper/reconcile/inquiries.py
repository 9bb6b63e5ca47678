"""Questions to registries, asked beside the passes: one that is slow to answer, or hostile, holds no worker up."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from regkeeper import logs
from regkeeper.reconcile.queue import Key

Answer = TypeVar("Answer")


class Inquiries(Generic[Answer]):
    """One kind of question: at most `limit` at a time, one about a key, in the order in which they came.

    `ended` hears the key of each that came to its end: then it is time to `take` the answer.
    """

    def __init__(self, *, limit: int, ended: Callable[[Key], None]) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._ended = ended
        self._tasks: dict[Key, asyncio.Task[Answer]] = {}

    def ask(self, key: Key, question: Callable[[], Awaitable[Answer]]) -> None:
        """Ask about a key, unless an answer about it is still to come, or to be taken."""
        if key not in self._tasks:
            task = self._tasks[key] = asyncio.create_task(self._in_turn(key, question))
            task.add_done_callback(lambda done: self._finish(key, done))

    def take(self, key: Key) -> Answer | None:
        """The answer, once; None where there is none.

        Raises:
            Exception: what the question raised.
        """
        task = self._tasks.get(key)
        if task is None or not task.done():
            return None
        del self._tasks[key]
        # kopf cancels what was born under it when it restarts; then there is no answer, and one may ask again.
        return None if task.cancelled() else task.result()

    def drop(self, key: Key) -> None:
        """Forget the question about a key, and its answer."""
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Drop all questions."""
        tasks = list(self._tasks.values())
        for key in list(self._tasks):
            self.drop(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_turn(self, key: Key, question: Callable[[], Awaitable[Answer]]) -> Answer:
        async with self._slots:
            with logs.about(key):
                return await question()

    def _finish(self, key: Key, task: asyncio.Task[Answer]) -> None:
        if self._tasks.get(key) is task:
            self._ended(key)
