"""What the agent's care rests on: how dockerd behaves, Debian's 20.10 and today's, by their own word."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState
from tests.cluster.programs import DOCKERD
from tests.nodes import held_transfer
from tests.nodes.agent import run_agent
from tests.nodes.docker_answers import secure
from tests.nodes.docker_states import BROKEN, FILE, HOST, MIRRORS, OTHER_FLAG, SECOND_HOST, State, in_state
from tests.nodes.namespaces import ADDRESS, ADDRESS_V6, Daemon
from tests.nodes.next_start import NextStart
from tests.nodes.node import DEBIAN_DOCKERD, Node, docker_node
from tests.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("docker-facts")]

HTTPS_TRIED = "server gave HTTP response to HTTPS client"
TRUSTS_HOST = json.dumps({"insecure-registries": [HOST]}).encode()


@pytest.fixture(scope="module", params=["20.10", "29"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    program = DEBIAN_DOCKERD if request.param == "20.10" else str(DOCKERD.program("dockerd"))
    with docker_node(program) as node:
        yield node


def is_debians(node: Node) -> bool:
    return node.dockerd == DEBIAN_DOCKERD


def ask(node: Node, host: str) -> str:
    """What dockerd says when it asks a registry for an image that does not exist."""
    return str(node.docker_get(f"/distribution/{host}/none/none:1/json")["message"])


def hang_up(node: Node, daemon: Daemon, said: str) -> None:
    """SIGHUP, and wait until dockerd says this once more."""
    before = daemon.log.read_text().count(said)
    node.run("kill", "-HUP", str(daemon.pid))
    wait_for(lambda: daemon.log.read_text().count(said) > before, 5, daemon.log.read_text)


def reload(node: Node, daemon: Daemon, content: bytes | None) -> None:
    if content is None:
        node.path(FILE).unlink()
    else:
        node.path(FILE).write_bytes(content)
    hang_up(node, daemon, "Reloaded configuration")


@pytest.mark.parametrize(
    ("content", "revokes"),
    [(b"{}", False), (None, False), (b'{"insecure-registries": null}', True), (b'{"insecure-registries": []}', True)],
    ids=["no key", "no file", "null", "empty list"],
)
def test_what_makes_dockerd_forget_a_host(node: Node, content: bytes | None, revokes: bool) -> None:
    with in_state(node, State("trusts", TRUSTS_HOST)) as daemon:
        assert daemon
        assert not secure(node)
        reload(node, daemon, content)
        assert secure(node) == revokes


@pytest.mark.parametrize(("content", "revokes"), [(b"{}", False), (b'{"registry-mirrors": []}', True)], ids=str)
def test_what_makes_dockerd_forget_a_mirror(node: Node, content: bytes, revokes: bool) -> None:
    with in_state(node, State("mirrors", MIRRORS)) as daemon:
        assert daemon
        reload(node, daemon, content)
        mirrors = node.docker_get("/info")["RegistryConfig"]["Mirrors"] or []
        assert mirrors == ([] if revokes else ["https://mirror.example/"])


@pytest.mark.parametrize("content", [BROKEN, b'{"insecure-registries": "x:1"}', b'{"nonsense": 1}'], ids=str)
def test_a_broken_file_is_passed_over_until_the_next_start_fails(node: Node, content: bytes) -> None:
    state = State("trusts", TRUSTS_HOST)
    with in_state(node, state) as daemon:
        assert daemon
        node.path(FILE).write_bytes(content)
        hang_up(node, daemon, "level=error")
        assert daemon.running()
        assert not secure(node)
        assert NextStart(node).trusts(state) is None


@pytest.mark.parametrize("entries", [[HOST], [], ["other.example:5000"]], ids=str)
def test_the_flag_and_the_key_together_are_fatal_at_the_next_start(node: Node, entries: list[str]) -> None:
    """moby#30183: even where both say the same."""
    state = State("flag", arguments=(f"--insecure-registry={HOST}",))
    with in_state(node, state) as daemon:
        assert daemon
        node.path(FILE).write_text(json.dumps({"insecure-registries": entries}))
        hang_up(node, daemon, "specified both as a flag and in the configuration file")
        assert daemon.running()
        assert not secure(node)
        assert NextStart(node).trusts(state) is None


def test_validate_says_yes_to_what_does_not_start(node: Node) -> None:
    """Which is why hosts are checked by the agent itself; and 20.10 has no such option."""

    def validate(content: bytes, *arguments: str) -> str:
        node.path("/run/validate.json").write_bytes(content)
        done = node.run(node.dockerd, "--validate", "--config-file=/run/validate.json", *arguments, check=False)
        return "OK" if done.returncode == 0 else done.stderr

    if is_debians(node):
        assert "unknown flag: --validate" in validate(b"{}")
        return
    assert validate(TRUSTS_HOST) == "OK"
    assert "unexpected end of JSON input" in validate(BROKEN) or "EOF" in validate(BROKEN)
    assert "nonsense" in validate(b'{"nonsense": 1}')
    assert "specified both" in validate(TRUSTS_HOST, *OTHER_FLAG)
    path = json.dumps({"insecure-registries": [f"{HOST}/path"]}).encode()
    assert validate(path) == "OK"
    with in_state(node, State("path", path, starts=False)):
        assert NextStart(node).trusts(State("path")) is None


def test_the_key_in_the_singular_has_no_effect(node: Node) -> None:
    with in_state(node, State("singular", json.dumps({"insecure-registry": [HOST]}).encode())):
        assert secure(node)


def test_a_signal_right_after_the_start_ends_dockerd(node: Node) -> None:
    """Until Go's handler is there, SIGHUP does what it does by default."""
    daemon = node.start("dockerd", *node.dockerd_command())
    wait_for(lambda: Path(f"/proc/{daemon.host_pid}/comm").read_text() == "dockerd\n", 5, daemon.log.read_text)
    node.run("kill", "-HUP", str(daemon.pid))
    wait_for(lambda: not daemon.running(), 5, daemon.log.read_text)
    assert daemon.returncode == -signal.SIGHUP, daemon.log.read_text()


@pytest.mark.parametrize(
    ("entry", "covers"),
    [
        (HOST, {HOST}),
        ("master.example:5000", {SECOND_HOST}),
        (ADDRESS, set()),
        (f"http://{HOST}", {HOST}),
        ("10.99.0.0/24", {HOST, SECOND_HOST}),
    ],
)
def test_which_hosts_an_entry_covers(node: Node, entry: str, covers: set[str]) -> None:
    """A name does not cover its address, nor an address its ports; a network covers whatever leads into it."""
    with in_state(node, State("entry", json.dumps({"insecure-registries": [entry]}).encode())):
        answers = {host: ask(node, host) for host in (HOST, SECOND_HOST)}
        networks = node.docker_get("/info")["RegistryConfig"]["InsecureRegistryCIDRs"]
        another_port = ask(node, f"{ADDRESS}:5999")
    assert {host for host, answer in answers.items() if "manifest unknown" in answer} == covers
    assert {host for host, answer in answers.items() if HTTPS_TRIED in answer} == {HOST, SECOND_HOST} - covers
    assert (entry in networks) == entry.endswith("/24")
    assert ('"http://' in another_port) == entry.endswith("/24"), "a network covers every port"


@pytest.mark.parametrize("entry", ["*.example:5000", f"{HOST}/path", "master.example:99999"])
def test_entries_from_which_dockerd_does_not_start(node: Node, entry: str) -> None:
    state = State("entry", json.dumps({"insecure-registries": [entry]}).encode(), starts=False)
    with in_state(node, state):
        assert NextStart(node).trusts(state) is None


@pytest.mark.parametrize(
    ("directory", "files", "answer"),
    [
        (f"{ADDRESS}:5443", {"ca.crt": "ca.crt"}, "manifest unknown"),
        (ADDRESS, {"ca.crt": "ca.crt"}, "x509"),
        (f"{ADDRESS}:5443", {"ca.pem": "ca.crt"}, "x509"),
        (f"{ADDRESS}:5443", {"ca.crt": "ca.crt", "client.cert": "ca.crt"}, "missing key"),
    ],
    ids=["as it has to be", "without the port", "another ending", "a certificate without its key"],
)
def test_certificates_are_read_live(node: Node, directory: str, files: dict[str, str], answer: str) -> None:
    host, made = f"{ADDRESS}:5443", node.folder / "ca"
    if not made.with_suffix(".crt").exists():
        subject = ("-subj", "/CN=registry", "-addext", f"subjectAltName=IP:{ADDRESS}")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{made}.key")
        node.run("openssl", "req", "-x509", *key, *subject, "-out", f"{made}.crt")
        node.start_registry(host, certificate=str(made))
    with in_state(node, State("no file")):
        assert "x509" in ask(node, host)
        certificates = node.path(f"/etc/docker/certs.d/{directory}")
        certificates.mkdir(parents=True)
        for name, content in files.items():
            (certificates / name).write_bytes((node.folder / content).read_bytes())
        assert answer in ask(node, host)
        node.run("rm", "-r", "/etc/docker/certs.d")
        assert "x509" in ask(node, host)


def test_a_reload_is_an_event_with_the_list(node: Node) -> None:
    with in_state(node, State("no file")) as daemon:
        assert daemon
        events = node.start("events", "docker", "events", "--filter=type=daemon")
        node.path(FILE).write_bytes(TRUSTS_HOST)

        def told() -> bool:
            hang_up(node, daemon, "Reloaded configuration")
            return f'insecure-registries=["{HOST}"]' in events.log.read_text()

        wait_for(told, 10, events.log.read_text)
        events.stop()


def test_a_dockerd_that_systemd_listens_for_is_found(node: Node) -> None:
    """SO_PEERCRED then names systemd, and only the credentials that come with an answer name dockerd."""
    command = [*node.dockerd_command(), "-H", "fd://"]
    script = f"""import os, signal, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/docker.sock")
listener.listen()
child = os.fork()
if not child:
    os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
    os.execv({node.dockerd!r}, {command!r})
print(child, flush=True)
signal.pause()
"""
    peer = """import socket, struct
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/docker.sock")
    print(struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
"""
    with in_state(node, State("behind docker.socket", starts=False)):
        node.path("/run/docker.sock").unlink(missing_ok=True)
        systemd = node.start("systemd", *node.python, "-c", script)
        wait_for(lambda: node.docker_get("/_ping") == "OK", 15, systemd.log.read_text)
        assert node.run(*node.python, "-c", peer).stdout == f"{systemd.pid}\n"
        assert run_agent(node, HOST).host(HOST).state is HostState.TRUSTED
        run_agent(node)
        assert secure(node)
        assert not node.path(FILE).exists()
        node.run("kill", systemd.log.read_text().split()[0])
        systemd.stop()
        node.path("/run/docker.sock").unlink()


def test_a_pull_outlives_the_removal(node: Node) -> None:
    image = f"{held_transfer.HOST}/large/image:1"
    with in_state(node, State("no file")), held_transfer.held_transfer(node) as held:
        run_agent(node, HOST, held_transfer.HOST)
        pushed = image.replace(held_transfer.HOST, HOST)
        held_transfer.make_image(node, pushed)
        node.run("docker", "push", "--quiet", pushed)
        node.run("docker", "rmi", pushed)
        pull = node.start("pull", "docker", "pull", image)
        held.wait_until_held()
        run_agent(node)
        assert secure(node, held_transfer.HOST)
        assert pull.running()
        held.go_on()
        wait_for(lambda: not pull.running(), 60, pull.log.read_text)
        assert pull.returncode == 0, pull.log.read_text()
        node.run("docker", "rmi", image)


def test_the_agents_whole_way(node: Node) -> None:
    """The matrix is run with Debian's; this shows that today's answers to the same questions alike."""
    state = State("mirrors", MIRRORS)
    with in_state(node, state) as daemon:
        outcome = run_agent(node, HOST, SECOND_HOST)
        assert [host.state for host in outcome.runtime().hosts] == [HostState.TRUSTED] * 2
        assert outcome.runtime().version.startswith("20.10" if is_debians(node) else "29.")
        assert NextStart(node).trusts(state) == frozenset({HOST, SECOND_HOST})
        assert [host.state for host in run_agent(node, SECOND_HOST).runtime().hosts] == [HostState.TRUSTED]
        assert secure(node)
        assert run_agent(node).runtime().reverted
        assert node.path(FILE).read_bytes() == MIRRORS
        assert secure(node, SECOND_HOST)
        assert daemon
        assert daemon.running()


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("registry-mirrors", ["https://a.example", "https://b.example"], ["https://b.example", "https://a.example"]),
        ("runtimes", {"own": {"path": "/usr/bin/runc"}}, {"own": {"path": "/usr/sbin/runc"}}),
        ("allow-nondistributable-artifacts", ["a.example:5000"], ["a.example:5000", "10.0.0.0/8"]),
    ],
)
def test_edits_that_a_reload_would_apply_are_seen(node: Node, key: str, before: object, after: object) -> None:
    """Docker 29 passes over allow-nondistributable-artifacts."""
    with in_state(node, State("edited", json.dumps({key: before}).encode())):
        assert not run_agent(node, HOST).reasons()
        run_agent(node)
        edited = json.dumps({key: after}).encode()
        node.path(FILE).write_bytes(edited)
        problems = run_agent(node, HOST).runtime().problems
        if key == "allow-nondistributable-artifacts" and not is_debians(node):
            assert not problems
            run_agent(node)
        else:
            (problem,) = problems
            assert (problem.reason, problem.facts["keys"]) == (Reason.PENDING_EDITS, key)
        assert node.path(FILE).read_bytes() == edited


def test_a_registry_that_is_down_is_unreachable_whatever_its_port(node: Node) -> None:
    """dockerd's words hold the port, which is no 401."""
    host = f"{ADDRESS}:30401"
    with in_state(node, State("no file")):
        report = run_agent(node, host).host(host)
        run_agent(node)
    assert (report.state, report.problem and report.problem.reason) == (HostState.CONFIGURED, Reason.UNREACHABLE)


def test_ipv6(node: Node) -> None:
    """20.10 takes no image name that starts with [."""
    host = f"[{ADDRESS_V6}]:5000"
    if not node.run("curl", "-s", f"http://{host}/v2/", check=False).stdout:
        node.start_registry(host)
    with in_state(node, State("no file")):
        report = run_agent(node, host).host(host)
        found = (report.state, report.problem and report.problem.reason)
        run_agent(node)
    assert found == ((HostState.BLOCKED, Reason.UNSUPPORTED) if is_debians(node) else (HostState.TRUSTED, None))


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf{}"], ids=["empty", "byte order mark"])
def test_a_file_that_only_later_dockerds_take(node: Node, content: bytes) -> None:
    state = State("odd", starts_again=not is_debians(node))
    with in_state(node, state):
        node.path(FILE).write_bytes(content)
        assert (NextStart(node).trusts(state) is not None) == state.starts_again
        outcome = run_agent(node, HOST)
        report = outcome.host(HOST)
        if is_debians(node):
            assert (report.state, report.problem and report.problem.reason) == (HostState.BLOCKED, Reason.FILE_BROKEN)
        else:
            assert report.state is HostState.TRUSTED
        run_agent(node)
        assert node.path(FILE).read_bytes() == content


REFUSING_SERVER = """
import http.server, json

ERRORS = [
    {"code": "DENIED", "message": "requested access to the resource is denied"},
    {"code": "UNAUTHORIZED", "message": "log in first"},
]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = (200, {}) if self.path == "/v2/" else (403, {"errors": ERRORS})
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET


http.server.HTTPServer(("%s", 5403), Handler).serve_forever()
"""


def test_several_errors_of_a_registry_prove_that_it_was_reached(node: Node) -> None:
    host, program = f"{ADDRESS}:5403", node.folder / "refusing.py"
    program.write_text(REFUSING_SERVER % ADDRESS)
    server = node.start("refusing", *node.python, str(program))
    with in_state(node, State("no file")):
        wait_for(
            lambda: node.run("curl", "-s", "-m", "2", f"http://{host}/v2/", check=False).returncode == 0,
            10,
            server.log.read_text,
        )
        report = run_agent(node, host).host(host)
        assert ask(node, host) == "errors:\ndenied\nunauthorized: log in first\n", "usual words are left out"
        assert report.state is HostState.TRUSTED
    server.stop()
