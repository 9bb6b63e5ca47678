"""A report is of a whole pass: asked in the middle of one, the agent answers with the last that it finished.

And with what it has got meanwhile, so that nobody tells it again."""

from collections.abc import Sequence
from pathlib import Path

from regkeeper.nodes.agent import Agent
from regkeeper.nodes.engine import Engine
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.record import Ledger
from regkeeper.nodes.runtime import Look
from tests.nodes.agent import trust_list
from tests.nodes.still_runtime import StillRuntime


class Asking(StillRuntime):
    """A runtime in whose look somebody asks for the report."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.heard: list[tuple[int, list[str]]] = []

    def look(self, hosts: Sequence[str], ledger: Ledger, *, allow_pending_edits: bool) -> Look:
        if self.engine is not None:
            self.heard.append(said(self.engine))
        return super().look(hosts, ledger, allow_pending_edits=allow_pending_edits)


def test_a_report_in_the_middle_of_a_pass_is_the_last_passes(tmp_path: Path) -> None:
    runtime = Asking()
    engine = runtime.engine = Engine(NodeFiles(str(tmp_path)), [runtime], node="node")
    engine.run(trust_list("one:5000", generation=1), now=0)
    engine.run(trust_list("two:5000", generation=2), now=1)
    engine.verifier.close()
    assert runtime.heard[-1] == (1, ["one:5000"])
    assert said(engine) == (2, ["two:5000"])


def said(engine: Engine) -> tuple[int, list[str]]:
    report = engine.report()
    return report.generation, [host.host for runtime in report.runtimes for host in runtime.hosts]


def test_an_agent_says_which_list_it_has_got_before_it_has_carried_it_out(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    agent = Agent(
        node="node", pod_uid="uid", root=str(tmp_path), list_path=str(path), key_path=str(tmp_path / "key"), port=0
    )
    try:
        heard = [agent.server.report()]
        for document in (trust_list(generation=2), trust_list(generation=3)[:-5]):
            path.write_bytes(document)
            heard.append(agent.server.report())
    finally:
        agent.server.server_close()
        agent._engine.verifier.close()
        agent._watcher.close()
    assert [(report.generation, report.mounted) for report in heard] == [(0, None), (0, 2), (0, None)]
