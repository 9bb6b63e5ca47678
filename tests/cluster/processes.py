"""Processes that outlive the command that started them, each recorded with its pid and start time.

A pid alone may be another's by the time it is signalled. So a record names the boot, the pid and the start time, and
signals go through a pidfd that is opened before the start time is compared.
"""

import json
import os
import select
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Process:
    """One started process, dead or alive."""

    boot: str
    pid: int
    start_time: int
    """In clock ticks since boot: field 22 of /proc/PID/stat."""

    def alive(self) -> bool:
        """Whether it runs. A zombie does not: where process 1 reaps slowly, one stays for seconds."""
        stat = _stat(self.pid)
        return stat is not None and stat[0] not in "ZX" and self._is(stat)

    def stop(self, grace: float, first: signal.Signals | None = signal.SIGTERM) -> None:
        """Signal it and wait until it has ended; after `grace` seconds, kill it. Does nothing if it is gone.

        Args:
            grace: seconds.
            first: None if it is known to end by itself.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            stat = _stat(self.pid)
            if stat is None or not self._is(stat):
                return
            with suppress(ProcessLookupError):
                if first:
                    signal.pidfd_send_signal(descriptor, first)
                if not _ended(descriptor, grace):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    _ended(descriptor, grace)
        finally:
            os.close(descriptor)
        with suppress(ChildProcessError):  # it is our own child only where the same process started it
            os.waitpid(self.pid, 0)

    def _is(self, stat: Sequence[str]) -> bool:
        return self.boot == _boot() and self.start_time == int(stat[19])


class ProcessTable:
    """The recorded processes of one cluster: one small file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def start(self, name: str, command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> Process:
        """Start a process in a session of its own and record it. Its output is appended to `log`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        output = (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        pid = os.posix_spawnp(
            str(command[0]),
            [str(part) for part in command],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                output,
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        return self._record(name, pid)

    def record_self(self, name: str) -> None:
        """Record the calling process under a name."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._record(name, os.getpid())

    def forget(self, name: str) -> None:
        """Drop the record of that name; the process goes on."""
        (self._directory / f"{name}.json").unlink(missing_ok=True)

    def forget_ended(self) -> None:
        """Drop the records of processes that do not run."""
        for name in self.names():
            if not self.alive(name):
                self.forget(name)

    def _record(self, name: str, pid: int) -> Process:
        stat = _stat(pid)
        assert stat is not None, "a child stays until its parent waits for it"
        process = Process(_boot(), pid, int(stat[19]))
        partial = self._directory / f".{name}"
        partial.write_text(json.dumps(asdict(process)))
        partial.rename(self._directory / f"{name}.json")
        return process

    def get(self, name: str) -> Process | None:
        """The process of that name as recorded, dead or alive."""
        try:
            return Process(**json.loads((self._directory / f"{name}.json").read_text()))
        except FileNotFoundError:
            return None

    def alive(self, name: str) -> bool:
        """Whether the process of that name runs."""
        process = self.get(name)
        return process is not None and process.alive()

    def stop(self, name: str, grace: float = 20, first: signal.Signals | None = signal.SIGTERM) -> None:
        """Stop the process of that name and forget it."""
        if process := self.get(name):
            process.stop(grace, first)
            self.forget(name)

    def names(self) -> list[str]:
        """The names of all recorded processes."""
        return sorted(path.stem for path in self._directory.glob("*.json"))


def _boot() -> str:
    return _BOOT_ID.read_text().strip()


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state (field 3) on; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _ended(descriptor: int, timeout: float) -> bool:
    """Wait for the end of a pidfd's process; it counts as ended as a zombie too."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
