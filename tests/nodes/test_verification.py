"""When registries are asked: again and again, the more seldom the longer they are down, and never all nodes at once.

Proves of nodes.md: "A registry that is down is *unreachable*: reported, retried with jitter".
"""

import random
from collections.abc import Iterator

import pytest

from regkeeper.nodes.reasons import NodeProblemError, Reason
from regkeeper.nodes.report import HostState
from regkeeper.nodes.verification import AGAIN_SECONDS, JITTER, LONGEST_RETRY_SECONDS, Verifier

HOST = "h:1"
DOWN = 'Get "http://h:1/v2/": dial tcp h:1: connect: connection refused'


class Asked:
    """A verifier whose clock jumps from one question to the next."""

    def __init__(self, seed: int) -> None:
        self.verifier = Verifier(random.Random(seed))
        self.now = 0.0
        self.answer = DOWN

    def ask(self, host: str) -> str:
        if not self.answer:
            raise NodeProblemError(Reason.NOT_RUNNING, runtime="dockerd")
        return self.answer

    def pauses(self, count: int) -> list[float]:
        """Seconds between a question's answer and the next question."""
        found = []
        for _ in range(count):
            self.verifier.ask("docker", [HOST], self.ask, self.now)
            self.verifier.wait(self.now, 5)
            due = self.verifier.next_due()
            assert due is not None
            found.append(due - self.now)
            self.now = due
        return found

    @property
    def state(self) -> tuple[HostState, Reason | None]:
        state, problem = self.verifier.known("docker", HOST)
        return state, problem.reason if problem else None


@pytest.fixture
def asked() -> Iterator[Asked]:
    asked = Asked(1)
    yield asked
    asked.verifier.close()


def test_a_registry_that_is_down_is_asked_twice_as_seldom_each_time(asked: Asked) -> None:
    pauses = asked.pauses(12)
    assert asked.state == (HostState.CONFIGURED, Reason.UNREACHABLE)
    for number, pause in enumerate(pauses):
        expected = min(LONGEST_RETRY_SECONDS, 2.0 * 2**number)
        assert expected * (1 - JITTER) <= pause <= expected * (1 + JITTER)


def test_once_it_answers_it_is_trusted_and_asked_seldom(asked: Asked) -> None:
    asked.pauses(5)
    asked.answer = "manifest unknown: manifest unknown"
    (pause,) = asked.pauses(1)
    assert asked.state == (HostState.TRUSTED, None)
    assert AGAIN_SECONDS * (1 - JITTER) <= pause <= AGAIN_SECONDS * (1 + JITTER)
    asked.answer = DOWN
    assert asked.pauses(1)[0] < 3, "it went down: that is looked at soon again"


def test_a_runtime_that_is_away_says_nothing_of_the_registry(asked: Asked) -> None:
    asked.answer = ""
    asked.pauses(1)
    assert asked.state == (HostState.PENDING, Reason.NOT_RUNNING)


def test_nodes_do_not_ask_at_the_same_time() -> None:
    verifiers = [Asked(seed) for seed in range(20)]
    firsts = {round(asked.pauses(1)[0], 6) for asked in verifiers}
    for asked in verifiers:
        asked.verifier.close()
    assert len(firsts) == 20


def test_what_is_no_longer_wanted_is_asked_no_more(asked: Asked) -> None:
    asked.pauses(1)
    asked.verifier.ask("docker", [], asked.ask, asked.now)
    assert asked.verifier.next_due() is None
    assert asked.state == (HostState.PENDING, None)
