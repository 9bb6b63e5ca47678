"""The agent and a real dockerd: what the matrix of states and acts does not show."""

import errno
import json
import random

import pytest

from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState
from tests.cluster.programs import PAUSE
from tests.nodes import held_transfer
from tests.nodes.agent import run_agent, trust_list
from tests.nodes.docker_answers import assert_untouched, entries, secure
from tests.nodes.docker_states import FILE, HOST, MIRRORS, SECOND_HOST, State, in_state
from tests.nodes.namespaces import ADDRESS, SECOND_ADDRESS, Daemon
from tests.nodes.node import Node
from tests.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("docker")]

RECORD = "/var/lib/regkeeper/node.json"


def test_push_and_pull_with_nothing_edited_by_hand(node: Node, dockerd: Daemon) -> None:
    """The walk-through's heart: the push fails before, works after, and dockerd is the same process."""
    pid = dockerd.pid
    image = f"{HOST}/boke/wordpress:latest"
    node.run("sh", "-c", f"tar -C {PAUSE.directory()} -c pause | docker import -c 'CMD [\"/pause\"]' - {image}")
    options = ("--detach", "--network=none", f"--cgroup-parent={node.cgroup}")
    container = node.run("docker", "run", *options, image).stdout.strip()
    running = node.run("docker", "inspect", "-f", "{{.State.Pid}}", container).stdout
    refused = node.run("docker", "push", image, check=False)
    assert "server gave HTTP response to HTTPS client" in refused.stderr
    run_agent(node, HOST)
    node.run("docker", "push", image)
    assert node.docker_get(f"/distribution/{image}/json")["Descriptor"]["digest"].startswith("sha256:")
    node.run("docker", "rmi", "-f", image)
    node.run("docker", "pull", image)
    assert node.run("docker", "inspect", "-f", "{{.State.Pid}}", container).stdout == running
    assert json.loads(node.path(FILE).read_text())["registry-mirrors"] == ["https://mirror.example"]
    assert dockerd.running()
    assert dockerd.pid == pid
    run_agent(node)
    assert "HTTP response to HTTPS client" in node.run("docker", "push", image, check=False).stderr
    assert_untouched(node)
    assert node.run("docker", "inspect", "-f", "{{.State.Pid}}", container).stdout == running
    node.run("docker", "rm", "-f", container)


def test_a_push_outlives_ten_reloads(node: Node, dockerd: Daemon) -> None:
    host, image = held_transfer.HOST, f"{held_transfer.HOST}/large/image:1"
    with held_transfer.held_transfer(node) as held:
        run_agent(node, host)
        held_transfer.make_image(node, image)
        push = node.start("push", "docker", "push", image)
        held.wait_until_held()
        before = dockerd.log.read_text().count("Reloaded configuration")
        for number in range(10):
            run_agent(node, host, *((SECOND_HOST,) if number % 2 == 0 else ()))
        assert dockerd.log.read_text().count("Reloaded configuration") == before + 10
        assert push.running()
        held.go_on()
        wait_for(lambda: not push.running(), 60, push.log.read_text)
        assert push.returncode == 0, push.log.read_text()
    assert dockerd.running()
    node.run("docker", "rmi", image)


def test_a_hundred_random_changes_of_two_registries_leave_no_trace(node: Node, dockerd: Daemon) -> None:
    chance = random.Random(4)
    for _ in range(100):
        hosts = [host for host in (HOST, SECOND_HOST) if chance.random() < 0.5]
        chance.shuffle(hosts)
        run_agent(node, *hosts)
        assert sorted(entries(node)) == sorted(hosts)
        assert [secure(node, host) for host in (HOST, SECOND_HOST)] == [
            host not in hosts for host in (HOST, SECOND_HOST)
        ]
        if not hosts:
            assert_untouched(node)
    run_agent(node)
    assert_untouched(node)
    assert dockerd.running()


def test_what_somebody_edited_meanwhile_stays(node: Node, dockerd: Daemon) -> None:
    run_agent(node, HOST, SECOND_HOST)
    text = node.path(FILE).read_text()
    edited = text.replace(f'"{HOST}"', f'"{HOST}", "other.example:5000"').replace('"info"', '"warn"')
    node.path(FILE).write_text(edited)
    node.run("kill", "-HUP", str(dockerd.pid))
    wait_for(lambda: not secure(node, "other.example:5000"), 5, "the reload")
    run_agent(node)
    settings = json.loads(node.path(FILE).read_text())
    assert settings == {
        "registry-mirrors": ["https://mirror.example"],
        "log-level": "warn",
        "insecure-registries": ["other.example:5000"],
    }
    assert secure(node)
    assert not secure(node, "other.example:5000")
    assert not node.path("/var/lib/regkeeper").exists()


def test_a_file_that_was_rewritten_without_us_is_repaired_and_comes_back_as_it_was_rewritten(
    node: Node, dockerd: Daemon
) -> None:
    run_agent(node, HOST)
    rewritten = b'{"registry-mirrors": ["https://mirror.example"]}'
    node.path(FILE).write_bytes(rewritten)
    outcome = run_agent(node, HOST)
    assert outcome.host(HOST).state is HostState.TRUSTED
    assert entries(node) == [HOST]
    run_agent(node)
    assert_untouched(node, rewritten)


def test_a_file_that_was_deleted_is_repaired_and_deleted_again(node: Node, dockerd: Daemon) -> None:
    run_agent(node, HOST)
    node.path(FILE).unlink()
    dockerd.stop()
    node.start_dockerd()
    run_agent(node, HOST)
    assert entries(node) == [HOST]
    run_agent(node)
    assert not node.path(FILE).exists()


def test_a_change_that_dockerd_rejects_is_taken_back(node: Node, dockerd: Daemon) -> None:
    """An unknown key, which the administrator put there and did not load, makes dockerd reject the whole file."""
    content = b'{"registry-mirrors": ["https://mirror.example"], "nonsense": 1}'
    node.path(FILE).write_bytes(content)
    outcome = run_agent(node, HOST)
    assert Reason.REJECTED in outcome.reasons()
    assert outcome.host(HOST).state is HostState.BLOCKED
    assert_untouched(node, content)
    assert dockerd.running()


def test_a_rejected_change_is_not_tried_again_and_again(node: Node, dockerd: Daemon) -> None:
    node.path(FILE).write_bytes(b'{"nonsense": 1}')
    outcome = run_agent(node, HOST, passes=4)
    assert len([operation for operation in outcome.operations if operation == f"rename {FILE}"]) == 2


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_at_any_file_operation_leaves_what_was_or_what_will_be(
    node: Node, dockerd: Daemon, number: int
) -> None:
    for operation in range(100):
        outcome = run_agent(node, HOST, fail_before=operation, errno=number)
        json.loads(node.path(FILE).read_text())
        assert run_agent(node, HOST).host(HOST).state is HostState.TRUSTED
        run_agent(node, fail_before=operation, errno=number)
        run_agent(node)
        assert_untouched(node)
        if len(outcome.operations) <= operation:
            break
    assert dockerd.running()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", Reason.LIST_MISSING),
        (trust_list()[:-10], Reason.LIST_INVALID),
        (trust_list().replace(b'"version":1', b'"version":2'), Reason.LIST_VERSION),
        (trust_list(generation=4), Reason.LIST_OLDER),
        (trust_list(nodes={"another": 0}, generation=9), Reason.NODE_NOT_LISTED),
    ],
    ids=["empty", "truncated", "newer", "older", "of other nodes"],
)
def test_no_order_no_change(node: Node, dockerd: Daemon, document: bytes, reason: Reason) -> None:
    run_agent(node, document=trust_list(HOST, generation=5))
    outcome = run_agent(node, document=document)
    assert outcome.report.list_problem
    assert outcome.report.list_problem.reason == reason
    assert outcome.operations == []
    assert entries(node) == [HOST]
    if reason is Reason.LIST_OLDER:
        # This agent has carried nothing out itself, and without that the operator can't write a later one.
        assert (outcome.report.generation, outcome.report.list_problem.facts) == (0, {"generation": "5"})


def test_an_older_list_after_the_last_revert_is_carried_out_and_reported_as_older(node: Node, dockerd: Daemon) -> None:
    """The record went with the revert, so a new agent can't know. The operator does, by the generation that it reports:
    the node does not count as reverted before the newer list has come and has taken everything back."""
    run_agent(node, document=trust_list(HOST, generation=7))
    run_agent(node, document=trust_list(generation=8))
    assert_untouched(node)
    older = run_agent(node, document=trust_list(HOST, generation=7))
    assert entries(node) == [HOST]
    assert (older.report.generation, older.runtime().reverted) == (7, False)
    newer = run_agent(node, document=trust_list(generation=8))
    assert (newer.report.generation, newer.runtime().reverted) == (8, True)
    assert_untouched(node)


def test_a_node_that_moved_to_another_cluster_is_cleaned(node: Node, dockerd: Daemon) -> None:
    run_agent(node, document=trust_list(HOST, generation=5))
    run_agent(node, document=trust_list(SECOND_HOST, generation=1, cluster="there"))
    assert entries(node) == [SECOND_HOST]
    assert secure(node, HOST)


@pytest.mark.parametrize(
    ("record", "reason"),
    [(b'{"version": 2, "more": true}', Reason.RECORD_NEWER), (b'{"version": 1, "x": 1}', Reason.RECORD_BROKEN)],
)
def test_a_record_that_is_not_understood_is_left(node: Node, dockerd: Daemon, record: bytes, reason: Reason) -> None:
    node.path(RECORD).parent.mkdir()
    node.path(RECORD).write_bytes(record)
    outcome = run_agent(node, HOST)
    assert [problem.reason for problem in outcome.report.problems] == [reason]
    assert outcome.operations == []
    assert node.path(RECORD).read_bytes() == record


def test_the_backup_is_for_root_alone_and_no_name_that_docker_reads(node: Node, dockerd: Daemon) -> None:
    run_agent(node, HOST)
    backup = node.path(FILE + ".regkeeper-backup")
    assert backup.read_bytes() == MIRRORS
    assert backup.stat().st_mode & 0o777 == 0o600
    assert node.path(RECORD).stat().st_mode & 0o777 == 0o600


def test_the_entry_that_a_proxy_lacks_is_named_and_helps(node: Node) -> None:
    proxy = {"HTTP_PROXY": f"http://{SECOND_ADDRESS}:3128", "HTTPS_PROXY": f"http://{SECOND_ADDRESS}:3128"}
    with in_state(node, State("proxy", environment=proxy)):
        problem = run_agent(node, HOST).host(HOST).problem
        run_agent(node)
    assert problem
    assert f"add {problem.facts['entry']} to its NO_PROXY" in problem.words()
    with in_state(node, State("as told", environment={**proxy, "NO_PROXY": problem.facts["entry"]})):
        assert run_agent(node, HOST).host(HOST).state is HostState.TRUSTED
        run_agent(node)


def test_localhost_needs_nothing(node: Node, dockerd: Daemon) -> None:
    node.start_registry("127.0.0.1:5000")
    outcome = run_agent(node, "127.0.0.1:5000", "localhost:5000")
    assert [(host.state, host.ours) for host in outcome.runtime().hosts] == [(HostState.TRUSTED, False)] * 2
    assert_untouched(node)


def test_a_flag_that_came_later_drives_our_entry_out(node: Node, dockerd: Daemon) -> None:
    """Flag and key together would make the next start fatal."""
    run_agent(node, HOST)
    node.path("/etc/systemd/system").mkdir(parents=True, exist_ok=True)
    node.path("/etc/systemd/system/docker.service").write_text(
        "[Service]\nExecStart=/usr/bin/dockerd --insecure-registry=other.example:5000\n"
    )
    outcome = run_agent(node, HOST)
    (problem,) = outcome.runtime().problems
    assert problem.reason == Reason.FLAG_CONFLICT
    assert f"remove the flag, or add {HOST} to it" in problem.words()
    assert_untouched(node)
    dockerd.stop()
    node.start_dockerd("--insecure-registry=other.example:5000")


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_file_that_the_next_start_names_stays_though_there_was_none_before_us(node: Node, stopped: bool) -> None:
    """dockerd does not start from a --config-file that is absent."""
    flag = f"--config-file={FILE}"
    with in_state(node, State("no file")) as dockerd:
        assert dockerd
        run_agent(node, HOST)
        node.path("/etc/systemd/system/docker.service").write_text(f"[Service]\nExecStart=/usr/bin/dockerd {flag}\n")
        if stopped:
            dockerd.stop()
        run_agent(node)
        assert not node.path("/var/lib/regkeeper").exists()
        node.stop_all("dockerd")
        node.start_dockerd(flag)
        assert json.loads(node.path(FILE).read_text()) == {}


def test_a_name_that_the_node_cannot_resolve_and_a_registry_that_is_down(node: Node, dockerd: Daemon) -> None:
    nowhere, down = "nowhere.example:5000", f"{ADDRESS}:5999"
    outcome = run_agent(node, nowhere, down, HOST)
    assert outcome.host(HOST).state is HostState.TRUSTED
    for host, state, reason in (
        (nowhere, HostState.BLOCKED, Reason.NAME_UNRESOLVED),
        (down, HostState.CONFIGURED, Reason.UNREACHABLE),
    ):
        problem = outcome.host(host).problem
        assert (outcome.host(host).state, problem and problem.reason) == (state, reason)
    assert entries(node) == [nowhere, down, HOST], "what is unreachable is never taken back"
    names = node.path("/etc/hosts")
    before = names.read_text()

    def is_resolved() -> bool:
        outcome = run_agent(node, nowhere, down, HOST)
        assert outcome.operations == []
        return outcome.host(nowhere).state is HostState.TRUSTED

    names.write_text(f"{before}{ADDRESS} nowhere.example\n")
    try:
        wait_for(is_resolved, 30, "dockerd, which looks into /etc/hosts every five seconds")
    finally:
        names.write_text(before)
