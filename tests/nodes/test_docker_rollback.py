"""What dockerd took of a change that is taken back stays in the record, or dockerd would trust it until its restart."""

import json
from pathlib import Path
from typing import Any

import pytest

from regkeeper.nodes.docker import Docker, DockerLook
from regkeeper.nodes.docker_observation import DockerObservation
from regkeeper.nodes.docker_plan import make_plan
from regkeeper.nodes.dockerd_api import Dockerd
from regkeeper.nodes.files import NodeFiles, digest
from regkeeper.nodes.process import Process
from regkeeper.nodes.reasons import NodeProblemError, Reason
from regkeeper.nodes.record import DockerRecord, Ledger

PATH = "/etc/docker/daemon.json"


def info(*hosts: str, labels: tuple[str, ...]) -> dict[str, Any]:
    return {"RegistryConfig": {"IndexConfigs": {host: {"Secure": False} for host in hosts}}, "Labels": list(labels)}


@pytest.mark.parametrize("first", [(), ("one:5000",)], ids=["the first host", "a second host"])
def test_a_host_that_dockerd_took_and_was_taken_back_is_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: tuple[str, ...]
) -> None:
    settings = {"insecure-registries": list(first)}
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_text(json.dumps(settings))
    files = NodeFiles(str(tmp_path))
    content = files.read(PATH)
    assert content
    ledger = Ledger(files)
    if first:
        ledger.write(docker=DockerRecord(path=PATH, entries=first, written=digest(content.data)))
    seen = DockerObservation(
        path=PATH,
        content=content,
        settings=settings,
        backup=None,
        file_problem=None,
        process=Process(pid=2, parent=1, name="dockerd", uid=0, arguments=("dockerd",), started=1.0, nested=False),
        age=60.0,
        process_problem=None,
        info=info(*first, labels=("kept=yes",)),
        flag=None,
        flag_where="",
        notices=(),
        unnameable=frozenset(),
    )
    plan = make_plan(seen, (*first, "two:5000"), ledger.record.docker, allow_pending_edits=True, settle_seconds=1)
    monkeypatch.setattr("regkeeper.nodes.docker.hang_up", lambda _process, _proc: None)
    monkeypatch.setattr(Dockerd, "info", lambda _dockerd: info(*first, "two:5000", labels=()))
    with pytest.raises(NodeProblemError) as caught:
        Docker(files).act(DockerLook(present=True, seen=seen, plan=plan), ledger)
    assert caught.value.problem.reason is Reason.SETTING_LOST
    assert json.loads((tmp_path / "etc/docker/daemon.json").read_text()) == settings
    record = ledger.record.docker
    assert record
    assert (record.entries, record.revoking) == (first, ("two:5000",))
