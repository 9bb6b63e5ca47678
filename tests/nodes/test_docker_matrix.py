"""Each state that a node's dockerd can be in, times each act of the agent, with a real dockerd.

In every cell dockerd keeps running and would start again from the files as they are, also from those that a killed
agent left; after a revert they are what they were, byte for byte. One cell makes no sense: where another program undoes
each change, what a killed agent left does not last, and its next start repairs as beside one that writes just once.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import msgspec
import pytest

from regkeeper.nodes.report import HostState
from tests.nodes.agent import Outcome, kill_agent, kill_points, run_agent
from tests.nodes.docker_states import FILE, SECOND_HOST, STATES, State, in_state
from tests.nodes.namespaces import Daemon
from tests.nodes.next_start import NextStart
from tests.nodes.node import Node

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("docker-matrix")]

OTHERS = (b"mirror.example", b"other.example")
"""What the files hold besides."""
ACTS = {"trusts": (0, 1), "reverts": (1, 0)}
"""How many registries are trusted before and after it."""
ACTS_BESIDE_ANOTHER = {"trusts a second registry": (1, 2), "reverts one of two": (2, 1)}


def in_each(states: Sequence[State]) -> pytest.MarkDecorator:
    """Run the test in each of these states, all tests of one state before the next."""
    ids = [state.name for state in states]
    return pytest.mark.parametrize("prepared", states, ids=ids, indirect=True, scope="module")


every_state = in_each(STATES)


Kill = tuple[object, ...]
"""The act and its file operations, the file's mode, ahead of which operation it was, and whether the act is resumed."""


class Place:
    """A node in one of the states."""

    def __init__(
        self, node: Node, state: State, daemon: Daemon | None, next_start: NextStart, kills: "set[Kill]"
    ) -> None:
        self.node = node
        self.state = state
        self.kills = kills
        self.daemon = daemon
        self._next_start = next_start
        self.host = state.host
        self.original = self.snapshot()
        self._trusted = self._insecure()

    def run(self, *hosts: str) -> Outcome:
        """One run of the agent, beside the other program that the state may have."""
        return run_agent(self.node, *hosts, **self.state.writer)

    def snapshot(self) -> dict[str, object]:
        """Everything of ours or near it: names, content, mode and owner."""
        found: dict[str, object] = {}
        for folder in ("/etc/docker", "/var/lib/regkeeper"):
            for path in sorted(self.node.path(folder).glob("*")):
                status = path.lstat()
                if path.is_file() and path.name != "key.json":
                    found[f"{folder}/{path.name}"] = (path.read_bytes(), status.st_mode, status.st_uid, status.st_gid)
        return found

    def mode(self) -> int | None:
        """Of daemon.json, if there is one."""
        path = self.node.path(FILE)
        return path.stat().st_mode if path.exists() else None

    def check(self, outcome: Outcome) -> None:
        """What is reported of the first registry is what this state lets expect."""
        state = self.state
        if not state.starts and state.reason is None:
            assert outcome.report.runtimes == (), "a Docker that does not run is not one of the node's runtimes"
            return
        report = outcome.host(self.host)
        assert (report.problem.reason if report.problem else None) == state.reason
        assert (report.state is HostState.TRUSTED) == (state.reason is None)
        assert state.notice is None or state.notice in outcome.reasons()
        assert not [word for word in OTHERS if word in msgspec.json.encode(outcome.report)], "of the node's own file"

    def check_dockerd(self, *trusted: str) -> None:
        """It runs, and one that is started from the files as they are comes up too, if it would have without us."""
        assert self.daemon is None or self.daemon.running(), "no restart is ever needed"
        found = self._next_start.trusts(self.state)
        assert (found is not None) == self.state.starts_again
        assert found is None or not self.state.changes or self.state.undone or set(trusted) <= found

    def check_reverted(self) -> None:
        assert self.snapshot() == self.original
        assert self._insecure() == self._trusted
        self.check_dockerd()

    def restart(self) -> None:
        self.node.stop_all("dockerd")
        self.daemon = self.node.start_dockerd(*self.state.arguments, env=self.state.environment)

    def _insecure(self) -> object:
        """What dockerd trusts, by its own word; None where none runs."""
        return self.node.docker_get("/info")["RegistryConfig"] if self.daemon else None


@pytest.fixture(scope="module")
def next_start(node: Node) -> NextStart:
    return NextStart(node)


@pytest.fixture(scope="module")
def kills() -> "set[Kill]":
    """Those of the states before."""
    return set()


@pytest.fixture(scope="module")
def prepared(node: Node, next_start: NextStart, kills: "set[Kill]", request: pytest.FixtureRequest) -> Iterator[Place]:
    with in_state(node, request.param) as daemon:
        yield Place(node, request.param, daemon, next_start, kills)


@pytest.fixture
def place(prepared: Place) -> Iterator[Place]:
    """As no agent was ever there; and so again when the test is done."""
    with ExitStack() as stack:
        stack.callback(prepared.check_reverted)
        stack.callback(prepared.run)
        yield prepared


@every_state
def test_trust(place: Place) -> None:
    place.check(place.run(place.host))
    assert (place.snapshot() != place.original) == place.state.changes
    if place.state.changes:
        expected = 0o600 if place.state.name == "mode 0600" else 0o644
        assert place.node.path(FILE).stat().st_mode & 0o777 == expected
    place.check_dockerd(place.host)


@every_state
def test_a_second_registry(place: Place) -> None:
    place.run(place.host)
    outcome = place.run(place.host, SECOND_HOST)
    place.check(outcome)
    for runtime in outcome.report.runtimes:
        assert (runtime.hosts[1].state is HostState.TRUSTED) == place.state.has_second
    place.check_dockerd(place.host, SECOND_HOST)


@every_state
def test_an_upgraded_agent_changes_nothing(place: Place) -> None:
    place.run(place.host)
    before = place.snapshot()
    outcome = place.run(place.host)
    place.check(outcome)
    if not place.state.undone:
        assert not [operation for operation in outcome.operations if FILE in operation and place.state.changes]
    assert place.snapshot() == before


@every_state
def test_untrust(place: Place) -> None:
    place.run(place.host)
    outcome = place.run()
    place.check_reverted()
    assert all(runtime.reverted for runtime in outcome.report.runtimes)


@in_each([state for state in STATES if not state.undone])
@pytest.mark.parametrize("act", ACTS)
def test_killed_at_each_file_operation(place: Place, act: str) -> None:
    kill_at_each_file_operation(place, *ACTS[act])


@in_each([state for state in STATES if state.restarts])
@pytest.mark.parametrize("act", ACTS_BESIDE_ANOTHER)
def test_killed_beside_another_registry(place: Place, act: str) -> None:
    kill_at_each_file_operation(place, *ACTS_BESIDE_ANOTHER[act])


def kill_at_each_file_operation(place: Place, trusted_before: int, trusted_after: int) -> None:
    """SIGKILL ahead of each; the next start ends where an undisturbed one would, or goes back if it is told to.

    Each operation meets one of the two here, and the other in the next state. Where earlier states were written to in
    the same way, in the same operations, every third of those that met the same there is enough.
    """
    hosts = (place.host, SECOND_HOST)
    before, after = hosts[:trusted_before], hosts[:trusted_after]
    place.run(*before)
    was = place.snapshot()
    undisturbed = place.run(*after)
    becomes = place.snapshot()
    place.run(*before)
    left: set[object] = set()
    for turn, number in enumerate(kill_points(undisturbed), STATES.index(place.state)):
        resumes = bool(turn % 2)
        kill = (before, after, tuple(undisturbed.operations), place.mode(), number, resumes)
        if kill in place.kills and turn % 3 and not (place.state.restarts or place.state.writer):
            continue
        place.kills.add(kill)
        assert kill_agent(place.node, *after, before=number, **place.state.writer)
        place.check_dockerd()
        content = place.snapshot().get(FILE)
        if place.state.restarts and content not in left:
            left.add(content)
            place.restart()
        if resumes:
            outcome = place.run(*after)
            if after:
                place.check(outcome)
            assert place.snapshot() == becomes, f"killed ahead of {undisturbed.operations[number]}"
        place.run(*before)
        assert place.snapshot() == was, f"killed ahead of {undisturbed.operations[number]}"
