"""What the node's files hold never gets into a report, however broken they are: they may hold passwords.

Proves of nodes.md: "never file contents (daemon.json may hold proxy passwords)".
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from regkeeper.nodes.containerd_config import read_registry_settings
from regkeeper.nodes.crio_config import MAIN_PATH, read_entries
from regkeeper.nodes.docker import Docker
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import NodeProblemError, Problem
from regkeeper.nodes.record import Ledger
from regkeeper.nodes.report import reported

SECRET = "swordfish"
DAEMON_JSON = json.dumps({"proxies": {"http-proxy": f"http://me:{SECRET}@proxy"}, SECRET: [SECRET], "labels": [SECRET]})
REGISTRY = 'plugins."io.containerd.grpc.v1.cri".registry'
CONFIG_TOML = f'version = 2\n[{REGISTRY}.configs."{SECRET}".auth]\npassword = "{SECRET}"\n'
CONFIG_TOML += f'[{REGISTRY}.configs."{SECRET}".tls]\nca_file = "{SECRET}"\n'
REGISTRIES_CONF = f'unqualified-search-registries = ["{SECRET}"]\n[[registry]]\nlocation = "{SECRET}"\n'

Read = Callable[[NodeFiles], Sequence[Problem]]


def read_docker(files: NodeFiles) -> Sequence[Problem]:
    look = Docker(files, proc=f"{files.root}/proc").look(("one:5000",), Ledger(files), allow_pending_edits=False)
    return [*look.problems, *look.refused.values()]


def read_containerd(files: NodeFiles) -> Sequence[Problem]:
    problem = read_registry_settings(files, "/etc/containerd/config.toml", major=1).problem()
    return [problem] if problem else []


def read_crio(files: NodeFiles) -> Sequence[Problem]:
    read_entries(files, ["one:5000"], without=None)
    return []


@pytest.mark.parametrize(
    ("path", "text", "read"),
    [
        ("/etc/docker/daemon.json", DAEMON_JSON, read_docker),
        ("/etc/containerd/config.toml", CONFIG_TOML, read_containerd),
        (MAIN_PATH, REGISTRIES_CONF, read_crio),
    ],
)
def test_no_file_shows_in_a_report_wherever_it_is_broken(tmp_path: Path, path: str, text: str, read: Read) -> None:
    target = tmp_path / path[1:]
    for folder in (target.parent, tmp_path / "proc", tmp_path / "var/lib"):
        folder.mkdir(parents=True)
    files, seen = NodeFiles(str(tmp_path)), set[str]()
    for position in range(len(text)):
        for broken in (text[:position], f"{text[:position]}\0{text[position:]}", f"{text[:position]}\udcff"):
            target.write_bytes(broken.encode(errors="surrogateescape"))
            try:
                problems = read(files)
            except NodeProblemError as error:
                problems = [error.problem]
            for problem in problems:
                seen.add(problem.reason)
                assert SECRET not in msgspec.json.encode(reported(problem)).decode() + problem.words(), broken
    assert "FileBroken" in seen
