"""What the agent's care rests on: how containerd 1.6, 1.7 and 2.x read hosts.toml, by their own word."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from regkeeper.nodes.cri import Cri
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState
from tests.cluster.programs import CONTAINERD, CONTAINERD_1_7
from tests.nodes.agent import run_agent
from tests.nodes.namespaces import ADDRESS, ADDRESS_V6, Daemon
from tests.nodes.node import DEBIAN_CONTAINERD, Node

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("containerd-2")]

HOST = f"{ADDRESS}:5000"
OTHER_HOST = "master.example:5000"
CERTS = "/etc/containerd/certs.d"
HTTPS_TRIED = "server gave HTTP response to HTTPS client"
WORKS = f'server = "http://{HOST}"\n[host."http://{HOST}"]\n'


@dataclass(frozen=True)
class Version:
    """A containerd and how its configuration is written."""

    number: str
    schema: int
    images: str
    """Plugin whose table `registry` has config_path."""

    @property
    def program(self) -> str:
        if self.number == "1.6":
            return DEBIAN_CONTAINERD
        return str((CONTAINERD_1_7 if self.number == "1.7" else CONTAINERD).program("containerd"))

    def config(self, registry: str = f'config_path = "{CERTS}"\n') -> str:
        return f'version = {self.schema}\noom_score = 0\n[plugins."{self.images}".registry]\n{registry}'


VERSIONS = (
    Version("1.6", 2, "io.containerd.grpc.v1.cri"),
    Version("1.7", 2, "io.containerd.grpc.v1.cri"),
    Version("2", 3, "io.containerd.cri.v1.images"),
)


@pytest.fixture(scope="module")
def bare(bare: Node) -> Node:
    """With two more registries."""
    bare.start_registry("127.0.0.1:5001")
    bare.start_registry(f"[{ADDRESS_V6}]:5000")
    return bare


@pytest.fixture(params=VERSIONS, ids=lambda version: version.number)
def version(request: pytest.FixtureRequest) -> Version:
    found: Version = request.param
    return found


@pytest.fixture
def node(bare: Node) -> Iterator[Node]:
    yield bare
    bare.stop_all("containerd")
    bare.run("rm", "-rf", "/etc/containerd", "/var/lib/regkeeper", "/run/containerd", "/var/lib/containerd")
    bare.path("/etc/containerd").mkdir()


def start(node: Node, version: Version, config: str | None = None) -> Daemon:
    node.path("/etc/containerd/config.toml").write_text(version.config() if config is None else config)
    return node.start_containerd(program=version.program)


def write(node: Node, path: str, text: str) -> None:
    node.path(path).parent.mkdir(parents=True, exist_ok=True)
    node.path(path).write_text(text)


def cri(node: Node) -> Cri:
    return Cri(NodeFiles(str(node.root)), "/run/containerd/containerd.sock", name="containerd")


def trusted(node: Node, host: str = HOST) -> bool:
    """By kubelet's way, a pull through the CRI, of an image that does not exist."""
    answer = cri(node).ask_registry(host)
    assert ("not found" in answer) != (HTTPS_TRIED in answer), answer
    return "not found" in answer


def test_the_agents_whole_way(node: Node, version: Version) -> None:
    containerd = start(node, version)
    assert not trusted(node)
    outcome = run_agent(node, HOST, OTHER_HOST)
    assert outcome.runtime("containerd").version.startswith(version.number)
    assert [host.state for host in outcome.runtime("containerd").hosts] == [HostState.TRUSTED] * 2
    run_agent(node)
    assert not trusted(node)
    assert containerd.running()
    assert [path.name for path in node.path("/etc/containerd").iterdir()] == ["config.toml"]


def test_a_registry_that_is_down_is_unreachable_whatever_its_port(node: Node, version: Version) -> None:
    """containerd's words hold the port, which is no 401."""
    host = f"{ADDRESS}:30401"
    start(node, version)
    report = run_agent(node, host).host(host, "containerd")
    run_agent(node)
    assert (report.state, report.problem and report.problem.reason) == (HostState.CONFIGURED, Reason.UNREACHABLE)


def test_a_hangup_ends_containerd(node: Node, version: Version) -> None:
    containerd = start(node, version)
    containerd.stop(signal.SIGHUP)
    assert not containerd.running()


@pytest.mark.parametrize(
    ("text", "works"),
    [(WORKS, True), (f'server = "http://{HOST}"\n', None), ("[host\n", False)],
    ids=["host table", "server alone", "malformed"],
)
def test_a_file_is_read_live_and_speaks_for_its_host_alone(
    node: Node, version: Version, text: str, works: bool | None
) -> None:
    """1.6 falls back to HTTPS where a file has `server` alone, as where it can't read it. So did 1.7.24."""
    start(node, version)
    write(node, f"{CERTS}/{OTHER_HOST}/hosts.toml", WORKS.replace(HOST, OTHER_HOST))
    write(node, f"{CERTS}/{HOST}/hosts.toml", text)
    assert trusted(node) == (version.number != "1.6" if works is None else works)
    assert trusted(node, OTHER_HOST)
    node.path(f"{CERTS}/{HOST}/hosts.toml").unlink()
    assert not trusted(node)


def test_a_certificate_that_is_missing_is_an_error(node: Node, version: Version) -> None:
    start(node, version)
    write(node, f"{CERTS}/{HOST}/hosts.toml", f'{WORKS}ca = "/etc/containerd/absent.crt"\n')
    assert "absent.crt" in cri(node).ask_registry(HOST)


@pytest.mark.parametrize("directory", [f"{ADDRESS}:5000", f"{ADDRESS}_5000_", "_default"])
def test_names_of_directories(node: Node, version: Version, directory: str) -> None:
    start(node, version)
    write(node, f"{CERTS}/{directory}/hosts.toml", WORKS)
    assert trusted(node)


def test_without_a_config_path_files_are_passed_over(node: Node, version: Version) -> None:
    """Which is 1.x's default."""
    if version.schema == 3:
        start(node, version, version.config('config_path = "/etc/elsewhere"\n'))
    else:
        start(node, version, version.config(""))
    write(node, f"{CERTS}/{HOST}/hosts.toml", WORKS)
    assert not trusted(node)


@pytest.mark.parametrize(
    ("table", "excluded_by"),
    [
        (f'mirrors."{HOST}"]\nendpoint = ["http://{HOST}"]', {"1.6", "1.7", "2"}),
        (f'configs."{HOST}".tls]\ninsecure_skip_verify = true', {"1.6", "1.7"}),
        (f'configs."{HOST}".auth]\nusername = "me"\npassword = "x"', set()),
    ],
    ids=["mirrors", "TLS", "credentials"],
)
def test_what_beside_a_config_path_leaves_kubelet_without_a_runtime(
    node: Node, version: Version, table: str, excluded_by: set[str]
) -> None:
    """The agent then takes the containerd for none of kubelet's, and changes nothing."""
    start(node, version, f'{version.config()}[plugins."{version.images}".registry.{table}\n')
    is_excluded = version.number in excluded_by
    assert (cri(node).version() is None) == is_excluded
    outcome = run_agent(node, HOST)
    if is_excluded:
        assert (outcome.report.runtimes, outcome.operations) == ((), [])
    else:
        assert outcome.host(HOST, "containerd").state is HostState.TRUSTED
        run_agent(node)


def test_ipv6(node: Node, version: Version) -> None:
    """1.6 takes no image name that starts with [; 1.7 no file with such a host in the header of a table."""
    host = f"[{ADDRESS_V6}]:5000"
    start(node, version)
    report = run_agent(node, host).host(host, "containerd")
    found = (report.state, report.problem and report.problem.reason)
    run_agent(node)
    assert found == ((HostState.BLOCKED, Reason.UNSUPPORTED) if version.number == "1.6" else (HostState.TRUSTED, None))


def test_localhost_is_pulled_over_plain_http(node: Node, version: Version) -> None:
    start(node, version)
    assert trusted(node, "127.0.0.1:5001")
    assert trusted(node, "localhost:5001")


def test_how_an_import_is_merged(node: Node, version: Version) -> None:
    """1.x lets it replace whole plugins: one that sets config_path alone loses other settings of the plugin."""
    table = f'version = {version.schema}\n[plugins."{version.images}"]\nmax_concurrent_downloads = 7\n'
    write(node, "/etc/containerd/conf.d/registry.toml", version.config())
    write(node, "/etc/containerd/config.toml", f'imports = ["/etc/containerd/conf.d/*.toml"]\n{table}')
    command = (version.program, "--config", "/etc/containerd/config.toml", "config", "dump")
    dump = node.run(*command).stdout
    assert CERTS in dump
    assert ("max_concurrent_downloads = 7" in dump) == (version.schema == 3)
