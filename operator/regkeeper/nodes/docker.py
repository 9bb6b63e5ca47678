"""dockerd: carries a plan for daemon.json out, reloads, verifies, and takes it back where dockerd does not follow."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from regkeeper.nodes.damping import Damper
from regkeeper.nodes.docker_edits import lost_settings
from regkeeper.nodes.docker_moved import Moved, make_out
from regkeeper.nodes.docker_observation import BACKUP_SUFFIX, SOCKET, DockerObservation, insecure_of, observe
from regkeeper.nodes.docker_plan import DockerPlan, Step, make_plan
from regkeeper.nodes.dockerd_api import Dockerd, DockerError
from regkeeper.nodes.files import Content, NodeFiles, digest
from regkeeper.nodes.hosts import name_of
from regkeeper.nodes.process import Process, hang_up
from regkeeper.nodes.proxy import catches
from regkeeper.nodes.reasons import FileChangedError, NodeProblemError, Problem, Reason
from regkeeper.nodes.record import DockerRecord, Intent, Ledger
from regkeeper.nodes.runtime import Change, Look

SETTLE_SECONDS = 5.0
"""A dockerd that is younger is not signalled: SIGHUP within 0.15 s of its start kills it (facts of node trust)."""

_RELOAD_SECONDS = 5.0
"""How long a reload may take; some 33 ms were measured."""
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class DockerLook(Look):
    """A look with what `act` needs."""

    seen: DockerObservation | None = None
    plan: DockerPlan | None = None
    moved: Moved | None = None
    """dockerd reads another file than the one in the record, which is left alone from here on."""


@dataclass(slots=True)
class _Rejection:
    """What dockerd did not take. The cause may lie where nobody sees it, so it is tried again, ever more seldom."""

    key: tuple[object, ...]
    """File, hosts and process: where one of them is another, it is tried at once."""
    problem: Problem
    damper: Damper


class Docker:
    """The dockerd of this node."""

    name = "docker"

    def __init__(
        self,
        files: NodeFiles,
        *,
        settle_seconds: float = SETTLE_SECONDS,
        socket: str = SOCKET,
        proc: str = "/proc",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._settle_seconds = settle_seconds
        self._socket = socket
        self._proc = proc
        self._clock = clock
        self._dockerd = Dockerd(files, socket)
        self._path = ""
        self._rejection: _Rejection | None = None

    def look(self, hosts: Sequence[str], ledger: Ledger, *, allow_pending_edits: bool) -> DockerLook:
        recorded = ledger.record.docker
        path = recorded.path if recorded is not None else ""
        seen = observe(self._files, hosts, recorded=path, socket=self._socket, proc=self._proc)
        self._path = seen.path
        if recorded is not None and recorded.path != seen.path:
            return self._look_at_moved_file(seen, hosts, recorded)
        record = _settled(recorded, seen.content, seen)
        plan = make_plan(
            seen, hosts, record, allow_pending_edits=allow_pending_edits, settle_seconds=self._settle_seconds
        )
        # What needs no reload can't be rejected, and may be urgent: a removal because of a flag.
        if any(step.reload for step in plan.steps) and (problem := self._held_back(_key(seen, plan))):
            plan = DockerPlan(ours=plan.ours, refused=dict.fromkeys(plan.ours, problem), problems=(problem,))
        return DockerLook(
            present=seen.process is not None or record is not None or not _is_absent(seen),
            version=seen.version,
            changes=tuple(Change(seen.path, step.before, step.after) for step in plan.steps if step.writes),
            ours=frozenset(plan.ours),
            refused=plan.refused,
            suspects=_proxied(seen, hosts),
            problems=plan.problems,
            acts=bool(plan.steps) or record != recorded,
            repairs=plan.repairs,
            seen=seen,
            plan=plan,
        )

    def act(self, look: DockerLook, ledger: Ledger) -> None:
        if look.moved is not None and ledger.record.docker is not None:
            self._leave(ledger.record.docker, look.moved, ledger)
            return
        if look.seen is None or look.plan is None:
            return
        seen = look.seen
        # First, as without a record nobody would look for them.
        self._files.remove_temporaries(os.path.dirname(seen.path))
        self._settle(seen, ledger)
        for step in look.plan.steps:
            undo = ledger.record.docker
            self._write(seen, step, ledger)
            if step.reload and seen.process is not None and seen.info is not None:
                try:
                    self._reload(seen.process, seen.info, seen.settings or {}, step, seen.path)
                except NodeProblemError as error:
                    self._note(_key(seen, look.plan), error.problem)
                    self._take_back(seen, step, undo, ledger)
                    raise

    def ask(self, host: str) -> str:
        try:
            return self._dockerd.ask_registry(host)
        except DockerError as error:
            raise NodeProblemError(Reason.NOT_RUNNING, runtime="dockerd") from error

    def watched(self) -> Sequence[str]:
        return (self._path, self._socket)

    def reverted(self, ledger: Ledger) -> bool:
        return ledger.record.docker is None

    def _held_back(self, key: tuple[object, ...]) -> Problem | None:
        """Why a change is not tried (again) now."""
        rejection = self._rejection
        if rejection is None or rejection.key != key:
            return None
        # A setting that got lost is gone by the next try, which then would find nothing to lose.
        is_final = rejection.problem.reason is Reason.SETTING_LOST
        return rejection.problem if is_final or rejection.damper.wait(self._clock()) else None

    def _note(self, key: tuple[object, ...], problem: Problem) -> None:
        """Remember that dockerd did not take a change."""
        if self._rejection is None or self._rejection.key != key:
            self._rejection = _Rejection(key, problem, Damper(free=1))
        self._rejection.problem = problem
        self._rejection.damper.repaired(self._clock())

    def _look_at_moved_file(self, seen: DockerObservation, hosts: Sequence[str], record: DockerRecord) -> DockerLook:
        old = self._files.read(record.path)
        moved = make_out(record, old, self._files.read(record.path + BACKUP_SUFFIX) or seen.backup, seen)
        if not moved.left:
            changes = (Change(record.path, old.data, None),) if old is not None and moved.is_ours else ()
            return DockerLook(present=True, version=seen.version, changes=changes, acts=True, moved=moved)
        detail = (
            f"dockerd now reads {seen.path}; entries of ours are in {record.path}: point it back, or take "
            f"{', '.join(sorted(moved.left))} out of there"
        )
        problem = Problem(Reason.UNSUPPORTED, {"detail": detail})
        suspects = dict.fromkeys(hosts, problem)
        return DockerLook(present=True, version=seen.version, suspects=suspects, problems=(problem,))

    def _leave(self, record: DockerRecord, moved: Moved, ledger: Ledger) -> None:
        """Forget a file that dockerd no longer reads; where it was moved, go after it, with the backup."""
        backup = self._files.read(record.path + BACKUP_SUFFIX)
        if moved.record is not None and backup is not None and backup.digest == moved.record.original:
            self._files.write(moved.record.path + BACKUP_SUFFIX, backup.data, mode=0o600)
        if moved.is_ours:
            self._files.remove(record.path, check=lambda: self._expect(record.path, record.written))
        self._files.remove(record.path + BACKUP_SUFFIX)
        ledger.write(docker=moved.record)

    def _write(self, seen: DockerObservation, step: Step, ledger: Ledger) -> None:
        """The file and the record; each crash in between is settled by the next look."""
        undo = ledger.record.docker
        before = "" if step.before is None else digest(step.before)
        written = "" if step.after is None else digest(step.after)
        # With the last of ours gone, the file as it is then is what it is without us: not the one before all edits.
        becomes = step.record or (undo and replace(undo, entries=(), revoking=(), original=written))
        if step.writes and becomes is not None:
            intent = Intent(before=before, undo=undo)
            ledger.write(docker=replace(becomes, written=written, intent=intent))
        backup = seen.path + BACKUP_SUFFIX
        try:
            if step.back_up and seen.content is not None:
                self._files.write(backup, seen.content.data, mode=0o600)
            if step.writes and step.after is None:
                self._files.remove(seen.path, check=lambda: self._expect(seen.path, before))
            elif step.writes and step.after is not None:
                self._files.write(
                    seen.path,
                    step.after,
                    like=self._files.read(seen.path) or seen.content,
                    check=lambda: self._expect(seen.path, before),
                )
        except FileChangedError:
            # What stands there now does not tell that our change was not made; who made the other one is not us.
            if undo is None:
                self._files.remove(backup)
            ledger.write(docker=undo)
            raise
        except NodeProblemError:
            with suppress(NodeProblemError):  # then the intent stays in the record, for the next look
                self._settle(seen, ledger)
            raise
        if step.record is None:
            self._files.remove(backup)
        ledger.write(docker=step.record)

    def _expect(self, path: str, before: str) -> None:
        """Somebody's edit is not to be lost because it came between our look and our change, nor is a rollback's.

        Args:
            path: of the file.
            before: SHA-256 of the one from which the change was made; empty: there was none.

        Raises:
            FileChangedError: it is another.
        """
        content = self._files.read(path)
        if (content.digest if content else "") != before:
            raise FileChangedError(path)

    def _settle(self, seen: DockerObservation, ledger: Ledger) -> None:
        """Finish in the record what was interrupted in the file, and what dockerd was seen to have forgotten."""
        settled = _settled(ledger.record.docker, self._files.read(seen.path), seen)
        if settled is None:
            self._files.remove(seen.path + BACKUP_SUFFIX)
        ledger.write(docker=settled)

    def _reload(
        self, process: Process, before: dict[str, Any], settings: dict[str, Any], step: Step, path: str
    ) -> None:
        """Signal, and wait until dockerd says that it follows.

        Raises:
            NodeProblemError: `REJECTED`, `SETTING_LOST`, or why it could not be signalled.
        """
        hang_up(process, self._proc)
        deadline = time.monotonic() + _RELOAD_SECONDS
        while True:
            after = self._info()
            seen = insecure_of(after)
            if after and step.shows <= seen and not step.forgets & seen:
                break
            if time.monotonic() > deadline:
                raise NodeProblemError(Reason.REJECTED, runtime="dockerd", path=path)
            time.sleep(_POLL_SECONDS)
        if lost := lost_settings(before, after, settings):
            raise NodeProblemError(Reason.SETTING_LOST, runtime="dockerd", path=path, keys=", ".join(lost))

    def _take_back(self, seen: DockerObservation, step: Step, undo: DockerRecord | None, ledger: Ledger) -> None:
        """Put the file back as it was. What dockerd took of it nevertheless is revoked by the next look."""
        took = insecure_of(self._info()) & step.shows - seen.insecure
        record = undo if step.record is None else _undone(step.record, undo, took, step.before)
        back = Step(before=step.after, after=step.before, record=record)
        self._write(seen, back, ledger)

    def _info(self) -> dict[str, Any]:
        try:
            return self._dockerd.info()
        except DockerError:
            return {}


def _settled(record: DockerRecord | None, content: Content | None, seen: DockerObservation) -> DockerRecord | None:
    """The record once it is known whether an interrupted change happened, and what dockerd has forgotten.

    Where the file is neither as before nor as after it, somebody edited it meanwhile; then whatever of ours was in it
    before or is in it after is ours, and what the file does not hold is put in or left out by the plan.
    """
    if record is not None and (intent := record.intent) is not None:
        found, undo = content.digest if content else "", intent.undo
        before = undo.entries if undo is not None else ()
        if found == record.written:
            record = replace(record, intent=None)
        elif found == intent.before:
            took = seen.insecure & set(record.entries) - set(before)
            record = _undone(record, undo, took, content.data if content else None)
        else:
            record = replace(record, entries=tuple(dict.fromkeys((*before, *record.entries))), intent=None)
    if record is not None and record.revoking and seen.info is not None:
        record = replace(record, revoking=tuple(host for host in record.revoking if host in seen.insecure))
    return record


def _undone(
    record: DockerRecord, undo: DockerRecord | None, took: frozenset[str], before: bytes | None
) -> DockerRecord | None:
    """What is ours where a change was not made or was taken back, and dockerd took some of its hosts nevertheless."""
    if not took:
        return undo
    written = "" if before is None else digest(before)
    left = undo or replace(record, entries=(), written=written, intent=None)
    return replace(left, revoking=tuple(sorted({*left.revoking, *took})))


def _proxied(seen: DockerObservation, hosts: Sequence[str]) -> dict[str, Problem]:
    info = seen.info or {}
    if not (info.get("HttpProxy") or info.get("HttpsProxy")):
        return {}
    return {
        host: Problem(Reason.PROXY, {"runtime": "dockerd", "host": host, "entry": name_of(host)})
        for host in hosts
        if catches(host, str(info.get("NoProxy") or ""))
    }


def _is_absent(seen: DockerObservation) -> bool:
    return seen.process_problem is not None and seen.process_problem.reason is Reason.NOT_RUNNING


def _key(seen: DockerObservation, plan: DockerPlan) -> tuple[object, ...]:
    return (seen.content and seen.content.digest, plan.ours, seen.process and (seen.process.pid, seen.process.started))
