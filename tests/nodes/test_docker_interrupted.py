"""The agent is killed in the middle of a change, and daemon.json is edited before the next one comes.

dockerd is played: what matters of it is what it trusts, as the file said at its start or its last reload.
"""

import json
import os
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from regkeeper.nodes.daemon_json import KEY
from regkeeper.nodes.docker import Docker
from regkeeper.nodes.docker_observation import DockerObservation
from regkeeper.nodes.dockerd_api import Dockerd
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import Problem, Reason
from regkeeper.nodes.record import Ledger
from tests.nodes.seen_docker import PATH, info, look_at

ONE, TWO = "one:5000", "two:5000"


class Node:
    """A node with a dockerd that is played."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.file = root / PATH[1:]
        self.is_stopped = False
        self._memory = root / "memory"
        for folder in ("etc/docker", "var/lib"):
            (root / folder).mkdir(parents=True)
        self.start()
        monkeypatch.setattr("regkeeper.nodes.docker.observe", lambda files, _hosts, **_: self.seen(files))
        monkeypatch.setattr("regkeeper.nodes.docker.hang_up", lambda _process, _proc: self.reload())
        monkeypatch.setattr(Dockerd, "info", lambda _dockerd: info(*self.trusted()))

    def settings(self) -> Any:
        return json.loads(self.file.read_text()) if self.file.exists() else {}

    def edit(self, **settings: Any) -> None:
        self.file.write_text(json.dumps({**self.settings(), **settings}))

    def trusted(self) -> list[str]:
        return list(json.loads(self._memory.read_text()))

    def start(self) -> None:
        self._memory.write_text(json.dumps(self.settings().get(KEY) or []))

    def reload(self) -> None:
        """dockerd forgets a host only if the key is there."""
        if KEY in self.settings():
            self.start()

    def seen(self, files: NodeFiles) -> DockerObservation:
        seen = look_at(files, info(*self.trusted()), may_be_absent=True)
        if self.is_stopped:
            stopped = Problem(Reason.NOT_RUNNING, {"runtime": "dockerd"})
            seen = replace(seen, process=None, info=None, process_problem=stopped)
        return seen

    def run(self, *hosts: str, kill_before: tuple[str, str] | int | None = None) -> bool:
        """Let the agent make a pass in a process of its own; whether it was killed, ahead of this operation."""
        pid = os.fork()
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        try:
            self._pass(hosts, kill_before)
        except BaseException:  # the test's own process goes on
            os._exit(1)
        os._exit(0)

    def _pass(self, hosts: tuple[str, ...], kill_before: tuple[str, str] | int | None) -> None:
        numbers = count()

        def before(operation: str, path: str) -> None:
            if kill_before in ((operation, path), next(numbers)):
                os._exit(9)

        files = NodeFiles(str(self.root), before)
        ledger, agent = Ledger(files), Docker(files)
        ledger.write(cluster="here", generation=1)  # as each pass begins
        for _ in range(3):
            look = agent.look(hosts, ledger, allow_pending_edits=True)
            if look.acts:
                agent.act(look, ledger)

    def left(self) -> list[str]:
        """Files of ours."""
        return [path.name for path in self.root.rglob("*regkeeper*")]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def test_what_was_about_to_go_is_still_ours_where_the_file_was_edited_since(node: Node) -> None:
    node.run(ONE, TWO)
    assert node.run(ONE, kill_before=("rename", PATH))
    node.edit(debug=True)
    node.run(ONE)
    assert node.settings() == {KEY: [ONE], "debug": True}
    assert node.trusted() == [ONE]
    node.run()
    assert (node.settings(), node.left()) == ({"debug": True}, [])


def test_edits_outlive_an_agent_that_is_killed_as_it_takes_the_last_of_ours_out(node: Node) -> None:
    """As where dockerd is stopped, or a flag came that drives our entry out: then there is no step in between."""
    node.edit()
    node.run(ONE)
    node.edit(debug=True)
    node.is_stopped = True
    assert node.run(kill_before=("sync", PATH))
    node.run()
    assert (node.settings(), node.left()) == ({"debug": True}, [])


def test_what_dockerd_took_of_a_change_is_revoked_though_the_file_was_put_back_since(node: Node) -> None:
    node.edit(debug=True)
    before = node.file.read_bytes()
    assert node.run(ONE, kill_before=("sync", PATH))
    node.start()
    assert node.trusted() == [ONE]
    node.file.write_bytes(before)
    node.run()
    assert (node.trusted(), node.left()) == ([], [])
    assert node.file.read_bytes() == before


def test_a_second_kill_leaves_nothing_of_what_the_first_one_left_half_written(node: Node) -> None:
    for second in count():
        assert node.run(ONE, kill_before=("write", PATH))
        was_killed = node.run(kill_before=second)
        node.run()
        assert (node.settings(), node.left()) == ({}, []), second
        if not was_killed:
            break
