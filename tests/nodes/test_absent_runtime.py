"""A runtime that went away leaves nothing to do: an agent that waits for its answers would never sleep again."""

import random
from collections.abc import Sequence
from pathlib import Path

from regkeeper.nodes.engine import RESYNC_SECONDS, Engine
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.record import Ledger
from regkeeper.nodes.runtime import Look
from tests.nodes.agent import trust_list


class Leaving:
    """A runtime that is uninstalled at some time."""

    name = "leaving"
    present = True

    def look(self, hosts: Sequence[str], ledger: Ledger, *, allow_pending_edits: bool) -> Look:
        return Look(present=self.present, ours=frozenset(hosts))

    def act(self, look: Look, ledger: Ledger) -> None:
        raise AssertionError("there is nothing to do")

    def ask(self, host: str) -> str:
        return ""

    def watched(self) -> Sequence[str]:
        return ()

    def reverted(self, ledger: Ledger) -> bool:
        return True


def test_the_questions_to_a_runtime_that_went_away_are_not_waited_for(tmp_path: Path) -> None:
    runtime, later = Leaving(), 100 * RESYNC_SECONDS
    engine = Engine(NodeFiles(str(tmp_path)), [runtime], node="node", chance=random.Random(1))
    engine.run(trust_list("one:5000"), now=0)
    engine.verifier.wait(0, 5)
    assert engine.pause(later) < 1, "it is overdue"
    runtime.present = False
    engine.run(trust_list("one:5000"), now=later)
    engine.verifier.close()
    assert engine.pause(later) > RESYNC_SECONDS / 2
