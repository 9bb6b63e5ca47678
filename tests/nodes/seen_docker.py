"""What the agent sees of a dockerd that is not there: for tests of what it makes of it."""

import json
from typing import Any

from regkeeper.nodes.docker_observation import BACKUP_SUFFIX, DockerObservation
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.process import Process

PATH = "/etc/docker/daemon.json"
DOCKERD = Process(pid=2, parent=1, name="dockerd", uid=0, arguments=("dockerd",), started=1.0, nested=False)


def info(*hosts: str, labels: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"RegistryConfig": {"IndexConfigs": {host: {"Secure": False} for host in hosts}}, "Labels": list(labels)}


def look_at(
    files: NodeFiles,
    shown: dict[str, Any],
    process: Process = DOCKERD,
    *,
    path: str = PATH,
    may_be_absent: bool = False,
) -> DockerObservation:
    """A dockerd that runs with the file as it is, and shows this."""
    content = files.read(path)
    assert content or may_be_absent
    return DockerObservation(
        path=path,
        must_exist=False,
        content=content,
        settings=json.loads(content.data) if content else {},
        backup=files.read(path + BACKUP_SUFFIX),
        file_problem=None,
        process=process,
        age=60.0,
        process_problem=None,
        info=shown,
        flag=None,
        flag_where="",
        notices=(),
        unnameable=frozenset(),
    )
