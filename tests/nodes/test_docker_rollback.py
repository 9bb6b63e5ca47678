"""What is left of a change that dockerd did not take, and when it is tried again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regkeeper.nodes import docker
from regkeeper.nodes.damping import FIRST_PAUSE_SECONDS
from regkeeper.nodes.docker import Docker, DockerLook
from regkeeper.nodes.docker_observation import BACKUP_SUFFIX
from regkeeper.nodes.docker_plan import make_plan
from regkeeper.nodes.dockerd_api import Dockerd
from regkeeper.nodes.files import NodeFiles, digest
from regkeeper.nodes.process import Process
from regkeeper.nodes.reasons import FileChangedError, NodeProblemError, Reason
from regkeeper.nodes.record import DockerRecord, Ledger
from tests.nodes.seen_docker import DOCKERD, PATH, info, look_at


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeFiles:
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "var/lib").mkdir(parents=True)
    monkeypatch.setattr("regkeeper.nodes.docker.hang_up", lambda _process, _proc: None)
    return NodeFiles(str(tmp_path))


def write(files: NodeFiles, settings: dict[str, Any]) -> None:
    Path(files.root + PATH).write_text(json.dumps(settings))


@pytest.mark.parametrize("first", [(), ("one:5000",)], ids=["the first host", "a second host"])
def test_a_host_that_dockerd_took_and_was_taken_back_is_revoked(
    files: NodeFiles, monkeypatch: pytest.MonkeyPatch, first: tuple[str, ...]
) -> None:
    """Or dockerd would trust it until its restart."""
    settings = {"insecure-registries": list(first)}
    write(files, settings)
    seen = look_at(files, info(*first, labels=("kept=yes",)))
    ledger = Ledger(files)
    if first and seen.content:
        ledger.write(docker=DockerRecord(path=PATH, entries=first, written=digest(seen.content.data)))
    plan = make_plan(seen, (*first, "two:5000"), ledger.record.docker, allow_pending_edits=True, settle_seconds=1)
    monkeypatch.setattr(Dockerd, "info", lambda _dockerd: info(*first, "two:5000"))
    with pytest.raises(NodeProblemError) as caught:
        Docker(files).act(DockerLook(present=True, seen=seen, plan=plan), ledger)
    assert caught.value.problem.reason is Reason.SETTING_LOST
    assert json.loads(Path(files.root + PATH).read_text()) == settings
    record = ledger.record.docker
    assert record
    assert (record.entries, record.revoking) == (first, ("two:5000",))


def test_what_a_revert_needs_stays_until_dockerd_has_followed(
    files: NodeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nodes.md: "Backup and record go with the last revert, once the runtime is verified"."""
    write(files, {"labels": []})
    path, backup = Path(files.root + PATH), Path(files.root + PATH + BACKUP_SUFFIX)
    before, now = path.read_bytes(), 0.0
    seen, shows = info(), info("one:5000")
    monkeypatch.setattr(docker, "_RELOAD_SECONDS", 0)
    monkeypatch.setattr(docker, "observe", lambda *_, **__: look_at(files, seen))
    monkeypatch.setattr(Dockerd, "info", lambda _dockerd: shows)
    ledger = Ledger(files)
    agent = Docker(files, clock=lambda: now)

    def run(*hosts: str) -> None:
        agent.act(agent.look(hosts, ledger, allow_pending_edits=False), ledger)

    run("one:5000")
    ours, seen = path.read_bytes(), shows
    with pytest.raises(NodeProblemError, match="did not take"):
        run()
    assert not agent.reverted(ledger)
    assert (path.read_bytes(), backup.read_bytes()) == (ours, before)
    now, shows = FIRST_PAUSE_SECONDS, info()
    run()
    assert agent.reverted(ledger)
    assert path.read_bytes() == before
    assert not backup.exists()


def test_an_entry_that_somebody_else_makes_at_the_same_moment_is_theirs(
    files: NodeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a revert would take it away from them."""
    write(files, {})
    theirs = {"insecure-registries": ["one:5000"], "debug": False}

    def come(operation: str, path: str) -> None:
        if (operation, path) == ("rename", PATH):
            write(files, theirs)

    monkeypatch.setattr(docker, "observe", lambda *_, **__: look_at(files, info()))
    ledger = Ledger(files)
    agent = Docker(NodeFiles(files.root, come))
    with pytest.raises(FileChangedError):
        agent.act(agent.look(("one:5000",), ledger, allow_pending_edits=False), ledger)
    assert agent.reverted(ledger)
    assert agent.look(("one:5000",), ledger, allow_pending_edits=False).ours == frozenset()
    assert json.loads(Path(files.root + PATH).read_text()) == theirs
    assert [path.name for path in Path(files.root + PATH).parent.iterdir()] == ["daemon.json"]


def test_a_mode_that_the_file_got_while_dockerd_was_waited_for_stays(
    files: NodeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(files, {})
    path = Path(files.root + PATH)
    path.chmod(0o644)

    def hide(_dockerd: Dockerd) -> dict[str, Any]:
        path.chmod(0o600)
        return info()

    stubborn = Stubborn(files, monkeypatch)
    monkeypatch.setattr(Dockerd, "info", hide)
    assert stubborn.passes() == "Rejected"
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"{}", 0o600)


class Stubborn:
    """A dockerd that takes nothing that it is told, an agent beside it, and a clock that only the test moves."""

    def __init__(self, files: NodeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
        self._files = files
        self.now = 0.0
        self.process = DOCKERD
        self.shows = info()
        self.ledger = Ledger(files)
        self.docker = Docker(files, clock=lambda: self.now)
        monkeypatch.setattr(docker, "_RELOAD_SECONDS", 0)
        monkeypatch.setattr(docker, "observe", lambda *_, **__: look_at(files, info(), self.process))
        monkeypatch.setattr(Dockerd, "info", lambda _dockerd: self.shows)

    def passes(self) -> str | None:
        """A pass: the reason for which the change was not made or taken back; None where it was made."""
        look = self.docker.look(("one:5000",), self.ledger, allow_pending_edits=False)
        if look.refused:
            return f"held back: {look.refused['one:5000'].reason}"
        try:
            self.docker.act(look, self.ledger)
        except NodeProblemError as error:
            return str(error.problem.reason)
        return None


def test_what_was_rejected_is_tried_again_ever_more_seldom(files: NodeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """dockerd may have been too busy to answer, or the cause lay where the agent does not look and was mended there."""
    write(files, {})
    stubborn = Stubborn(files, monkeypatch)
    for pause, stubborn.shows in ((FIRST_PAUSE_SECONDS, {}), (2 * FIRST_PAUSE_SECONDS, info())):
        assert stubborn.passes() == "Rejected"
        assert json.loads(Path(files.root + PATH).read_text()) == {}
        stubborn.now += pause - 1
        assert stubborn.passes() == "held back: Rejected"
        stubborn.now += 1
    stubborn.shows = info("one:5000")
    assert stubborn.passes() is None
    assert "one:5000" in Path(files.root + PATH).read_text()


def test_what_was_rejected_is_tried_at_once_where_the_file_or_dockerd_is_another(
    files: NodeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(files, {})
    stubborn = Stubborn(files, monkeypatch)
    assert stubborn.passes() == "Rejected"
    write(files, {"debug": False})
    assert stubborn.passes() == "Rejected"
    stubborn.process = Process(
        pid=3, parent=1, name="dockerd", uid=0, arguments=("dockerd",), started=2.0, nested=False
    )
    assert stubborn.passes() == "Rejected"
    assert stubborn.passes() == "held back: Rejected"


def test_a_change_that_lost_a_setting_is_not_tried_again_by_itself(
    files: NodeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting is gone by then, so the next try would find nothing to lose."""
    write(files, {})
    stubborn = Stubborn(files, monkeypatch)
    stubborn.shows = info("one:5000", labels=("other=yes",))
    assert stubborn.passes() == "SettingLost"
    stubborn.now += 100 * FIRST_PAUSE_SECONDS
    stubborn.shows = info("one:5000")
    assert stubborn.passes() == "held back: SettingLost"


@pytest.mark.parametrize("lost", [(), ("other=yes",)], ids=["Rejected", "SettingLost"])
def test_what_was_rejected_holds_back_no_removal_that_a_flag_makes_urgent(
    files: NodeFiles, monkeypatch: pytest.MonkeyPatch, lost: tuple[str, ...]
) -> None:
    """dockerd's next start fails where both name hosts, and taking ours out needs no reload."""
    write(files, {"insecure-registries": ["one:5000"]})
    seen = look_at(files, info("one:5000"))
    assert seen.content
    ledger = Ledger(files)
    ledger.write(docker=DockerRecord(path=PATH, entries=("one:5000",), original="", written=seen.content.digest))
    monkeypatch.setattr(docker, "_RELOAD_SECONDS", 0)
    monkeypatch.setattr(docker, "observe", lambda *_, **__: seen)
    shows = info("one:5000", "two:5000", labels=lost) if lost else info("one:5000")
    monkeypatch.setattr(Dockerd, "info", lambda _dockerd: shows)
    hosts = ("one:5000", "two:5000")
    agent = Docker(files, clock=lambda: 0.0)
    with pytest.raises(NodeProblemError) as caught:
        agent.act(agent.look(hosts, ledger, allow_pending_edits=False), ledger)
    held_back = agent.look(hosts, ledger, allow_pending_edits=False)
    assert (held_back.problems, held_back.changes) == ((caught.value.problem,), ())
    flagged = replace(seen, flag=("other:5000",), flag_where="docker.service")
    monkeypatch.setattr(docker, "observe", lambda *_, **__: flagged)
    look = agent.look(hosts, ledger, allow_pending_edits=False)
    assert [problem.reason for problem in look.problems] == [Reason.FLAG_CONFLICT]
    agent.act(look, ledger)
    assert not Path(files.root + PATH).exists()
    assert agent.reverted(ledger)
