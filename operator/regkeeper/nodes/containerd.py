"""containerd, and the one that k3s and RKE2 bring along: a hosts.toml for each host, read live, never a signal.

SIGHUP kills containerd, and it needs none (facts of node trust).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from regkeeper.nodes import owned_files
from regkeeper.nodes.command_line import flag_values
from regkeeper.nodes.containerd_config import DEFAULT_PATH, RegistrySettings, read_registry_settings
from regkeeper.nodes.cri import HELLO, Cri
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.hosts import is_loopback
from regkeeper.nodes.process import prove
from regkeeper.nodes.reasons import NodeProblemError, Problem, Reason
from regkeeper.nodes.record import Ledger
from regkeeper.nodes.runtime import Change, Look

SOCKET = "/run/containerd/containerd.sock"
K3S_SOCKET = "/run/k3s/containerd/containerd.sock"
"""Of k3s and RKE2 alike; the process's -c tells which."""
K3S_PLACE = "/agent/etc/containerd/"
"""Where they keep their containerd's configuration, below whatever their --data-dir is."""


@dataclass(frozen=True, slots=True)
class ContainerdLook(Look):
    """A look with what `act` needs."""

    remove: tuple[str, ...] = ()
    """Files of ours that go."""
    put: dict[str, bytes] = field(default_factory=dict)
    """Files that come or change."""


class Containerd:
    """One containerd that kubelet uses."""

    def __init__(self, files: NodeFiles, *, name: str, socket: str, proc: str = "/proc") -> None:
        self.name = name
        self._files = files
        self._socket = socket
        self._proc = proc
        self._cri = Cri(files, socket, name=name)
        self._roots: tuple[str, ...] = ()

    def look(self, hosts: Sequence[str], ledger: Ledger, *, allow_pending_edits: bool) -> ContainerdLook:  # noqa: ARG002
        try:
            version = self._cri.version()
        except NodeProblemError:
            version = None
        if version is None:
            return self._look_without_runtime(hosts, ledger)
        process = prove(self._files, self._socket, name="containerd", request=HELLO, proc=self._proc)
        config = [*flag_values(process.arguments, "--config"), *flag_values(process.arguments, "-c")]
        major = version.split(".")[0]
        settings = read_registry_settings(
            self._files, (config or [DEFAULT_PATH])[-1], major=int(major) if major.isdigit() else 2
        )
        self._roots = _roots(settings)
        look = self._look_at_hosts(hosts, ledger, settings)
        return replace(look, version=version)

    def act(self, look: ContainerdLook, ledger: Ledger) -> None:
        for path in look.remove:
            owned_files.take_away(self._files, ledger, path)
        for path, data in look.put.items():
            owned_files.put(self._files, ledger, path, data)

    def ask(self, host: str) -> str:
        return self._cri.ask_registry(host)

    def watched(self) -> Sequence[str]:
        return (self._socket, *(f"{root}/" for root in self._roots))

    def reverted(self, ledger: Ledger) -> bool:
        return not self._ours(ledger)

    def _look_without_runtime(self, hosts: Sequence[str], ledger: Ledger) -> ContainerdLook:
        """It is stopped, or not kubelet's: what is ours is taken away where it is no longer wanted."""
        ours = self._ours(ledger)
        kept = [path for path in ours if _host_of(path) in hosts]
        problem = Problem(Reason.NOT_RUNNING, {"runtime": self.name})
        return ContainerdLook(
            present=bool(ours),
            refused=dict.fromkeys(hosts, problem),
            remove=tuple(path for path in ours if path not in kept),
            changes=tuple(Change(path, b"", None) for path in ours if path not in kept),
            problems=(problem,) if kept else (),
            acts=len(kept) != len(ours),
        )

    def _look_at_hosts(self, hosts: Sequence[str], ledger: Ledger, settings: RegistrySettings) -> ContainerdLook:
        ours = self._ours(ledger)
        obstacle = settings.problem()
        put: dict[str, bytes] = {}
        # Also where the configuration no longer looks for them: the running containerd may have read an earlier one.
        keep = {path for path in ours if _host_of(path) in hosts}
        suspects: dict[str, Problem] = {}
        changes: list[Change] = []
        for host in () if obstacle else tuple(host for host in hosts if not is_loopback(host)):
            for root in self._roots:
                path, wanted = f"{root}/{host}/hosts.toml", hosts_toml(host)
                foreign = self._foreign(root, host, path, ours)
                if foreign:
                    suspects[host] = Problem(Reason.FILE_FOREIGN, {"path": foreign, "host": host})
                    keep.discard(path)
                    continue
                keep.add(path)
                content = self._files.read(path)
                if path not in ours or content is None or content.data != wanted:
                    put[path] = wanted
                    changes.append(Change(path, content.data if content else None, wanted))
        remove = [path for path in ours if path not in keep]
        for path in remove:
            content = self._files.read(path)
            if content is not None and owned_files.is_ours(content.data):
                changes.append(Change(path, content.data, None))
        if obstacle:
            suspects = {host: obstacle for host in hosts if not is_loopback(host)}
        return ContainerdLook(
            present=True,
            changes=tuple(changes),
            ours=frozenset(map(_host_of, keep)),
            suspects=suspects,
            problems=(obstacle,) if obstacle and suspects else (),
            acts=bool(put or remove),
            repairs=any(path in ours for path in put),
            remove=tuple(remove),
            put=put,
        )

    def _foreign(self, root: str, host: str, path: str, ours: Sequence[str]) -> str | None:
        """A path of somebody else's that already speaks for this host, if there is one."""
        content = self._files.read(path)
        if content is not None:
            return None if owned_files.is_ours(content.data) else path
        if path in ours:
            return None
        # containerd also reads certificates beside a hosts.toml, and a directory whose name has underscores for colons.
        others = [name for name in self._files.list(f"{root}/{host}") if not name.startswith(".regkeeper-")]
        if others:
            return f"{root}/{host}/{others[0]}"
        name, _, port = host.rpartition(":")
        underscored = f"{root}/{name}_{port}_"
        return underscored if self._files.is_directory(underscored) else None

    def _ours(self, ledger: Ledger) -> list[str]:
        """Files of the record that belong to this containerd, whether it runs or not."""
        toml = [path for path in ledger.record.files if path.endswith("/hosts.toml")]
        return [path for path in toml if (K3S_PLACE in path) == (self._socket == K3S_SOCKET)]


def _host_of(path: str) -> str:
    return os.path.basename(os.path.dirname(path))


def hosts_toml(host: str) -> bytes:
    """The file for one host.

    containerd 1.6 and earlier 1.7s take no file that has only `server`, so there is a host table too. 1.7 takes the
    brackets of an IPv6 address in no header of a table, not even in quotes, but in a key.
    """
    return (
        f"{owned_files.MARK} for a Registry of this cluster; edits are replaced.\n"
        f'server = "http://{host}"\n'
        "\n"
        "[host]\n"
        f'"http://{host}" = {{capabilities = ["pull", "resolve", "push"]}}\n'
    ).encode()


def _roots(settings: RegistrySettings) -> tuple[str, ...]:
    """Directories that get a directory for each host.

    The second is what kubelet's pulls read where config_path is a list of directories: its literal text, colon included
    (containerd#12636).
    """
    if not settings.directories:
        return ()
    if len(settings.directories) == 1:
        return settings.directories
    return (settings.directories[0], settings.literal)
