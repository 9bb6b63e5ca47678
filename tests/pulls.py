"""Pulls that go on while something happens to a registry, and how long they failed."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

from tests.registry_content import pull

ASK_SECONDS = 0.05
ANSWER_SECONDS = 2.0
"""Longer than any registry takes. A connection that was begun to a pod that is gone gets no answer at all."""


class Pulls:
    """Pulls an image again and again from each of several addresses, and waits so many seconds for each answer."""

    def __init__(self, urls: list[str], repository: str, tag: str, *, patience: float = ANSWER_SECONDS) -> None:
        self.count = 0
        self.failures: list[str] = []
        self.outages: list[float] = []
        """Seconds from the first pull in a row that failed until one succeeded."""
        self._patience = patience
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url, repository, tag)) for url in urls]

    def _ask(self, url: str, repository: str, tag: str) -> None:
        failing_since: float | None = None
        while not self._stop.wait(ASK_SECONDS):
            began = time.monotonic()
            try:
                pull(url, repository, tag, timeout=self._patience)
            except (AssertionError, OSError, HTTPException) as error:
                self.failures.append(f"{url}: {error!r}")
                failing_since = failing_since or began
            else:
                self.count += 1
                if failing_since is not None:
                    self.outages.append(time.monotonic() - failing_since)
                    failing_since = None

    @contextmanager
    def going_on(self) -> Iterator["Pulls"]:
        """Pull until the end of the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
