"""The drop-in for CRI-O, judged by skopeo, which reads registries.conf with CRI-O's own library (containers/image).

CRI-O itself is in no package of Debian 12 and not to be had as a Go module. So the way to its process is tried with a
real containerd named `crio`: it serves the same interface, and SIGHUP ends it, which shows whom the signal reached.
What a real CRI-O answers was measured by hand (measured_answers.py).
"""

from collections.abc import Iterator

import pytest

from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState
from tests.nodes.agent import Outcome, kill_agent, kill_points, run_agent
from tests.nodes.namespaces import ADDRESS, ADDRESS_V6, Daemon
from tests.nodes.node import Node
from tests.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("crio")]

HOST = f"{ADDRESS}:5000"
SECOND_HOST = "master.example:5000"
SOCKET = "/run/crio/crio.sock"
MAIN = "/etc/containers/registries.conf"
OURS = "/etc/containers/registries.conf.d/99-regkeeper.conf"
CONFIG = f"""version = 2
oom_score = 0
root = "/var/lib/crio"
state = "/run/crio/state"
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/crio-certs.d"
"""


@pytest.fixture(scope="module")
def bare(bare: Node) -> Node:
    """With one more registry, and the stand-in for CRI-O."""
    bare.start_registry("127.0.0.1:5000")
    bare.run("mkdir", "/run/programs")
    bare.run("cp", "/usr/bin/containerd", "/run/programs/crio")
    return bare


@pytest.fixture
def node(bare: Node) -> Iterator[Node]:
    yield bare
    bare.stop_all("containerd")
    bare.run("rm", "-rf", "/etc/containers", "/var/lib/regkeeper", "/run/crio", "/etc/crio-certs.d")


def start(node: Node) -> Daemon:
    """Start the stand-in for CRI-O, again if it runs."""
    node.stop_all("containerd")
    node.run("mkdir", "-p", "/etc/containers/registries.conf.d", "/etc/crio-certs.d")
    node.path("/etc/crio.toml").write_text(CONFIG)
    return node.start_containerd("--config", "/etc/crio.toml", program="/run/programs/crio", socket=SOCKET)


def skopeo(node: Node, host: str = HOST) -> str:
    """What the library says of an image that does not exist."""
    return node.run("skopeo", "inspect", f"docker://{host}/none/none:1", check=False).stderr


def trusted(node: Node, host: str = HOST) -> bool:
    answer = skopeo(node, host)
    assert ("manifest unknown" in answer) != ("HTTP response to HTTPS client" in answer), answer
    return "manifest unknown" in answer


def test_trust_and_untrust(node: Node) -> None:
    crio = start(node)
    assert not trusted(node)
    run_agent(node, HOST, SECOND_HOST)
    assert trusted(node)
    assert trusted(node, SECOND_HOST)
    wait_for(lambda: not crio.running(), 60, "the end of what was signalled")
    start(node)
    run_agent(node, SECOND_HOST)
    assert not trusted(node)
    assert trusted(node, SECOND_HOST)
    start(node)
    run_agent(node)
    assert not trusted(node, SECOND_HOST)
    assert not node.path(OURS).exists()
    assert not node.path("/var/lib/regkeeper").exists()


def test_an_entry_of_ipv6_harms_no_other(node: Node) -> None:
    """CRI-O's library takes no image name that starts with [, and says so in words that the agent knows."""
    host = f"[{ADDRESS_V6}]:5000"
    start(node)
    run_agent(node, host, HOST)
    assert host in node.path(OURS).read_text()
    assert "invalid reference format" in skopeo(node, host)
    assert trusted(node)


def test_localhost_needs_an_entry(node: Node) -> None:
    start(node)
    assert not trusted(node, "localhost:5000")
    run_agent(node, "localhost:5000")
    assert trusted(node, "localhost:5000")


def test_certificates_of_docker_are_honoured(node: Node) -> None:
    """So what an administrator gave to Docker works at CRI-O too, and is none of ours."""
    host, made = f"{ADDRESS}:5443", node.folder / "ca"
    subject = ("-subj", "/CN=registry", "-addext", f"subjectAltName=IP:{ADDRESS}")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{made}.key")
    node.run("openssl", "req", "-x509", *key, *subject, "-out", f"{made}.crt")
    node.start_registry(host, certificate=str(made))
    assert "x509" in skopeo(node, host)
    node.run("install", "-D", f"{made}.crt", f"/etc/docker/certs.d/{host}/ca.crt")
    assert "manifest unknown" in skopeo(node, host)
    node.run("rm", "-r", "/etc/docker/certs.d")


def test_a_broken_drop_in_fails_every_pull(node: Node) -> None:
    """Which is why the agent adds nothing where it can't read a file."""
    start(node)
    node.path("/etc/containers/registries.conf.d/10-x.conf").write_text("[[registry]\n")
    assert "loading registries configuration" in skopeo(node, "other.example:5000")


def test_an_administrators_entry_is_left(node: Node) -> None:
    start(node)
    node.path(MAIN).write_text(f'[[registry]]\nlocation = "{HOST}"\ninsecure = true\n')
    outcome = run_agent(node, HOST)
    assert outcome.operations == []
    assert not outcome.host(HOST, "crio").ours
    assert trusted(node)


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        (MAIN, "[[registry]\n", Reason.FILE_BROKEN),
        ("/etc/containers/registries.conf.d/10-x.conf", "\x00", Reason.FILE_BROKEN),
        (MAIN, "[registries.insecure]\nregistries = []\n", Reason.UNSUPPORTED),
        (OURS, "# somebody else's\n", Reason.FILE_FOREIGN),
    ],
    ids=["broken", "broken drop-in", "old format", "our name is taken"],
)
def test_what_is_reported_and_left(node: Node, path: str, content: str, reason: Reason) -> None:
    crio = start(node)
    node.path(path).write_text(content)
    outcome = run_agent(node, HOST)
    report = outcome.host(HOST, "crio")
    assert (report.state, report.problem and report.problem.reason) == (HostState.BLOCKED, reason)
    assert outcome.operations == []
    assert crio.running()


def test_killed_at_each_file_operation(node: Node) -> None:
    """Started anew before each run, as the signal of a run ends the stand-in."""

    def run(*hosts: str) -> Outcome:
        start(node)
        return run_agent(node, *hosts)

    there, back = run(HOST), run()
    for number in kill_points(there):
        start(node)
        assert kill_agent(node, HOST, before=number)
        run(HOST)
        assert trusted(node), there.operations[number]
        run()
    for number in kill_points(back):
        run(HOST)
        start(node)
        assert kill_agent(node, before=number)
        run()
        assert not trusted(node), back.operations[number]
        assert not node.path("/var/lib/regkeeper").exists(), back.operations[number]
        assert node.path("/etc/containers/registries.conf.d").exists()
