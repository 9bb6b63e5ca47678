"""The agent as the process that its pod runs, in a node, with the list and the key that would be mounted there."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from regkeeper.nodes import report
from regkeeper.nodes.report import HostState, Report, ReportRefusedError
from tests.nodes.namespaces import Daemon
from tests.nodes.node import Node
from tests.waiting import wait_for

PORT = 8082
KEY = secrets.token_bytes(32)


@dataclass
class RunningAgent:
    """One agent with its mounted list and key."""

    node: Node
    folder: Path
    daemon: Daemon
    port: int = PORT

    def deliver(self, document: bytes) -> None:
        """Replace the list as kubelet does: a new directory, and a symlink that is renamed over the old one."""
        number = len(list(self.folder.glob("..2*")))
        target = self.folder / f"..2{number}"
        target.mkdir()
        (target / "list.json").write_bytes(document)
        (self.folder / "..data_tmp").symlink_to(target.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")

    def ask(self, generation: int, *, nonce: str | None = None, key: bytes = KEY) -> Report:
        nonce = nonce or secrets.token_hex(16)
        headers = report.question_headers(key, nonce=nonce, pod_uid="uid")
        status, found, body = self.get("/report", headers)
        if status != 200:
            raise ReportRefusedError(f"{status} {body!r}")
        return report.decode_answer(KEY, body, found, nonce=nonce, node="node", pod_uid="uid", generation=generation)

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        options = [word for name, value in (headers or {}).items() for word in ("-H", f"{name}: {value}")]
        done = self.node.run(
            "curl", "-s", "-i", "-m", "5", *options, f"http://127.0.0.1:{self.port}{path}", check=False
        )
        head, _, body = done.stdout.partition("\n\n")
        if not head:
            return 0, {}, b""
        lines = head.splitlines()
        return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body.encode()

    def wait_for_report(self, generation: int, state: HostState) -> Report:
        """Wait until every host is in this state."""

        def arrived() -> Report | None:
            try:
                found = self.ask(generation)
            except ReportRefusedError:
                return None
            states = {host.state for runtime in found.runtimes for host in runtime.hosts}
            return found if states == {state} else None

        found = wait_for(arrived, 15, self.daemon.log.read_text)
        assert found
        return found


UNPRIVILEGED = ("setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--")
"""Uid 0 without any capability, as in the agent's pod."""


def mounted(folder: Path) -> Path:
    """The directory of the list as kubelet mounts it, empty so far, with the key beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "key").write_bytes(KEY)
    (folder / "list").mkdir()
    (folder / "list" / "list.json").symlink_to("..data/list.json")
    return folder / "list"


def start_agent(node: Node, folder: Path, *, port: int = PORT) -> RunningAgent:
    arguments = ("--root=/", f"--list={folder}/list.json", f"--key={folder.parent}/key", f"--port={port}")
    daemon = node.start(
        "agent",
        *UNPRIVILEGED,
        *(*node.python, "-m", "regkeeper.nodes", *arguments),
        env={"REGKEEPER_NODE": "node", "REGKEEPER_POD_UID": "uid"},
    )
    running = RunningAgent(node, folder, daemon, port)
    wait_for(lambda: running.get("/healthz")[0] == 200, 15, daemon.log.read_text)
    return running
