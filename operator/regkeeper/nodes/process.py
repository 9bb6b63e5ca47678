"""Proving which process serves a socket, before anybody signals it.

`SO_PEERCRED` names whoever called listen() (systemd under docker.socket), the credentials that come with a reply name
who wrote it. Without hostPID both are 0, and `kill(0, SIGHUP)` would end the agent itself (facts of node trust).
"""

import array
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import NodeProblemError, Reason

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7))
_TICKS = os.sysconf("SC_CLK_TCK")
_LARGEST_COMMAND_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it."""

    pid: int
    parent: int
    name: str
    uid: int
    arguments: tuple[str, ...]
    started: float
    """Seconds since the machine started, which tells two processes of one pid apart."""
    nested: bool
    """It lives in a PID namespace below ours: in a container."""

    def age(self) -> float:
        """Seconds since it was started."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.started


def read_process(pid: int, proc: str = "/proc") -> Process | None:
    """The process, or None if it has gone."""
    try:
        name = _read(f"{proc}/{pid}/comm").strip()
        status = dict(line.split(":", 1) for line in _read(f"{proc}/{pid}/status").splitlines() if ":" in line)
        # proc(5): the second field is the name in brackets, which may hold anything; field 22 is the start time.
        fields = _read(f"{proc}/{pid}/stat").rpartition(")")[2].split()
        arguments = tuple(_read(f"{proc}/{pid}/cmdline").rstrip("\0").split("\0"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(
        pid=pid,
        parent=int(fields[1]),
        name=name,
        uid=int(status["Uid"].split()[1]),
        arguments=arguments,
        started=int(fields[19]) / _TICKS,
        nested=len(status.get("NSpid", "").split()) > 1,
    )


def processes_named(name: str, proc: str = "/proc") -> list[Process]:
    """Every process of this name outside of containers, by pid.

    A child that another of them has just forked bears its name until it becomes the program that it was made for.
    """
    found = []
    for entry in sorted((entry for entry in os.listdir(proc) if entry.isdigit()), key=int):
        try:
            if _read(f"{proc}/{entry}/comm").strip() != name:
                continue
        except (FileNotFoundError, ProcessLookupError):
            continue
        process = read_process(int(entry), proc)
        if process and not process.nested:
            found.append(process)
    pids = {process.pid for process in found}
    return [process for process in found if process.parent not in pids]


@contextmanager
def connected(files: NodeFiles, path: str, timeout: float) -> Iterator[socket.socket]:
    """A connection to a unix socket of the node.

    Raises:
        NodeProblemError: the path leads through a symlink.
        OSError: nobody listens.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connect(files, connection, path)
        yield connection


def connect(files: NodeFiles, connection: socket.socket, path: str) -> None:
    """Connect to the socket at `path`, reached through directory descriptors alone."""
    try:
        with files.open_parent(path) as directory:
            connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    except NodeProblemError as error:
        if error.problem.reason is Reason.FILE_SYMLINK:
            raise
        raise ConnectionRefusedError(error.problem.words()) from error


def prove(files: NodeFiles, path: str, *, name: str, request: bytes, proc: str = "/proc") -> Process:
    """The process called `name` that answers at a socket.

    Args:
        files: the node's tree.
        path: of the socket.
        name: what /proc/<pid>/comm has to say.
        request: bytes that make it write something.
        proc: where proc is mounted.

    Raises:
        NodeProblemError: `NOT_RUNNING` if nobody answers, `NOT_PROVED` if it is not provably that process.
    """
    try:
        with connected(files, path, timeout=5) as connection:
            listener, _, _ = _CREDENTIALS.unpack(
                connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            connection.sendall(request)
            _, control, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
    except OSError as error:
        raise NodeProblemError(Reason.NOT_RUNNING, runtime=name) from error
    writers = [
        _CREDENTIALS.unpack(array.array("B", data).tobytes()[: _CREDENTIALS.size])[0]
        for level, kind, data in control
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    ]
    for pid in (*writers, listener):
        process = read_process(pid, proc) if pid > 1 else None
        if process and process.name == name:
            return process
    raise NodeProblemError(
        Reason.NOT_PROVED, runtime=name, path=path, detail=f"pids {sorted({*writers, listener})}; is hostPID set?"
    )


def hang_up(process: Process, proc: str = "/proc") -> None:
    """Send SIGHUP to exactly this process.

    Raises:
        NodeProblemError: `NOT_RUNNING`, it has ended meanwhile; `NOT_PROVED`, the signal is forbidden.
    """
    if process.pid <= 1:
        raise ValueError("pid 0 is our own process group, pid 1 is init")
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError as error:
        raise NodeProblemError(Reason.NOT_RUNNING, runtime=process.name) from error
    try:
        if read_process(process.pid, proc) != process:
            raise NodeProblemError(Reason.NOT_RUNNING, runtime=process.name)
        signal.pidfd_send_signal(descriptor, signal.SIGHUP)
    except PermissionError as error:
        raise NodeProblemError(
            Reason.NOT_PROVED, runtime=process.name, path=proc, detail="the signal is forbidden; AppArmor?"
        ) from error
    except ProcessLookupError as error:
        raise NodeProblemError(Reason.NOT_RUNNING, runtime=process.name) from error
    finally:
        os.close(descriptor)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(_LARGEST_COMMAND_LINE)
