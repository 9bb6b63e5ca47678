"""hosts.toml files for a real containerd, proved by CRI pulls."""

import random
from collections.abc import Iterator

import pytest

from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState
from tests.nodes.agent import kill_agent, kill_points, run_agent
from tests.nodes.namespaces import ADDRESS, SECOND_ADDRESS, Daemon
from tests.nodes.node import Node

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("containerd")]

HOST = f"{ADDRESS}:5000"
SECOND_HOST = "master.example:5000"
CERTS = "/etc/containerd/certs.d"
OTHER_CERTS = "/etc/containerd/hosts.d"
CONFIG = "/etc/containerd/config.toml"
WITHOUT_CONFIG_PATH = "version = 2\noom_score = 0\n"
WITH_CONFIG_PATH = f"""{WITHOUT_CONFIG_PATH}[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{CERTS}"
"""


@pytest.fixture
def node(bare: Node) -> Iterator[Node]:
    """Whose containerd is not started yet."""
    yield bare
    bare.stop_all("containerd")
    bare.run(
        "rm",
        "-rf",
        "/etc/containerd",
        "/var/lib/regkeeper",
        "/run/containerd",
        "/run/k3s",
        "/var/lib/rancher",
        "/srv/k3s",
    )
    bare.path("/etc/containerd").mkdir()


def start(node: Node, config: str = WITH_CONFIG_PATH) -> Daemon:
    node.path(CONFIG).write_text(config)
    return node.start_containerd()


def tree(node: Node, root: str = "/etc/containerd") -> dict[str, bytes | None]:
    """Every directory (None) and file below `root`."""
    base = node.path(root)
    return {
        str(path.relative_to(base)): None if path.is_dir() else path.read_bytes() for path in sorted(base.rglob("*"))
    }


def test_trust_and_untrust_leave_no_trace_and_need_no_restart(node: Node) -> None:
    containerd = start(node)
    before = tree(node)
    outcome = run_agent(node, HOST)
    assert outcome.host(HOST, "containerd").state is HostState.TRUSTED
    assert outcome.host(HOST, "containerd").ours
    assert outcome.runtime("containerd").version.startswith("1.6")
    outcome = run_agent(node, HOST, SECOND_HOST)
    assert [host.state for host in outcome.runtime("containerd").hosts] == [HostState.TRUSTED] * 2
    outcome = run_agent(node, SECOND_HOST)
    assert list(tree(node, CERTS)) == [SECOND_HOST, f"{SECOND_HOST}/hosts.toml"]
    outcome = run_agent(node)
    assert outcome.runtime("containerd").reverted
    assert tree(node) == before
    assert not node.path("/var/lib/regkeeper").exists()
    assert containerd.running()
    containerd.stop()
    node.start_containerd()


def test_unreachable_is_reported_and_kept(node: Node) -> None:
    start(node)
    host = f"{SECOND_ADDRESS}:5999"
    report = run_agent(node, host).host(host, "containerd")
    assert (report.state, report.problem and report.problem.reason) == (HostState.CONFIGURED, Reason.UNREACHABLE)
    assert node.path(f"{CERTS}/{host}/hosts.toml").exists()


def test_an_upgraded_agent_writes_nothing(node: Node) -> None:
    start(node)
    run_agent(node, HOST)
    assert run_agent(node, HOST).operations == []


def test_an_unset_config_path_is_reported_with_what_to_set(node: Node) -> None:
    start(node, WITHOUT_CONFIG_PATH)
    before = tree(node)
    outcome = run_agent(node, HOST)
    report = outcome.host(HOST, "containerd")
    assert report.state is HostState.BLOCKED
    assert report.problem
    assert report.problem.reason == Reason.CONFIG_PATH_UNSET
    assert 'config_path = "/etc/containerd/certs.d"' in report.problem.words()
    assert tree(node) == before
    assert outcome.operations == []


def test_mirrors_of_the_administrator_work_and_are_left(node: Node) -> None:
    """`registry.mirrors` excludes config_path, and trusts the host all the same."""
    config = WITHOUT_CONFIG_PATH + (
        f'[plugins."io.containerd.grpc.v1.cri".registry.mirrors."{HOST}"]\nendpoint = ["http://{HOST}"]\n'
    )
    start(node, config)
    outcome = run_agent(node, HOST, SECOND_HOST)
    assert outcome.host(HOST, "containerd").state is HostState.TRUSTED
    second = outcome.host(SECOND_HOST, "containerd")
    assert (second.state, second.problem and second.problem.reason) == (HostState.BLOCKED, Reason.MIRRORS_IN_CONFIG)
    assert outcome.operations == []


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("tls]\ninsecure_skip_verify = true", Reason.MIRRORS_IN_CONFIG),
        ('auth]\nusername = "me"\npassword = "x"', Reason.CONFIG_PATH_UNSET),
    ],
    ids=["TLS", "credentials"],
)
def test_of_configs_only_tls_has_to_go_before_a_config_path_can_be_set(node: Node, table: str, reason: Reason) -> None:
    start(node, f'{WITHOUT_CONFIG_PATH}[plugins."io.containerd.grpc.v1.cri".registry.configs."other.example".{table}\n')
    outcome = run_agent(node, HOST)
    report = outcome.host(HOST, "containerd")
    assert (report.state, report.problem and report.problem.reason) == (HostState.BLOCKED, reason)
    assert outcome.operations == []


def test_an_import_that_sets_only_config_path_counts(node: Node) -> None:
    node.path("/etc/containerd/conf.d").mkdir()
    node.path("/etc/containerd/conf.d/registry.toml").write_text(WITH_CONFIG_PATH)
    start(node, WITHOUT_CONFIG_PATH.replace("oom_score", 'imports = ["/etc/containerd/conf.d/*.toml"]\noom_score'))
    assert run_agent(node, HOST).host(HOST, "containerd").state is HostState.TRUSTED


def test_config_path_that_was_set_after_the_start_is_not_effective(node: Node) -> None:
    start(node, WITHOUT_CONFIG_PATH)
    node.path(CONFIG).write_text(WITH_CONFIG_PATH)
    report = run_agent(node, HOST).host(HOST, "containerd")
    assert (report.state, report.problem and report.problem.reason) == (HostState.BLOCKED, Reason.NOT_EFFECTIVE)


def test_a_configuration_that_was_lost_after_the_start_costs_no_trust(node: Node) -> None:
    """The running containerd goes on to read our files; that the next one will not is reported."""
    start(node)
    run_agent(node, HOST, SECOND_HOST)
    node.path(CONFIG).write_text(WITHOUT_CONFIG_PATH)
    report = run_agent(node, HOST).host(HOST, "containerd")
    assert (report.state, report.ours) == (HostState.TRUSTED, True)
    assert list(tree(node, CERTS)) == [HOST, f"{HOST}/hosts.toml"], "what is not wanted goes all the same"
    node.path(CONFIG).unlink()
    outcome = run_agent(node, HOST)
    assert (outcome.host(HOST, "containerd").state, outcome.operations) == (HostState.TRUSTED, [])
    assert outcome.reasons("containerd") == {Reason.CONFIG_PATH_UNSET}
    assert run_agent(node).runtime("containerd").reverted
    assert tree(node) == {}


def test_another_config_path_costs_no_trust_before_the_restart_nor_after(node: Node) -> None:
    """The running containerd goes on to read the files in the old directory, the next one those in the new."""
    start(node)
    run_agent(node, HOST, SECOND_HOST)
    node.path(CONFIG).write_text(WITH_CONFIG_PATH.replace(CERTS, OTHER_CERTS))
    outcome = run_agent(node, HOST)
    assert outcome.host(HOST, "containerd").state is HostState.TRUSTED
    assert list(tree(node, CERTS)) == [HOST, f"{HOST}/hosts.toml"], "what is not wanted goes all the same"
    node.stop_all("containerd")
    node.start_containerd()
    outcome = run_agent(node, HOST)
    assert (outcome.host(HOST, "containerd").state, outcome.operations) == (HostState.TRUSTED, [])
    assert run_agent(node).runtime("containerd").reverted
    assert list(tree(node)) == ["config.toml"]


@pytest.mark.parametrize(
    ("path", "content", "works"),
    [
        (f"{HOST}/hosts.toml", f'server = "http://{HOST}"\n[host."http://{HOST}"]\n', True),
        (f"{HOST}/hosts.toml", f'server = "https://{HOST}"\n', False),
        (f"{HOST}/ca.crt", "", False),
        (f"{ADDRESS}_5000_/hosts.toml", f'server = "http://{HOST}"\n[host."http://{HOST}"]\n', True),
    ],
    ids=["works", "speaks HTTPS", "certificates", "underscores"],
)
def test_foreign_files_are_kept(node: Node, path: str, content: str, works: bool) -> None:
    foreign = node.path(f"{CERTS}/{path}")
    foreign.parent.mkdir(parents=True)
    foreign.write_text(content)
    start(node)
    before = tree(node)
    report = run_agent(node, HOST).host(HOST, "containerd")
    assert report.ours is False
    assert report.state is (HostState.TRUSTED if works else HostState.BLOCKED)
    assert works or (report.problem and report.problem.reason == Reason.FILE_FOREIGN)
    run_agent(node)
    assert tree(node) == before


def test_a_file_of_ours_that_was_edited_is_repaired_and_one_that_was_taken_over_is_left(node: Node) -> None:
    start(node)
    run_agent(node, HOST, SECOND_HOST)
    ours, taken = node.path(f"{CERTS}/{HOST}/hosts.toml"), node.path(f"{CERTS}/{SECOND_HOST}/hosts.toml")
    ours.write_bytes(ours.read_bytes() + b"# edited\n")
    taken.write_text(f'server = "http://{SECOND_HOST}"\n[host."http://{SECOND_HOST}"]\n')
    outcome = run_agent(node, HOST, SECOND_HOST)
    assert b"edited" not in ours.read_bytes()
    assert not outcome.host(SECOND_HOST, "containerd").ours
    run_agent(node)
    assert list(tree(node, CERTS)) == [SECOND_HOST, f"{SECOND_HOST}/hosts.toml"]


def test_a_file_as_older_agents_wrote_it_is_ours(node: Node) -> None:
    """Until 1.7 could not read the brackets of an IPv6 address in the header of a table."""
    start(node)
    before = tree(node)
    run_agent(node, HOST)
    file = node.path(f"{CERTS}/{HOST}/hosts.toml")
    becomes = file.read_bytes()
    older = (
        "# Managed by regkeeper for a Registry of this cluster; edits are replaced.\n"
        f'server = "http://{HOST}"\n\n[host."http://{HOST}"]\n  capabilities = ["pull", "resolve", "push"]\n'
    )
    file.write_text(older)
    assert run_agent(node, HOST).host(HOST, "containerd").state is HostState.TRUSTED
    assert file.read_bytes() == becomes
    file.write_text(older)
    run_agent(node)
    assert tree(node) == before


def test_another_program_that_moves_our_files_away_meets_a_repair(node: Node) -> None:
    """Spegel moves every foreign file out of certs.d at its first start (spegel#413)."""
    start(node)
    run_agent(node, HOST)
    node.run("mv", CERTS, "/etc/containerd/_backup")
    assert run_agent(node, HOST).host(HOST, "containerd").state is HostState.TRUSTED
    node.run("rm", "-r", "/etc/containerd/_backup")
    run_agent(node)
    assert list(tree(node)) == ["config.toml"]


def test_killed_at_each_file_operation(node: Node) -> None:
    start(node)
    before = tree(node)
    there = run_agent(node, HOST, SECOND_HOST)
    expected = tree(node)
    back = run_agent(node)
    for number in kill_points(there):
        assert kill_agent(node, HOST, SECOND_HOST, before=number)
        run_agent(node, HOST, SECOND_HOST)
        assert tree(node) == expected, there.operations[number]
        run_agent(node)
    for number in kill_points(back):
        run_agent(node, HOST, SECOND_HOST)
        assert kill_agent(node, before=number)
        run_agent(node)
        assert tree(node) == before, back.operations[number]
        assert not node.path("/var/lib/regkeeper").exists(), back.operations[number]


def test_a_hundred_random_changes_of_two_registries_leave_no_trace(node: Node) -> None:
    chance = random.Random(4)
    start(node)
    before = tree(node)
    for _ in range(100):
        hosts = [host for host in (HOST, SECOND_HOST) if chance.random() < 0.5]
        run_agent(node, *chance.sample(hosts, len(hosts)))
        assert sorted(path.name for path in node.path(CERTS).glob("*")) == sorted(hosts)
        if not hosts:
            assert tree(node) == before
            assert not node.path("/var/lib/regkeeper").exists()


def test_a_stopped_containerd_is_cleaned_but_not_configured(node: Node) -> None:
    start(node)
    before = tree(node)
    run_agent(node, HOST)
    node.stop_all("containerd")
    outcome = run_agent(node, HOST, SECOND_HOST)
    assert outcome.host(HOST, "containerd").state is HostState.PENDING
    run_agent(node)
    assert tree(node) == before
    assert run_agent(node, HOST).report.runtimes == ()


@pytest.mark.parametrize("folder", ["/var/lib/rancher/k3s", "/var/lib/rancher/rke2", "/srv/k3s"])
def test_k3s(node: Node, folder: str) -> None:
    """The same containerd at the places where k3s and RKE2 run theirs, once with --data-dir; all have one socket."""
    agent = f"{folder}/agent"
    node.path(f"{agent}/etc/containerd").mkdir(parents=True)
    node.path("/run/k3s/containerd").mkdir(parents=True)
    node.path(f"{agent}/etc/containerd/config.toml").write_text(
        WITH_CONFIG_PATH.replace(CERTS, f"{agent}/etc/containerd/certs.d")
    )
    arguments = (
        *("-c", f"{agent}/etc/containerd/config.toml", "-a", "/run/k3s/containerd/containerd.sock"),
        *("--state", "/run/k3s/containerd", "--root", f"{agent}/containerd"),
    )
    node.start_containerd(*arguments, socket="/run/k3s/containerd/containerd.sock")
    before = tree(node, f"{agent}/etc")
    outcome = run_agent(node, HOST)
    assert [runtime.runtime for runtime in outcome.report.runtimes] == ["k3s"]
    assert outcome.host(HOST, "k3s").state is HostState.TRUSTED
    assert node.path(f"{agent}/etc/containerd/certs.d/{HOST}/hosts.toml").exists()
    outcome = run_agent(node, HOST)
    assert ([runtime.runtime for runtime in outcome.report.runtimes], outcome.operations) == (["k3s"], [])
    run_agent(node)
    assert tree(node, f"{agent}/etc") == before
