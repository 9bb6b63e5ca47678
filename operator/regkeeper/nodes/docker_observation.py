"""Looking at dockerd on this node: its file, its flags, its process, what it says of itself. Changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regkeeper.nodes import daemon_json, systemd
from regkeeper.nodes.answers import takes_name
from regkeeper.nodes.command_line import flag_values
from regkeeper.nodes.dockerd_api import PING, Dockerd, DockerError
from regkeeper.nodes.files import Content, NodeFiles
from regkeeper.nodes.hosts import address_of
from regkeeper.nodes.process import Process, processes_named, prove
from regkeeper.nodes.reasons import NodeProblemError, Problem, Reason

SOCKET = "/run/docker.sock"
DEFAULT_PATH = "/etc/docker/daemon.json"
BACKUP_SUFFIX = ".regkeeper-backup"
"""Beside daemon.json, for root alone; dockerd reads no such name."""

FLAG = "--insecure-registry"
CONFIG_FLAG = "--config-file"

_FIRST_TOLERANT_MAJOR = 23
"""moby 23 takes an empty daemon.json and a byte order mark; 20.10 does not start from either (measured)."""


@dataclass(frozen=True, slots=True)
class DockerObservation:
    """What was seen."""

    path: str
    """Of the configuration file."""
    must_exist: bool
    """A command line, running or of the next start, names the file: dockerd does not start if it is absent."""
    content: Content | None
    backup: Content | None
    settings: dict[str, Any] | None
    """Parsed; None where `file_problem` says why."""
    file_problem: Problem | None
    process: Process | None
    """The proved dockerd."""
    age: float
    """Seconds since it was started; 0 where there is none."""
    process_problem: Problem | None
    """Why there is none: `NOT_RUNNING`, or one that forbids every change."""
    info: dict[str, Any] | None
    """None: it does not answer."""
    flag: tuple[str, ...] | None
    """Values of --insecure-registry, running or at the next start; None: the flag is not used."""
    flag_where: str
    notices: tuple[Problem, ...]
    unnameable: frozenset[str]
    """Hosts that this dockerd takes in no image name."""

    @property
    def text(self) -> str:
        return self.content.data.decode() if self.content else ""

    @property
    def version(self) -> str:
        return str((self.info or {}).get("ServerVersion", ""))

    @property
    def insecure(self) -> frozenset[str]:
        """What dockerd trusts now, as it names it: hosts and networks."""
        return insecure_of(self.info or {})


def observe(
    files: NodeFiles, hosts: Sequence[str], *, recorded: str = "", socket: str = SOCKET, proc: str = "/proc"
) -> DockerObservation:
    """Look at everything that a plan needs.

    Args:
        files: the node's tree.
        hosts: that the list names; asked about only where dockerd may not take them.
        recorded: the file that has entries of ours; empty: none has. Where no dockerd tells which it reads, that one
            is looked at: taking ours out of it is right whatever the next one reads.
        socket: of dockerd.
        proc: where proc is mounted.
    """
    processes = processes_named("dockerd", proc)
    process, process_problem = _find(files, socket, proc, processes)
    dockerd = Dockerd(files, socket)
    info = _info(dockerd) if process else None
    planned = systemd.start_arguments(files, "docker.service")
    path = _config_path(process.arguments) if process else recorded or _config_path(planned)
    sharing = [other.arguments for other in processes if _config_path(other.arguments) == path]
    flags = [set(values) for words in (planned, *sharing) if (values := flag_values(words, FLAG))]
    content, backup, settings, file_problem = _file(files, path, info)
    return DockerObservation(
        path=path,
        must_exist=any(path in flag_values(words, CONFIG_FLAG) for words in (planned, *sharing)),
        content=content,
        backup=backup,
        settings=settings,
        file_problem=file_problem,
        process=process,
        age=process.age() if process else 0.0,
        process_problem=process_problem,
        info=info,
        # Only what all have may be counted on: the next start may be the one without the host.
        flag=tuple(sorted(set.intersection(*flags))) if flags else None,
        flag_where="docker.service" if flag_values(planned, FLAG) else "its command line",
        notices=_several(processes, socket) if process else (),
        unnameable=_unnameable(dockerd, hosts) if info else frozenset(),
    )


def insecure_of(info: dict[str, Any]) -> frozenset[str]:
    """Hosts and networks that an answer of /info shows as insecure."""
    registries = info.get("RegistryConfig") or {}
    hosts = {host for host, index in (registries.get("IndexConfigs") or {}).items() if not index.get("Secure")}
    return frozenset(hosts | set(registries.get("InsecureRegistryCIDRs") or ()))


def _find(
    files: NodeFiles, socket: str, proc: str, processes: Sequence[Process]
) -> tuple[Process | None, Problem | None]:
    if not processes:
        # To connect would start a dockerd that somebody stopped: systemd listens for it (docker.socket).
        return None, Problem(Reason.NOT_RUNNING, {"runtime": "dockerd"})
    try:
        process = prove(files, socket, name="dockerd", request=PING, proc=proc)
    except NodeProblemError as error:
        if error.problem.reason is not Reason.NOT_RUNNING:
            return None, error.problem
        if any(other.uid for other in processes):
            return None, Problem(Reason.UNSUPPORTED, {"detail": "rootless Docker keeps its own configuration"})
        return None, Problem(
            Reason.NOT_PROVED, {"runtime": "dockerd", "path": socket, "detail": "it runs but does not answer there"}
        )
    if process.uid:
        return None, Problem(Reason.UNSUPPORTED, {"detail": "rootless Docker keeps its own configuration"})
    if any("/snap/" in word for word in process.arguments):
        return None, Problem(Reason.UNSUPPORTED, {"detail": "Docker from a snap keeps its configuration in the snap"})
    return process, None


def _config_path(arguments: Sequence[str]) -> str:
    return (flag_values(arguments, CONFIG_FLAG) or [DEFAULT_PATH])[-1]


def _several(processes: Sequence[Process], socket: str) -> tuple[Problem, ...]:
    if len(processes) < 2:
        return ()
    pids = ", ".join(str(process.pid) for process in processes[:8])
    return (Problem(Reason.TWO_DAEMONS, {"path": socket, "detail": f"pids {pids}"}),)


def _info(dockerd: Dockerd) -> dict[str, Any] | None:
    try:
        return dockerd.info()
    except DockerError:
        return None


def _file(
    files: NodeFiles, path: str, info: dict[str, Any] | None
) -> tuple[Content | None, Content | None, dict[str, Any] | None, Problem | None]:
    content = None
    try:
        content, backup = files.read(path), files.read(path + BACKUP_SUFFIX)
        settings = daemon_json.parse(content.data.decode()) if content else {}
        if content:
            _refuse_what_dockerd_refuses(content.data, info)
    except NodeProblemError as error:
        return None, None, None, error.problem
    except (daemon_json.BrokenError, UnicodeDecodeError) as error:
        detail = str(error) if isinstance(error, daemon_json.BrokenError) else "not UTF-8"
        return content, None, None, Problem(Reason.FILE_BROKEN, {"path": path, "detail": detail})
    return content, backup, settings, None


def _refuse_what_dockerd_refuses(data: bytes, info: dict[str, Any] | None) -> None:
    major = str((info or {}).get("ServerVersion", "0")).split(".")[0]
    if major.isdigit() and int(major) >= _FIRST_TOLERANT_MAJOR:
        return
    if not data.strip():
        raise daemon_json.BrokenError("it is empty, from which dockerd before 23.0 does not start: write {} into it")
    if data.startswith(b"\xef\xbb\xbf"):
        raise daemon_json.BrokenError("it starts with a byte order mark, which dockerd before 23.0 does not take")


def _unnameable(dockerd: Dockerd, hosts: Sequence[str]) -> frozenset[str]:
    refused = set()
    for host in hosts:
        address = address_of(host)
        if address is None or address.version == 4:
            continue
        try:
            if not takes_name(dockerd.ask_registry(host)):
                refused.add(host)
        except DockerError:
            continue
    return frozenset(refused)
