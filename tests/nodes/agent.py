"""Running the agent's engine in a node, as a process of its own, and reading its report."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from regkeeper.nodes.desired import TrustList, encode
from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostReport, Report, RuntimeReport
from tests.nodes.node import Node
from tests.waiting import wait_for

PROGRAM = Path(__file__).with_name("one_pass.py")
SETTLE_SECONDS = 0.3
"""Twice the age at which SIGHUP was seen to kill dockerd; the agent's own default is several seconds."""


@dataclass(frozen=True)
class Outcome:
    """What one run of the agent did."""

    report: Report
    operations: list[str]

    def runtime(self, name: str = "docker") -> RuntimeReport:
        return next(runtime for runtime in self.report.runtimes if runtime.runtime == name)

    def host(self, host: str, runtime: str = "docker") -> HostReport:
        return next(report for report in self.runtime(runtime).hosts if report.host == host)

    def reasons(self, runtime: str = "docker") -> set[str]:
        return {problem.reason for problem in self.runtime(runtime).problems}


def trust_list(*hosts: str, generation: int = 1, **fields: Any) -> bytes:
    """A list that makes the node `node` trust these hosts."""
    trust = TrustList(generation=generation, cluster="here", sets=(hosts,), nodes={"node": 0})
    return encode(msgspec.structs.replace(trust, **fields))


def run_agent(node: Node, *hosts: str, document: bytes | None = None, **options: Any) -> Outcome:
    """Let the agent carry a list out, again while dockerd is too young to be signalled.

    Args:
        node: where it runs.
        hosts: that it is to trust.
        document: the list as a whole, instead of `hosts`.
        options: of one_pass.py.
    """
    answers = _ask_until_acted(node, document if document is not None else trust_list(*hosts), options)
    outcomes = [Outcome(msgspec.convert(answer["report"], Report), answer["operations"]) for answer in answers]
    return Outcome(outcomes[-1].report, [operation for outcome in outcomes for operation in outcome.operations])


def kill_agent(node: Node, *hosts: str, before: int, **options: Any) -> bool:
    """Kill the agent ahead of its n-th file operation; False if it made fewer."""
    return "killed" in _ask_until_acted(node, trust_list(*hosts), {**options, "kill_before": before})[-1]


def kill_points(outcome: Outcome) -> list[int]:
    """Numbers of the operations of a run ahead of which a kill leaves files that no earlier one left.

    Ahead of a sync they are those ahead of what follows it: a process that dies takes no page of them along.
    """
    return [number for number, operation in enumerate(outcome.operations) if not operation.startswith("sync ")]


def _ask_until_acted(node: Node, document: bytes, options: dict[str, Any]) -> list[Any]:
    """Answers of one_pass.py, until dockerd is old enough to be signalled."""
    answers: list[Any] = []

    def acted() -> bool:
        answers.append(_ask(node, document, options))
        runtimes = answers[-1].get("report", {}).get("runtimes", ())
        return Reason.STARTING not in {problem["reason"] for runtime in runtimes for problem in runtime["problems"]}

    wait_for(acted, 10, "a dockerd that is old enough to be signalled")
    return answers


def _ask(node: Node, document: bytes, options: dict[str, Any]) -> Any:
    asked = {"document": document.decode(), "settle_seconds": SETTLE_SECONDS, **options}
    answer = node.converse(PROGRAM, json.dumps(asked))
    assert answer, "the agent failed; its traceback is in the captured stderr"
    return json.loads(answer)
