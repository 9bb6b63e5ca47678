"""CRI-O: one drop-in of registries.conf for all hosts, and SIGHUP, which makes CRI-O read it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from regkeeper.nodes import owned_files
from regkeeper.nodes.cri import HELLO, Cri
from regkeeper.nodes.crio_config import OUR_PATH, drop_in, hosts_in, read_entries
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.process import Process, hang_up, prove
from regkeeper.nodes.reasons import NodeProblemError, Problem, Reason
from regkeeper.nodes.record import Ledger
from regkeeper.nodes.runtime import Change, Look

SOCKET = "/run/crio/crio.sock"


@dataclass(frozen=True, slots=True)
class CrioLook(Look):
    """A look with what `act` needs."""

    process: Process | None = None
    wanted: bytes | None = None
    """The drop-in as it has to be; None: absent."""
    is_foreign: bool = False
    """What stands in its place is somebody else's."""


class Crio:
    """The CRI-O of this node."""

    name = "crio"

    def __init__(self, files: NodeFiles, *, settle_seconds: float, socket: str = SOCKET, proc: str = "/proc") -> None:
        self._files = files
        self._settle_seconds = settle_seconds
        self._socket = socket
        self._proc = proc
        self._cri = Cri(files, socket, name=self.name)

    def look(self, hosts: Sequence[str], ledger: Ledger, *, allow_pending_edits: bool) -> CrioLook:  # noqa: ARG002
        owned = ledger.record.files.get(OUR_PATH)
        try:
            process: Process | None = prove(self._files, self._socket, name=self.name, request=HELLO, proc=self._proc)
            version = self._cri.version() or ""
        except NodeProblemError as error:
            if error.problem.reason is not Reason.NOT_RUNNING:
                raise
            process, version = None, ""
            if owned is None:
                return CrioLook(present=False)
        look = self._plan(hosts, process, is_owned=owned is not None)
        if owned is not None and owned.reload_pending and process is not None:
            look = replace(look, acts=True)
        if look.acts and process is not None and process.age() < self._settle_seconds:
            starting = Problem(Reason.STARTING, {"runtime": self.name})
            return CrioLook(
                present=True, version=version, refused=dict.fromkeys(look.ours, starting), problems=(starting,)
            )
        return replace(look, version=version)

    def act(self, look: CrioLook, ledger: Ledger) -> None:
        if look.is_foreign:
            # Nothing of ours is left in what stands there now, but CRI-O has ours in memory until it reads that.
            if look.process is not None:
                hang_up(look.process, self._proc)
            owned_files.take_away(self._files, ledger, OUR_PATH)
            return
        if look.wanted is not None:
            owned_files.put(self._files, ledger, OUR_PATH, look.wanted, reload_pending=True)
        else:
            # The record keeps the file until CRI-O has heard that it is gone.
            owned_files.remove(self._files, ledger, OUR_PATH, reload_pending=True)
        if look.process is not None:
            hang_up(look.process, self._proc)
        if look.wanted is None:
            owned_files.take_away(self._files, ledger, OUR_PATH)
        else:
            owned_files.reloaded(ledger, OUR_PATH)

    def ask(self, host: str) -> str:
        return self._cri.ask_registry(host)

    def watched(self) -> Sequence[str]:
        return (self._socket, "/etc/containers/registries.conf", "/etc/containers/registries.conf.d/")

    def reverted(self, ledger: Ledger) -> bool:
        return OUR_PATH not in ledger.record.files

    def _plan(self, hosts: Sequence[str], process: Process | None, *, is_owned: bool) -> CrioLook:
        content = self._files.read(OUR_PATH)
        data = content.data if content else None
        # The mark in the file counts, not the record: whoever replaced it did not have to know of that.
        is_foreign = data is not None and not owned_files.is_ours(data)
        entries = read_entries(self._files, hosts, without=None if is_foreign else OUR_PATH)
        suspects = {
            host: Problem(Reason.FILE_FOREIGN, {"path": entry.path, "host": host})
            for host, entry in entries.items()
            if not entry.insecure
        }
        stopped = Problem(Reason.NOT_RUNNING, {"runtime": self.name})
        refused = {} if process else dict.fromkeys(hosts, stopped)
        problems = () if process or not hosts else (stopped,)
        if is_foreign:
            taken = {host: Problem(Reason.FILE_FOREIGN, {"path": OUR_PATH, "host": host}) for host in hosts}
            refused |= {host: problem for host, problem in taken.items() if host not in entries}
            return CrioLook(
                present=True,
                refused=refused,
                suspects=suspects,
                problems=problems,
                acts=is_owned,
                process=process,
                is_foreign=True,
            )
        # A stopped CRI-O gets no new entry, since nothing would show that it takes it.
        possible = hosts if process else [host for host in hosts if host in hosts_in(data or b"")]
        needed = [host for host in possible if host not in entries]
        wanted = drop_in(needed) if needed else None
        return CrioLook(
            present=True,
            changes=(Change(OUR_PATH, data, wanted),) if data != wanted else (),
            ours=frozenset(needed),
            refused=refused,
            suspects=suspects,
            problems=problems,
            acts=data != wanted or (is_owned and wanted is None),
            repairs=is_owned and wanted is not None and data is None,
            process=process,
            wanted=wanted,
        )
