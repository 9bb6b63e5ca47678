"""hosts.toml files for a containerd 2, built from its Go module: its own keys, defaults, and one bug."""

from collections.abc import Iterator

import pytest

from regkeeper.nodes.cri import Cri
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState
from tests.cluster.programs import CONTAINERD
from tests.nodes.agent import run_agent
from tests.nodes.namespaces import ADDRESS
from tests.nodes.node import Node

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("containerd-2")]

HOST = f"{ADDRESS}:5000"
CERTS = "/etc/containerd/certs.d"
DEFAULT = "version = 3\noom_score = 0\n"
TABLE = '[plugins."io.containerd.cri.v1.images".registry]\n'


@pytest.fixture
def node(bare: Node) -> Iterator[Node]:
    yield bare
    bare.stop_all("containerd")
    bare.run("rm", "-rf", "/etc/containerd", "/var/lib/regkeeper", "/run/containerd")
    bare.path("/etc/containerd").mkdir()


def start(node: Node, config: str) -> None:
    node.path("/etc/containerd/config.toml").write_text(config)
    node.start_containerd(program=str(CONTAINERD.program("containerd")))


def names(node: Node) -> list[str]:
    base = node.path("/etc/containerd")
    return sorted(str(path.relative_to(base)) for path in base.rglob("hosts.toml"))


def test_a_config_path(node: Node) -> None:
    start(node, f'{DEFAULT}{TABLE}config_path = "{CERTS}"\n')
    outcome = run_agent(node, HOST)
    assert outcome.runtime("containerd").version.startswith("2.")
    assert outcome.host(HOST, "containerd").state is HostState.TRUSTED
    assert names(node) == [f"certs.d/{HOST}/hosts.toml"]
    run_agent(node)
    assert [path.name for path in node.path("/etc/containerd").iterdir()] == ["config.toml"]


def test_the_default_config_path_is_two_directories_that_pulls_take_for_one(node: Node) -> None:
    """containerd#12636: kubelet's pulls read a directory whose name is the whole list, colon included."""
    start(node, DEFAULT)
    assert run_agent(node, HOST).host(HOST, "containerd").state is HostState.TRUSTED
    assert names(node) == [f"certs.d/{HOST}/hosts.toml", f"certs.d:/etc/docker/certs.d/{HOST}/hosts.toml"]
    cri = Cri(NodeFiles(str(node.root)), "/run/containerd/containerd.sock", name="containerd")
    aside = node.path("/etc/containerd/certs.d:")
    aside.rename(node.path("/etc/containerd/aside"))
    assert "HTTP response to HTTPS client" in cri.ask_registry(HOST), "the first directory alone is passed over"
    node.path("/etc/containerd/aside").rename(aside)
    run_agent(node)
    assert [path.name for path in node.path("/etc/containerd").iterdir()] == ["config.toml"]


def test_an_import_is_merged_deeply(node: Node) -> None:
    node.path("/etc/containerd/conf.d").mkdir()
    node.path("/etc/containerd/conf.d/registry.toml").write_text(f'version = 3\n{TABLE}config_path = "{CERTS}"\n')
    start(node, f'imports = ["/etc/containerd/conf.d/*.toml"]\n{DEFAULT}{TABLE}[{TABLE[1:-2]}.headers]\nx = ["y"]\n')
    assert run_agent(node, HOST).host(HOST, "containerd").state is HostState.TRUSTED
    assert names(node) == [f"certs.d/{HOST}/hosts.toml"]


def test_mirrors_exclude_a_config_path(node: Node) -> None:
    start(node, f'{DEFAULT}[{TABLE[1:-2]}.mirrors."other.example"]\nendpoint = ["https://other.example"]\n')
    report = run_agent(node, HOST).host(HOST, "containerd")
    assert (report.state, report.problem and report.problem.reason) == (HostState.BLOCKED, Reason.MIRRORS_IN_CONFIG)
    assert names(node) == []


@pytest.mark.parametrize("table", ['tls]\nca_file = "x"', 'auth]\nusername = "me"'], ids=["TLS", "credentials"])
def test_configs_exclude_none(node: Node, table: str) -> None:
    start(node, f'{DEFAULT}[{TABLE[1:-2]}.configs."other.example".{table}\n')
    assert run_agent(node, HOST).host(HOST, "containerd").state is HostState.TRUSTED
