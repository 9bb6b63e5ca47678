"""The agent as the process that its pod runs, against a real dockerd: wakes, reports, stops."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from regkeeper.nodes import report
from regkeeper.nodes.docker import SETTLE_SECONDS
from regkeeper.nodes.process import read_process
from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState, ReportRefusedError, StaleReportError
from tests.nodes.agent import trust_list
from tests.nodes.docker_states import FILE, HOST, State, in_state
from tests.nodes.node import Node
from tests.nodes.running_agent import KEY, PORT, RunningAgent, mounted, start_agent
from tests.waiting import wait_for

SOON = 15  # seconds; takes a tenth of one on a quiet machine

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("agent")]


@pytest.fixture
def agent(node: Node, tmp_path: Path) -> Iterator[RunningAgent]:
    """Started without a list, on a node whose dockerd does not run."""
    with in_state(node, State("stopped", starts=False)):
        yield start_agent(node, mounted(tmp_path))
        node.stop_all("agent")
        node.stop_all("dockerd")


def test_a_list_is_carried_out_and_a_later_dockerd_too(agent: RunningAgent) -> None:
    """inotify sees the list's symlink and dockerd's socket; the clock alone would take a minute."""
    agent.deliver(trust_list(HOST, generation=2))
    wait_for(lambda: runtimes_or(StaleReportError, agent, 2) == (), SOON, agent.daemon.log.read_text)
    dockerd = agent.node.start_dockerd()
    agent.wait_for_report(2, HostState.TRUSTED)
    process = read_process(dockerd.host_pid)
    assert process
    assert process.age() >= SETTLE_SECONDS, "a younger one may end by the signal"
    agent.deliver(trust_list(generation=3))
    wait_for(lambda: is_reverted(agent, 3), SOON, agent.daemon.log.read_text)
    assert not agent.node.path(FILE).exists()


def is_reverted(agent: RunningAgent, generation: int) -> bool:
    """The file goes before the pass is over, which the report waits for: asked between, it is about the last list."""
    try:
        return all(runtime.reverted for runtime in agent.ask(generation).runtimes)
    except StaleReportError:
        return False


def runtimes_or(expected: type[Exception], agent: RunningAgent, generation: int) -> object:
    """The runtimes of its report, or the error of that kind with which it answers."""
    try:
        return agent.ask(generation).runtimes
    except expected as error:
        return error


def test_no_capability_is_needed(agent: RunningAgent) -> None:
    status = Path(f"/proc/{agent.daemon.host_pid}/status").read_text()
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {int(lines[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert lines["NoNewPrivs"] == "1"
    agent.node.start_dockerd()
    agent.deliver(trust_list(HOST, generation=2))
    agent.wait_for_report(2, HostState.TRUSTED)


def test_drift_is_repaired_at_once(agent: RunningAgent) -> None:
    agent.node.start_dockerd()
    agent.deliver(trust_list(HOST, generation=2))
    agent.wait_for_report(2, HostState.TRUSTED)
    agent.node.path(FILE).write_text("{}")
    wait_for(lambda: HOST in agent.node.path(FILE).read_text(), SOON, agent.daemon.log.read_text)


def test_a_term_signal_is_no_order_to_revert(agent: RunningAgent) -> None:
    agent.node.start_dockerd()
    agent.deliver(trust_list(HOST, generation=2))
    agent.wait_for_report(2, HostState.TRUSTED)
    content = agent.node.path(FILE).read_bytes()
    agent.daemon.stop()
    assert agent.daemon.returncode == 0
    assert agent.node.path(FILE).read_bytes() == content
    again = start_agent(agent.node, agent.folder)
    again.wait_for_report(2, HostState.TRUSTED)
    assert agent.node.path(FILE).read_bytes() == content


def test_an_agent_waits_for_the_end_of_another(agent: RunningAgent, tmp_path: Path) -> None:
    """As where their DaemonSet was deleted and made anew. Both would write one daemon.json, and one record."""
    agent.node.start_dockerd()
    agent.deliver(trust_list(HOST, generation=2))
    agent.wait_for_report(2, HostState.TRUSTED)
    other = start_agent(agent.node, mounted(tmp_path / "other"), port=PORT + 1)
    other.deliver(trust_list(generation=3))

    def waits() -> bool:
        error = runtimes_or(StaleReportError, other, 3)
        return isinstance(error, StaleReportError) and bool(
            error.problem and error.problem.reason == Reason.OTHER_AGENT
        )

    wait_for(waits, SOON, other.daemon.log.read_text)
    assert HOST in agent.node.path(FILE).read_text()
    agent.daemon.stop()
    wait_for(lambda: is_reverted(other, 3), SOON, other.daemon.log.read_text)
    assert not agent.node.path(FILE).exists()
    assert not agent.node.path("/var/lib/regkeeper").exists()


def test_a_damaged_list_is_reported(agent: RunningAgent) -> None:
    agent.deliver(trust_list(generation=1))
    wait_for(lambda: runtimes_or(StaleReportError, agent, 1) == (), SOON, agent.daemon.log.read_text)
    agent.deliver(trust_list(HOST, generation=2)[:-5])

    def told() -> bool:
        error = runtimes_or(StaleReportError, agent, 2)
        return isinstance(error, StaleReportError) and bool(
            error.problem and error.problem.reason == Reason.LIST_INVALID
        )

    wait_for(told, SOON, agent.daemon.log.read_text)


def test_strangers_learn_nothing(agent: RunningAgent) -> None:
    wait_for(lambda: agent.get("/report")[0] == 403, SOON, "an answer")
    assert agent.get("/report")[2] == b""
    with pytest.raises(ReportRefusedError, match="403"):
        agent.ask(1, key=secrets.token_bytes(32))
    assert agent.get("/")[0] == 404
    assert agent.get("/report/../../etc/passwd")[0] == 404


def test_a_recorded_answer_is_refused(agent: RunningAgent) -> None:
    agent.deliver(trust_list(generation=2))
    wait_for(lambda: runtimes_or(StaleReportError, agent, 2) == (), SOON, agent.daemon.log.read_text)
    nonce = secrets.token_hex(16)
    _, headers, body = agent.get("/report", report.question_headers(KEY, nonce=nonce, pod_uid="uid"))
    fresh = secrets.token_hex(16)
    with pytest.raises(ReportRefusedError, match="signature"):
        report.decode_answer(KEY, body, headers, nonce=fresh, node="node", pod_uid="uid", generation=2)


def test_strangers_that_say_nothing_hold_nobody_up_for_long(agent: RunningAgent) -> None:
    """More silent connections than the agent keeps: they are cut, and the operator gets its answer again."""
    agent.deliver(trust_list(generation=2))
    script = f"""import signal, socket
held = [socket.create_connection(("127.0.0.1", {PORT})) for _ in range(40)]
print("held", flush=True)
signal.pause()"""
    strangers = agent.node.start("strangers", *agent.node.python, "-c", script)
    wait_for(lambda: "held" in strangers.log.read_text(), SOON, strangers.log.read_text)
    wait_for(lambda: runtimes_or(ReportRefusedError, agent, 2) == (), SOON, agent.daemon.log.read_text)


def test_memory_stays_within_forty_mebibytes(agent: RunningAgent) -> None:
    """Measured: 28 MiB with Python 3.11."""
    agent.node.start_dockerd()
    agent.deliver(trust_list(HOST, *(f"registry-{number}.example:5000" for number in range(50)), generation=2))
    wait_for(lambda: HOST in read_file(agent.node), SOON, agent.daemon.log.read_text)
    wait_for(lambda: '"Trusted"' in agent.daemon.log.read_text(), SOON, agent.daemon.log.read_text)
    status = Path(f"/proc/{agent.daemon.host_pid}/status").read_text()
    peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
    assert peak <= 40 << 10


def read_file(node: Node) -> str:
    return node.path(FILE).read_text() if node.path(FILE).exists() else ""


def test_the_log_tells_what_changed_in_one_line_each(agent: RunningAgent) -> None:
    agent.deliver(trust_list(generation=2))
    wait_for(lambda: '"generation": 2' in agent.daemon.log.read_text(), SOON, agent.daemon.log.read_text)
    lines = [json.loads(line) for line in agent.daemon.log.read_text().splitlines()]
    assert [line["generation"] for line in lines] == [0, 2]
    assert lines[0]["listProblem"]["reason"] == Reason.LIST_MISSING


def test_the_preview_shows_and_changes_nothing(node: Node) -> None:
    with in_state(node, State("mirrors", b'{"registry-mirrors": ["https://mirror.example"]}\n')):
        before = node.path(FILE).read_bytes()
        shown = node.run(*node.python, "-m", "regkeeper", "nodes", "--dry-run", HOST).stdout
        assert node.path(FILE).read_bytes() == before
        assert not node.path("/var/lib/regkeeper").exists()
        assert "docker 20.10" in shown
        assert f"would change {FILE}" in shown
        assert f'+{{"registry-mirrors": ["https://mirror.example"], "insecure-registries": ["{HOST}"]}}' in shown
        refused = node.run(*node.python, "-m", "regkeeper", "nodes", "quay.io:443", check=False)
        assert refused.returncode == 2
        assert "public registry" in refused.stderr
