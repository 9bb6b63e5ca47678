"""Another program writes daemon.json while the agent does: what it wrote is never lost, and a fight comes to an end."""

import json
from collections.abc import Iterator

import pytest

from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState
from tests.nodes.agent import run_agent
from tests.nodes.docker_states import FILE, HOST, MIRRORS, SECOND_HOST, State, in_state
from tests.nodes.namespaces import Daemon
from tests.nodes.node import Node

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("docker")]

EDITED = MIRRORS.replace(b'"info"', b'"warn"')


@pytest.fixture(scope="module")
def dockerd(node: Node) -> Iterator[Daemon]:
    with in_state(node, State("mirrors", MIRRORS)) as daemon:
        assert daemon
        run_agent(node, HOST)  # from here on it is old enough to be signalled, so that every pass acts
        run_agent(node)
        yield daemon


def replacements(operations: list[str]) -> list[int]:
    """Numbers of the operations that replace or remove daemon.json."""
    return [number for number, operation in enumerate(operations) if operation in (f"rename {FILE}", f"remove {FILE}")]


@pytest.mark.parametrize("after", [0, 2], ids=["at that moment", "ahead of the signal"])
@pytest.mark.parametrize(
    ("before", "hosts"),
    [((), (HOST,)), ((HOST,), (HOST, SECOND_HOST)), ((HOST,), ())],
    ids=["trusts", "trusts a second registry", "reverts"],
)
def test_what_is_written_while_the_agent_writes_stays(
    node: Node, dockerd: Daemon, before: tuple[str, ...], hosts: tuple[str, ...], after: int
) -> None:
    """Also where it takes our entries out just as dockerd is to read them: a rollback does not bring back what was."""
    node.path(FILE).write_bytes(MIRRORS)
    run_agent(node, *before)
    moments = replacements(run_agent(node, *hosts).operations)
    assert moments
    for moment in moments:
        run_agent(node)
        node.path(FILE).write_bytes(MIRRORS)
        run_agent(node, *before)
        outcome = run_agent(node, *hosts, write_before=moment + after, meanwhile=EDITED.decode())
        assert [host.state for host in outcome.runtime().hosts] == [HostState.TRUSTED] * len(hosts)
        assert not outcome.reasons()
        settings = json.loads(node.path(FILE).read_bytes())
        assert settings.pop("insecure-registries", []) == list(hosts)
        assert settings == json.loads(EDITED)
        run_agent(node)
        assert node.path(FILE).read_bytes() == EDITED
        assert sorted(path.name for path in node.path("/etc/docker").glob("daemon.json*")) == ["daemon.json"]
        assert not node.path("/var/lib/regkeeper").exists()
        indexes = node.docker_get("/info")["RegistryConfig"]["IndexConfigs"]
        assert not {HOST, SECOND_HOST} & set(indexes)
    assert dockerd.running()


def test_another_writer_is_damped_and_reported(node: Node, dockerd: Daemon) -> None:
    outcome = run_agent(node, HOST, passes=15, rewrite=MIRRORS.decode())
    assert Reason.CONTENDED in outcome.reasons()
    assert outcome.host(HOST).state is HostState.PENDING
    renames = replacements(outcome.operations)
    assert len(renames) == 1 + 3, "as many repairs as are free"
