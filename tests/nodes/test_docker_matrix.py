"""Each state that a node's dockerd can be in, times each act of the agent, with a real dockerd.

After every cell dockerd starts again from the files as they are; after a revert they are what they were, byte for byte.
"""

import pytest

from regkeeper.nodes.report import HostState
from tests.nodes.agent import Outcome, kill_agent, run_agent
from tests.nodes.docker_states import FILE, HOST, SECOND_HOST, STATES, State, in_state
from tests.nodes.node import Node

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("docker-matrix")]

states = pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
killable = pytest.mark.parametrize("state", [state for state in STATES if state.kill], ids=lambda state: state.name)


def snapshot(node: Node) -> dict[str, object]:
    """Everything of ours or near it: names, content, mode and owner."""
    found: dict[str, object] = {}
    for folder in ("/etc/docker", "/var/lib/regkeeper"):
        for path in sorted(node.path(folder).glob("*")):
            status = path.lstat()
            if path.is_file() and path.name != "key.json":
                found[f"{folder}/{path.name}"] = (path.read_bytes(), status.st_mode, status.st_uid, status.st_gid)
    return found


def check(outcome: Outcome, state: State, host: str = HOST) -> None:
    if not state.starts and state.reason is None:
        assert outcome.report.runtimes == (), "a Docker that does not run is not one of the node's runtimes"
        return
    report = outcome.host(host)
    reason = report.problem.reason if report.problem else None
    assert reason == state.reason
    assert (report.state is HostState.TRUSTED) == (state.reason is None)
    assert state.notice is None or state.notice in outcome.reasons()


def assert_starts_again(node: Node, state: State) -> None:
    """A dockerd that is started from the files as they are comes up, if it would have without us."""
    node.stop_all("dockerd")
    if state.starts and state.starts_again:
        daemon = node.start_dockerd(*state.arguments, env=state.environment)
        daemon.stop()


@states
def test_trust(node: Node, state: State) -> None:
    with in_state(node, state) as daemon:
        before = snapshot(node)
        outcome = run_agent(node, HOST)
        check(outcome, state)
        assert (snapshot(node) != before) == state.changes
        if state.changes:
            assert node.path(FILE).stat().st_mode & 0o777 == (0o600 if state.name == "mode 0600" else 0o644)
        assert daemon is None or daemon.running(), "no restart is ever needed"
        assert_starts_again(node, state)


@states
def test_a_second_registry(node: Node, state: State) -> None:
    with in_state(node, state):
        run_agent(node, HOST)
        outcome = run_agent(node, HOST, SECOND_HOST)
        check(outcome, state)
        trusted = [host.state is HostState.TRUSTED for runtime in outcome.report.runtimes for host in runtime.hosts]
        assert all(trusted) == (state.reason is None and not state.covers_only_host)
        assert_starts_again(node, state)


@states
def test_untrust(node: Node, state: State) -> None:
    with in_state(node, state):
        before = snapshot(node)
        trusted = insecure(node, state)
        run_agent(node, HOST)
        outcome = run_agent(node)
        assert snapshot(node) == before
        assert insecure(node, state) == trusted
        assert all(runtime.reverted for runtime in outcome.report.runtimes)
        assert_starts_again(node, state)


@states
def test_an_upgraded_agent_changes_nothing(node: Node, state: State) -> None:
    with in_state(node, state):
        run_agent(node, HOST)
        before = snapshot(node)
        outcome = run_agent(node, HOST)
        check(outcome, state)
        assert not [operation for operation in outcome.operations if "daemon.json" in operation and state.changes]
        assert snapshot(node) == before
        assert_starts_again(node, state)


@killable
def test_killed_while_it_trusts(node: Node, state: State) -> None:
    """SIGKILL ahead of each file operation; the next start ends where an undisturbed one would."""
    with in_state(node, state):
        original = snapshot(node)
        run_agent(node, HOST)
        expected = snapshot(node)
        run_agent(node)
        for operation in range(100):
            killed = kill_agent(node, HOST, before=operation)
            restart(node, state)
            check(run_agent(node, HOST), state)
            assert snapshot(node) == expected, operation
            run_agent(node)
            assert snapshot(node) == original, operation
            kill_agent(node, HOST, before=operation)
            run_agent(node)
            assert snapshot(node) == original, f"{operation}: killed, and then no longer wanted"
            if not killed:
                return
    pytest.fail("it never came to an end")


@killable
def test_killed_while_it_reverts(node: Node, state: State) -> None:
    with in_state(node, state):
        original = snapshot(node)
        trusted = insecure(node, state)
        for operation in range(100):
            run_agent(node, HOST)
            killed = kill_agent(node, before=operation)
            if operation % 2:
                restart(node, state)
            run_agent(node)
            assert snapshot(node) == original, operation
            assert insecure(node, state) == trusted, operation
            if not killed:
                return
    pytest.fail("it never came to an end")


def restart(node: Node, state: State) -> None:
    node.stop_all("dockerd")
    node.start_dockerd(*state.arguments, env=state.environment)


def insecure(node: Node, state: State) -> object:
    """What dockerd trusts, by its own word; None where none runs."""
    return node.docker_get("/info")["RegistryConfig"] if state.starts else None
