"""The states in which a node's dockerd can be before the agent comes, and what the agent is to make of each."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regkeeper.nodes.reasons import Reason
from tests.nodes.agent import run_agent
from tests.nodes.namespaces import ADDRESS, SECOND_ADDRESS, Daemon
from tests.nodes.node import Node
from tests.waiting import wait_for

HOST = f"{ADDRESS}:5000"
"""Where the node's registry answers."""
SECOND_HOST = "master.example:5000"
"""The same registry, by a name: to Docker another registry."""
FILE = "/etc/docker/daemon.json"

MIRRORS = b'{\n\t"registry-mirrors" : ["https://mirror.example"],\n\t"log-level": "info"\n}\n'
OTHER_FLAG = ("--insecure-registry", "other.example:5000")
UNIT = f"[Service]\nExecStart=/usr/bin/dockerd -H fd:// {' '.join(OTHER_FLAG)}\n".encode()


@dataclass(frozen=True)
class State:
    """One of them."""

    name: str
    file: bytes | None = None
    """daemon.json; None: absent."""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Node, ExitStack], None] = lambda _node, _stack: None
    """Runs before dockerd starts."""
    after_start: Callable[[Node, ExitStack], None] = lambda _node, _stack: None
    """Runs once it is up."""
    starts: bool = True
    """Whether dockerd is started at all."""
    reason: Reason | None = None
    """Why HOST can't be had; None: it is trusted."""
    notice: Reason | None = None
    """What is reported besides."""
    changes: bool = True
    """Whether the agent is to write anything."""
    next_arguments: tuple[str, ...] | None = None
    """Of dockerd's next start, where they are others: what docker.service says by now."""
    starts_again: bool = True
    """Whether dockerd would start from these files without us."""
    restarts: bool = False
    """Whether dockerd is restarted, too, after the agent was killed: one state for each way to write and to revert."""
    covers_only_host: bool = False
    """HOST is the administrator's, and another host can't be added beside it."""
    host: str = HOST
    """The registry that is trusted first."""
    writer: Mapping[str, Any] = field(default_factory=dict)
    """What another program does meanwhile: options of one_pass.py."""

    @property
    def undone(self) -> bool:
        """Whether the other program undoes what the agent does, again and again."""
        return self.reason is Reason.CONTENDED

    @property
    def has_second(self) -> bool:
        """Whether SECOND_HOST is trusted beside it: what keeps one out keeps out both, if it is not its name."""
        return self.reason is Reason.NAME_UNRESOLVED or (self.reason is None and not self.covers_only_host)


@contextmanager
def in_state(node: Node, state: State) -> Iterator[Daemon | None]:
    """Bring the node into the state, and back to an empty /etc/docker without dockerd."""
    with ExitStack() as stack:
        _clear(node)
        stack.callback(_clear, node)
        if state.file is not None:
            node.path(FILE).write_bytes(state.file)
        state.prepare(node, stack)
        daemon = None
        if state.starts:
            daemon = node.start_dockerd(*state.arguments, env=state.environment)
            stack.callback(node.stop_all, "dockerd")
        state.after_start(node, stack)
        yield daemon


def _clear(node: Node) -> None:
    shutil.rmtree(node.path("/etc/docker"), ignore_errors=True)
    node.path("/etc/docker").mkdir(exist_ok=True)
    shutil.rmtree(node.path("/var/lib/regkeeper"), ignore_errors=True)
    shutil.rmtree(node.path("/etc/systemd/system/docker.service.d"), ignore_errors=True)
    node.path("/etc/systemd/system/docker.service").unlink(missing_ok=True)


def _write(path: str, data: bytes, mode: int | None = None) -> Callable[[Node, ExitStack], None]:
    def write(node: Node, _stack: ExitStack) -> None:
        node.path(path).parent.mkdir(parents=True, exist_ok=True)
        node.path(path).write_bytes(data)
        if mode is not None:
            node.path(path).chmod(mode)

    return write


def _read_only(node: Node, stack: ExitStack) -> None:
    node.run("mount", "--bind", "/etc/docker", "/etc/docker")
    stack.callback(node.run, "umount", "/etc/docker")
    node.run("mount", "-o", "remount,bind,ro", "/etc/docker")


def _bind_mounted_file(node: Node, stack: ExitStack) -> None:
    node.path("/run/daemon.json").write_bytes(MIRRORS)
    node.run("mount", "--bind", "/run/daemon.json", FILE)
    stack.callback(node.run, "umount", FILE)


def _full_disk(node: Node, stack: ExitStack) -> None:
    node.run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/etc/docker")
    stack.callback(node.run, "umount", "/etc/docker")
    node.path(FILE).write_bytes(MIRRORS)


def _fill(node: Node, _stack: ExitStack) -> None:
    node.run("dd", "if=/dev/zero", "of=/etc/docker/filler", "bs=4k", check=False)


def _immutable(node: Node, stack: ExitStack) -> None:
    folder = node.folder / "immutable"
    folder.mkdir(exist_ok=True)
    (folder / "daemon.json").write_bytes(MIRRORS)
    node.run("mount", "--bind", str(folder), "/etc/docker")
    stack.callback(node.run, "umount", "/etc/docker")
    node.run("chattr", "+i", FILE)
    stack.callback(node.run, "chattr", "-i", FILE)


def _symlink(node: Node, _stack: ExitStack) -> None:
    node.path("/etc/docker/real.json").write_bytes(MIRRORS)
    node.path(FILE).symlink_to("real.json")


def _symlinked_directory(node: Node, _stack: ExitStack) -> None:
    node.path("/run/docker-etc").mkdir(exist_ok=True)
    node.path("/run/docker-etc/daemon.json").write_bytes(MIRRORS)
    node.path("/etc/docker").rmdir()
    # Relative, so that it leads to the same place for who reads it from outside of the node.
    node.path("/etc/docker").symlink_to("../run/docker-etc")
    _stack.callback(node.path("/etc/docker").unlink)


def _without_directory(node: Node, _stack: ExitStack) -> None:
    shutil.rmtree(node.path("/etc/docker"))


def _old_enough(node: Node, _stack: ExitStack) -> None:
    """To be signalled, so that from here on every pass acts."""
    run_agent(node, HOST)
    run_agent(node)


def _second_dockerd(node: Node, stack: ExitStack) -> None:
    other = node.try_dockerd(
        *("--data-root=/var/lib/docker2", "--exec-root=/run/docker2", "--pidfile=/run/docker2.pid"),
        socket="/run/docker2.sock",
        name="second dockerd",
    )
    assert other.running(), other.log.read_text()
    stack.callback(other.stop)


def _rootless(node: Node, stack: ExitStack) -> None:
    """A process of this name that is another user's: all that the agent can see of a rootless Docker."""
    node.run("mkdir", "-p", "/run/programs")
    node.run("cp", "/bin/sleep", "/run/programs/dockerd")
    other = node.start("rootless", "setpriv", "--reuid=1000", "--clear-groups", "/run/programs/dockerd", "infinity")
    wait_for(lambda: Path(f"/proc/{other.host_pid}/comm").read_text() == "dockerd\n", 5, "the other user's dockerd")
    stack.callback(other.stop)


def _socket_activation(node: Node, stack: ExitStack) -> None:
    """Who connects to docker.socket starts dockerd, even if it was stopped on purpose."""
    script = """import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/docker.sock")
listener.listen()
print("listening", flush=True)
listener.accept()
print("dockerd would be started", flush=True)
"""
    node.path("/run/docker.sock").unlink(missing_ok=True)
    systemd = node.start("systemd", *node.python, "-c", script)
    wait_for(lambda: "listening" in systemd.log.read_text(), 5, systemd.log.read_text)

    def stop() -> None:
        systemd.stop()
        node.path("/run/docker.sock").unlink()
        assert systemd.log.read_text() == "listening\n"

    stack.callback(stop)


BROKEN = b'{"registry-mirrors": ["https://mirror.example"]\n'

STATES = (
    State("no file", restarts=True),
    State("empty object", b"{}"),
    State("mirrors, tabs and odd spacing", MIRRORS, restarts=True),
    State("one line without spaces", b'{"registry-mirrors":["https://mirror.example"],"debug":false}'),
    State("another's entry", b'{"insecure-registries": ["other.example:5000"], "debug": false}\n', restarts=True),
    State("a list over several lines", b'{\n  "insecure-registries": [\n    "other.example:5000"\n  ]\n}\n'),
    State("an empty list", b'{"insecure-registries": []}\n'),
    State("a list that is null", b'{"insecure-registries": null}\n', restarts=True),
    State("mode 0600", prepare=_write(FILE, MIRRORS, 0o600)),
    State("the administrator's already", b'{"insecure-registries": ["%s"]}\n' % HOST.encode(), changes=False),
    State("a network that covers it", b'{"insecure-registries": ["10.99.0.0/24"]}\n', changes=False),
    State("flag for this host", arguments=(f"--insecure-registry={HOST}",), changes=False, covers_only_host=True),
    State(
        "flag for another host",
        MIRRORS,
        arguments=OTHER_FLAG,
        reason=Reason.FLAG_CONFLICT,
        changes=False,
    ),
    State(
        "flag at the next start",
        MIRRORS,
        prepare=_write("/etc/systemd/system/docker.service", UNIT),
        next_arguments=OTHER_FLAG,
        reason=Reason.FLAG_CONFLICT,
        changes=False,
    ),
    State(
        "flag in a drop-in",
        prepare=_write("/etc/systemd/system/docker.service.d/insecure.conf", b"[Service]\nExecStart=\n" + UNIT),
        next_arguments=OTHER_FLAG,
        reason=Reason.FLAG_CONFLICT,
        changes=False,
    ),
    State(
        "flag at the next start, and the key",
        b'{"insecure-registries": ["other.example:5000"]}\n',
        prepare=_write("/etc/systemd/system/docker.service", UNIT),
        next_arguments=OTHER_FLAG,
        reason=Reason.FLAG_CONFLICT,
        changes=False,
        starts_again=False,
    ),
    State(
        "flag, and the key since the start",
        arguments=OTHER_FLAG,
        after_start=_write(FILE, b'{"insecure-registries": ["other.example:5000"]}\n'),
        reason=Reason.FLAG_CONFLICT,
        changes=False,
        starts_again=False,
    ),
    State(
        "broken JSON", after_start=_write(FILE, BROKEN), reason=Reason.FILE_BROKEN, changes=False, starts_again=False
    ),
    State("empty file", after_start=_write(FILE, b""), reason=Reason.FILE_BROKEN, changes=False, starts_again=False),
    State(
        "a list of the wrong type",
        after_start=_write(FILE, b'{"insecure-registries": "x:1"}'),
        reason=Reason.FILE_BROKEN,
        changes=False,
        starts_again=False,
    ),
    State(
        "not UTF-8",
        after_start=_write(FILE, b'{"labels": ["\xff"]}'),
        reason=Reason.FILE_BROKEN,
        changes=False,
        starts_again=False,
    ),
    State(
        "far too large",
        after_start=_write(FILE, b'{"labels": []}' + b" " * (2 << 20)),
        reason=Reason.FILE_TOO_LARGE,
        changes=False,
    ),
    State("read-only", MIRRORS, after_start=_read_only, reason=Reason.FILE_READ_ONLY, changes=False),
    State("immutable", prepare=_immutable, reason=Reason.FILE_DENIED, changes=False),
    State("bind-mounted file", MIRRORS, prepare=_bind_mounted_file, reason=Reason.FILE_BIND_MOUNTED, changes=False),
    State("full disk", prepare=_full_disk, after_start=_fill, reason=Reason.FILE_NO_SPACE, changes=False),
    State("symlink", prepare=_symlink, reason=Reason.FILE_SYMLINK, changes=False),
    State("symlinked directory", prepare=_symlinked_directory, reason=Reason.FILE_SYMLINK, changes=False),
    State("no directory", after_start=_without_directory, reason=Reason.FILE_MISSING_DIRECTORY, changes=False),
    State(
        "pending edits",
        MIRRORS,
        after_start=_write(FILE, b'{"registry-mirrors": ["https://other.example"], "debug": true}\n'),
        reason=Reason.PENDING_EDITS,
        changes=False,
    ),
    State(
        "pending edits of the same list",
        after_start=_write(FILE, b'{"insecure-registries": ["other.example:5000"]}\n'),
        reason=Reason.PENDING_EDITS,
        changes=False,
    ),
    State(
        "a proxy that catches the host",
        environment={"HTTP_PROXY": f"http://{SECOND_ADDRESS}:3128", "HTTPS_PROXY": f"http://{SECOND_ADDRESS}:3128"},
        reason=Reason.PROXY,
    ),
    State(
        "from a snap",
        arguments=("--config-file=/var/lib/snap/docker/daemon.json",),
        prepare=_write("/var/lib/snap/docker/daemon.json", b"{}"),
        reason=Reason.UNSUPPORTED,
        changes=False,
    ),
    State("rootless", starts=False, after_start=_rootless, reason=Reason.UNSUPPORTED, changes=False),
    State("stopped behind systemd's socket", starts=False, after_start=_socket_activation, changes=False),
    State("two dockerds", MIRRORS, after_start=_second_dockerd, notice=Reason.TWO_DAEMONS),
    State("dockerd stopped", MIRRORS, starts=False, changes=False),
    State("a name that the node cannot resolve", reason=Reason.NAME_UNRESOLVED, host="nowhere.example:5000"),
    State("another writer at the same moment", MIRRORS, writer={"meanwhile": MIRRORS.decode()}),
    State(
        "another writer that undoes it",
        MIRRORS,
        after_start=_old_enough,
        reason=Reason.CONTENDED,
        writer={"rewrite": MIRRORS.decode(), "passes": 5},
    ),
)
