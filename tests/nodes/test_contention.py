"""Of a runtime whose files another program changes back the report says the same for as long as the agent waits.

An answer that says something else makes the operator look at all nodes and write a status.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from regkeeper.nodes.damping import FIRST_PAUSE_SECONDS, FREE_REPAIRS
from regkeeper.nodes.engine import SOON_SECONDS, Engine
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import FileChangedError, Reason
from regkeeper.nodes.record import Ledger
from regkeeper.nodes.report import RuntimeReport
from regkeeper.nodes.runtime import Change, Look
from tests.nodes.agent import trust_list
from tests.nodes.still_runtime import StillRuntime


class Undone(StillRuntime):
    """A runtime whose file is changed back before each look."""

    repairs = 0

    def look(self, hosts: Sequence[str], ledger: Ledger, *, allow_pending_edits: bool) -> Look:
        change = Change("/etc/file", b"", b"ours")
        return Look(present=True, ours=frozenset(hosts), changes=(change,), acts=True, repairs=True)

    def act(self, look: Look, ledger: Ledger) -> None:
        self.repairs += 1


def test_a_report_says_how_long_the_pause_is_and_not_what_is_left_of_it(tmp_path: Path) -> None:
    runtime = Undone()
    engine = Engine(NodeFiles(str(tmp_path)), [runtime], node="node")

    def report_after(now: float) -> RuntimeReport:
        engine.run(trust_list("one:5000"), now=now)
        return engine.report().runtimes[0]

    report_after(0)
    first = report_after(1)
    assert runtime.repairs == FREE_REPAIRS
    assert first.problems[0].reason == Reason.CONTENDED
    assert first.problems[0].words() == (
        "another program undoes the change of /etc/file, which is made again after 60 s; let it keep one:5000"
    )
    assert report_after(FIRST_PAUSE_SECONDS / 2) == first
    assert report_after(FIRST_PAUSE_SECONDS - 1) == first
    later = report_after(FIRST_PAUSE_SECONDS)
    assert runtime.repairs == FREE_REPAIRS + 1
    assert later.problems[0].facts["seconds"] == "120"
    engine.verifier.close()


class Extreme(random.Random):
    """Every jitter is the most, or the least, that it may be."""

    def __init__(self, extreme: Callable[[float, float], float]) -> None:
        super().__init__()
        self.extreme = extreme

    def uniform(self, a: float, b: float) -> float:
        return self.extreme(a, b)


@pytest.mark.parametrize("extreme", [min, max])
def test_the_change_is_made_again_as_soon_as_the_report_says(
    tmp_path: Path, extreme: Callable[[float, float], float]
) -> None:
    """Whenever the node would be looked at otherwise: each 48 s, or each 72 s."""
    runtime = Undone()
    engine = Engine(NodeFiles(str(tmp_path)), [runtime], node="node", chance=Extreme(extreme))
    repaired = []
    for second in range(200):
        before = runtime.repairs
        if second == 1 or engine.is_due(second):  # a watch shows that the other program undid it
            engine.run(trust_list("one:5000"), now=second)
        repaired += [second] * (runtime.repairs - before)
    engine.verifier.close()
    assert repaired == [0] * FREE_REPAIRS + [60, 60 + 120]


class Overtaken(StillRuntime):
    """A runtime whose file another program writes so many times just when it is to be changed."""

    def __init__(self, writes: int, *, repairs: bool) -> None:
        self.writes = writes
        self.repairs = repairs
        self.changed = False

    def look(self, hosts: Sequence[str], ledger: Ledger, *, allow_pending_edits: bool) -> Look:
        acts = not self.changed
        return Look(present=True, ours=frozenset(hosts), acts=acts, repairs=acts and self.repairs)

    def act(self, look: Look, ledger: Ledger) -> None:
        if self.writes:
            self.writes -= 1
            raise FileChangedError("/etc/file")
        self.changed = True


@pytest.mark.parametrize("repairs", [False, True], ids=["first", "repair"])
@pytest.mark.parametrize(
    ("writes", "said"), [(2, []), (3, ["/etc/file: another program wrote it at the same moment"])], ids=str
)
def test_a_pass_looks_again_where_another_program_came_first_but_not_for_ever(
    tmp_path: Path, writes: int, said: list[str], repairs: bool
) -> None:
    """Nor is the next pass far off, as nothing may be in the way any more, and no watch has to show that.

    Repairs that were not made use up none of those that are made at once: else the node would be left for a minute.
    """
    runtime = Overtaken(writes, repairs=repairs)
    engine = Engine(NodeFiles(str(tmp_path)), [runtime], node="node")
    engine.run(trust_list("one:5000"), now=0)
    assert runtime.changed == (not said)
    assert [problem.words() for problem in engine.report().runtimes[0].problems] == said
    assert engine.is_due(SOON_SECONDS) == bool(said)
    engine.run(trust_list("one:5000"), now=SOON_SECONDS)
    engine.verifier.close()
    assert runtime.changed
    assert engine.report().runtimes[0].problems == ()
