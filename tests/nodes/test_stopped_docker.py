"""A dockerd that is stopped does not say which file it reads: ours is taken out of the file that has it, no other."""

import json
from pathlib import Path

import pytest

from regkeeper.nodes.docker import Docker
from regkeeper.nodes.files import NodeFiles, digest
from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.record import DockerRecord, Ledger

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
