"""A runtime that went away leaves nothing to do: an agent that waits for its answers would never sleep again."""

import random
from pathlib import Path

from regkeeper.nodes.engine import RESYNC_SECONDS, Engine
from regkeeper.nodes.files import NodeFiles
from tests.nodes.agent import trust_list
from tests.nodes.still_runtime import StillRuntime


def test_the_questions_to_a_runtime_that_went_away_are_not_waited_for(tmp_path: Path) -> None:
    runtime, later = StillRuntime(), 100 * RESYNC_SECONDS
    engine = Engine(NodeFiles(str(tmp_path)), [runtime], node="node", chance=random.Random(1))
    engine.run(trust_list("one:5000"), now=0)
    engine.verifier.wait(0, 5)
    assert engine.pause(later) < 1, "it is overdue"
    runtime.present = False
    engine.run(trust_list("one:5000"), now=later)
    engine.verifier.close()
    assert engine.pause(later) > RESYNC_SECONDS / 2
