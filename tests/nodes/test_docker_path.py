"""Which file is changed where dockerd is stopped, and so does not say which it reads, or where it reads another now.

Ours is taken out of the file that has it, and of no other.
"""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from regkeeper.nodes.docker import Docker, DockerLook
from regkeeper.nodes.docker_observation import BACKUP_SUFFIX
from regkeeper.nodes.dockerd_api import Dockerd
from regkeeper.nodes.files import NodeFiles, digest
from regkeeper.nodes.reasons import FileChangedError, Reason
from regkeeper.nodes.record import DockerRecord, Intent, Ledger
from tests.nodes.seen_docker import info, look_at

DEFAULT = "/etc/docker/daemon.json"
ELSEWHERE = "/srv/docker/daemon.json"
OURS = b'{"debug": true, "insecure-registries": ["one:5000"]}'


@pytest.fixture
def files(tmp_path: Path) -> NodeFiles:
    for path, content in ((DEFAULT, b'{"labels": []}'), (ELSEWHERE, OURS), ("/var/lib/x", b""), ("/proc/x", b"")):
        target = tmp_path / path[1:]
        target.parent.mkdir(parents=True)
        target.write_bytes(content)
    return NodeFiles(str(tmp_path))


@pytest.fixture
def ledger(files: NodeFiles) -> Ledger:
    ledger = Ledger(files)
    ledger.write(docker=DockerRecord(path=ELSEWHERE, entries=("one:5000",), written=digest(OURS)))
    return ledger


@pytest.mark.parametrize("unit", ["", "[Service]\nExecStart=/usr/bin/dockerd\n"], ids=["no unit", "the usual unit"])
def test_it_is_stopped_and_nothing_changes(files: NodeFiles, ledger: Ledger, unit: str) -> None:
    folder = Path(files.root, "etc/systemd/system")
    folder.mkdir(parents=True)
    (folder / "docker.service").write_text(unit)
    look = Docker(files, proc=f"{files.root}/proc").look(("one:5000",), ledger, allow_pending_edits=False)
    assert [problem.reason for problem in look.problems] == [Reason.NOT_RUNNING]
    assert (look.changes, look.acts) == ((), False)


def test_ours_is_taken_out_of_the_file_that_has_it(files: NodeFiles, ledger: Ledger) -> None:
    docker = Docker(files, proc=f"{files.root}/proc")
    docker.act(docker.look((), ledger, allow_pending_edits=False), ledger)
    assert docker.reverted(ledger)
    assert json.loads(Path(files.root + ELSEWHERE).read_text()) == {"debug": True}
    assert Path(files.root + DEFAULT).read_bytes() == b'{"labels": []}'


def test_a_unit_tells_where_a_stopped_one_would_read(files: NodeFiles) -> None:
    folder = Path(files.root, "etc/systemd/system")
    folder.mkdir(parents=True)
    (folder / "docker.service").write_text(f"[Service]\nExecStart=/usr/bin/dockerd --config-file {ELSEWHERE}\n")
    docker = Docker(files, proc=f"{files.root}/proc")
    docker.look((), Ledger(files), allow_pending_edits=False)
    assert docker.watched()[0] == ELSEWHERE


class Moved:
    """A dockerd that now reads the default file, while ours is elsewhere."""

    def __init__(
        self, files: NodeFiles, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, *, shows: tuple[str, ...] = ()
    ) -> None:
        self._ledger = ledger
        self._docker = Docker(files)
        monkeypatch.setattr(
            "regkeeper.nodes.docker.observe", lambda *_, **__: look_at(files, info(*shows), path=DEFAULT)
        )

    def look(self, *hosts: str) -> DockerLook:
        return self._docker.look(hosts, self._ledger, allow_pending_edits=False)

    def act(self) -> bool:
        """Whether nothing of ours is left."""
        self._docker.act(self.look(), self._ledger)
        return self._docker.reverted(self._ledger)


@pytest.mark.parametrize("content", [OURS, b"{broken"], ids=["ours", "broken"])
def test_what_is_left_in_a_file_that_dockerd_no_longer_reads_is_reported_and_stays(
    files: NodeFiles, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    Path(files.root + ELSEWHERE).write_bytes(content)
    moved = Moved(files, ledger, monkeypatch)
    (problem,) = moved.look().problems
    assert problem.words().endswith(f"ours are in {ELSEWHERE}: point it back, or take one:5000 out of there")
    assert moved.look("one:5000").suspects == {"one:5000": problem}, "the status has room for reasons of hosts alone"
    assert not moved.act()
    assert Path(files.root + ELSEWHERE).read_bytes() == content


def test_a_change_of_it_that_was_cut_off_counts_as_made_and_as_not_made(
    files: NodeFiles, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ledger.record.docker
    assert record
    ledger.write(docker=replace(record, entries=(), intent=Intent(before=digest(OURS), undo=record)))
    moved = Moved(files, ledger, monkeypatch)
    assert not moved.act()
    Path(files.root + ELSEWHERE).write_bytes(b"{}")
    assert moved.act()


@pytest.mark.parametrize("content", [b'{"debug": true}', None], ids=["taken out", "no file"])
def test_a_file_that_dockerd_no_longer_reads_is_forgotten_once_nothing_of_ours_is_in_it(
    files: NodeFiles, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    Path(files.root + ELSEWHERE).unlink()
    if content is not None:
        Path(files.root + ELSEWHERE).write_bytes(content)
    backup = Path(files.root + ELSEWHERE + BACKUP_SUFFIX)
    backup.write_bytes(b"{}")
    moved = Moved(files, ledger, monkeypatch)
    assert moved.act()
    assert not backup.exists()
    assert moved.look().problems == ()


def test_what_is_written_into_one_that_was_ours_alone_as_it_is_to_go_stays(
    files: NodeFiles, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.write(docker=DockerRecord(path=ELSEWHERE, entries=("one:5000",), original="", written=digest(OURS)))
    file = Path(files.root + ELSEWHERE)

    def write(operation: str, path: str) -> None:
        if (operation, path) == ("remove", ELSEWHERE):
            file.write_bytes(b'{"debug": false}')

    moved = Moved(NodeFiles(files.root, write), ledger, monkeypatch)
    with pytest.raises(FileChangedError):
        moved.act()
    assert moved.act()
    assert file.read_bytes() == b'{"debug": false}'


BEFORE = b'{"debug":true}'


@pytest.mark.parametrize("original", [digest(BEFORE), ""], ids=["a file", "no file"])
@pytest.mark.parametrize("interrupted", [None, "written", "not written"])
def test_a_file_that_was_moved_to_where_dockerd_reads_now_is_still_ours(
    files: NodeFiles, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, original: str, interrupted: str | None
) -> None:
    """And one is left there: dockerd does not start from a --config-file that is absent."""
    record = DockerRecord(path=ELSEWHERE, entries=("one:5000",), original=original, written=digest(OURS))
    if interrupted == "written":
        record = replace(record, intent=Intent(before=digest(BEFORE), undo=None))
    elif interrupted == "not written":
        intent = Intent(before=digest(OURS), undo=record)
        record = replace(record, entries=("one:5000", "two:5000"), written="another", intent=intent)
    ledger.write(docker=record)
    backups = [Path(files.root + path + BACKUP_SUFFIX) for path in (ELSEWHERE, DEFAULT)]
    if original:
        backups[0].write_bytes(BEFORE)
    Path(files.root + ELSEWHERE).rename(files.root + DEFAULT)
    moved = Moved(files, ledger, monkeypatch, shows=("one:5000",))
    assert not moved.act()
    assert [backup.exists() for backup in backups] == [False, bool(original)]
    assert moved.look().changes[-1].after == (BEFORE if original else b'{"debug": true}')
    kept = ledger.record.docker
    assert kept
    assert (kept.path, kept.entries) == (DEFAULT, ("one:5000",))


@pytest.mark.parametrize("before", [BEFORE, None], ids=["a file", "no file"])
def test_a_file_that_was_moved_before_dockerd_read_it_there_is_still_ours(
    files: NodeFiles, monkeypatch: pytest.MonkeyPatch, before: bytes | None
) -> None:
    """An agent that sees it gone makes it anew at once; that one goes as soon as dockerd reads the other."""
    old, new = Path(files.root + DEFAULT), Path(files.root + ELSEWHERE)
    old.write_bytes(before) if before is not None else old.unlink()
    new.unlink()
    place, shows = DEFAULT, info()
    monkeypatch.setattr(
        "regkeeper.nodes.docker.observe", lambda *_, **__: look_at(files, shows, path=place, may_be_absent=True)
    )
    monkeypatch.setattr("regkeeper.nodes.docker.hang_up", lambda _process, _proc: None)
    monkeypatch.setattr(Dockerd, "info", lambda _dockerd: shows)
    ledger = Ledger(files)
    docker = Docker(files)

    def run(*hosts: str) -> None:
        nonlocal shows
        for _ in range(2):
            look = docker.look(hosts, ledger, allow_pending_edits=False)
            assert look.problems == ()
            shows = info(*hosts)
            docker.act(look, ledger)

    run("one:5000")
    old.rename(new)
    run("one:5000")
    assert json.loads(old.read_bytes()) == {"insecure-registries": ["one:5000"]}
    place = ELSEWHERE
    run("one:5000")
    assert not old.exists()
    assert "one:5000" in new.read_text()
    run()
    assert docker.reverted(ledger)
    assert json.loads(new.read_bytes()) == json.loads(before or b"{}")
    assert before is None or new.read_bytes() == before
    assert {path.name for path in (*old.parent.iterdir(), *new.parent.iterdir())} == {new.name}


def test_a_file_like_the_one_of_before_that_was_cut_off_is_not_ours(
    files: NodeFiles, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = DockerRecord(
        path=ELSEWHERE, entries=("one:5000",), written=digest(OURS), intent=Intent(digest(BEFORE), None)
    )
    ledger.write(docker=record)
    Path(files.root + ELSEWHERE).rename(files.root + DEFAULT)
    Path(files.root + DEFAULT).write_bytes(BEFORE)
    assert Moved(files, ledger, monkeypatch).act()
    assert Path(files.root + DEFAULT).read_bytes() == BEFORE


def test_a_file_as_it_was_before_us_has_nothing_of_ours(
    files: NodeFiles, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its administrator put it where dockerd reads now, and took the other away."""
    record = DockerRecord(path=ELSEWHERE, entries=("one:5000",), original=digest(BEFORE), written=digest(OURS))
    ledger.write(docker=record)
    Path(files.root + ELSEWHERE).unlink()
    Path(files.root + ELSEWHERE + BACKUP_SUFFIX).write_bytes(BEFORE)
    Path(files.root + DEFAULT).write_bytes(BEFORE)
    moved = Moved(files, ledger, monkeypatch)
    assert moved.act() or moved.act()
    assert Path(files.root + DEFAULT).read_bytes() == BEFORE
    for path in (ELSEWHERE, DEFAULT):
        assert not Path(files.root + path + BACKUP_SUFFIX).exists()
