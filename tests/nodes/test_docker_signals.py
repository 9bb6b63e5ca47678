"""When the agent has dockerd read its daemon.json again, and when it sends no signal.

It sends one only to what is proved to be dockerd, is old enough, answers, and would take up nothing else.
"""

import json
import sys

import pytest

from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState
from tests.nodes.agent import PROGRAM, SETTLE_SECONDS, run_agent, trust_list
from tests.nodes.docker_answers import assert_untouched, entries, secure
from tests.nodes.docker_states import FILE, HOST, SECOND_HOST
from tests.nodes.namespaces import Daemon
from tests.nodes.node import Node
from tests.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("docker")]


def test_a_young_dockerd_is_not_signalled(node: Node, dockerd: Daemon) -> None:
    asked = {"document": trust_list(HOST).decode(), "settle_seconds": 3600}
    answer = json.loads(node.converse(PROGRAM, json.dumps(asked)))
    assert answer["operations"] == []
    assert answer["report"]["runtimes"][0]["problems"][0]["reason"] == Reason.STARTING
    assert dockerd.running()


def test_without_the_nodes_pids_nothing_is_signalled(node: Node, dockerd: Daemon) -> None:
    """Without hostPID both credentials give pid 0, and kill(0, SIGHUP) would end the agent's own group."""
    asked = {"document": trust_list(HOST).decode(), "settle_seconds": SETTLE_SECONDS}
    # The agent's parent is outside of its PID namespace, as dockerd is.
    done = node.run(
        *("unshare", "--pid", "--fork", "--mount-proc", "--"),
        *(sys.executable, str(PROGRAM)),
        stdin=json.dumps(asked) + "\n",
    )
    answer = json.loads(done.stdout)
    assert answer["operations"] == []
    assert answer["report"]["runtimes"] == []
    assert dockerd.running()


def test_a_stopped_dockerd_with_our_entries(node: Node, dockerd: Daemon) -> None:
    """What is unwanted goes at once; what is new waits for dockerd."""
    run_agent(node, HOST)
    dockerd.stop()
    outcome = run_agent(node, HOST, SECOND_HOST)
    assert entries(node) == [HOST]
    assert {host.state for host in outcome.runtime().hosts} == {HostState.PENDING}
    run_agent(node)
    assert_untouched(node)
    node.start_dockerd()
    assert secure(node)


def test_a_dockerd_that_does_not_answer_is_not_signalled(node: Node, dockerd: Daemon) -> None:
    aside = node.path("/run/dockerd.sock")
    node.path("/run/docker.sock").rename(aside)
    outcome = run_agent(node, HOST)
    aside.rename(node.path("/run/docker.sock"))
    assert (outcome.reasons(), outcome.operations) == ({Reason.NOT_PROVED}, [])
    assert_untouched(node)
    assert dockerd.running()


def test_a_process_that_is_not_dockerd_is_not_signalled(node: Node, dockerd: Daemon) -> None:
    """It answers at dockerd's socket, and has SIGHUP end it."""
    script = """import os, socket
os.rename("/run/docker.sock", "/run/dockerd.sock")
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/docker.sock")
listener.listen()
print("listening", flush=True)
while True:
    connection = listener.accept()[0]
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
"""
    impostor = node.start("impostor", *node.python, "-c", script)
    wait_for(lambda: "listening" in impostor.log.read_text(), 5, impostor.log.read_text)
    outcome = run_agent(node, HOST)
    (problem,) = outcome.runtime().problems
    assert (problem.reason, outcome.operations) == (Reason.NOT_PROVED, [])
    assert problem.facts["detail"].startswith(f"pids [{impostor.pid}]"), "it did answer"
    assert impostor.running()
    assert dockerd.running()
    impostor.stop()
    node.path("/run/dockerd.sock").rename(node.path("/run/docker.sock"))


def test_allowed_pending_edits_are_applied(node: Node, dockerd: Daemon) -> None:
    node.path(FILE).write_text('{"debug": true}')
    assert Reason.PENDING_EDITS in run_agent(node, HOST).reasons()
    outcome = run_agent(node, document=trust_list(HOST, apply_pending_edits=True))
    assert outcome.host(HOST).state is HostState.TRUSTED
    assert node.docker_get("/info")["Debug"] is True


def test_a_second_dockerd_on_the_same_file_with_the_flag(node: Node, dockerd: Daemon) -> None:
    """It would not start again beside our key."""
    other = node.try_dockerd(
        *("--data-root=/var/lib/docker2", "--exec-root=/run/docker2", "--pidfile=/run/docker2.pid"),
        "--insecure-registry=other.example:5000",
        socket="/run/docker2.sock",
        name="second dockerd",
    )
    assert other.running(), other.log.read_text()
    outcome = run_agent(node, HOST)
    other.stop()
    assert outcome.reasons() == {Reason.TWO_DAEMONS, Reason.FLAG_CONFLICT}
    assert_untouched(node)
