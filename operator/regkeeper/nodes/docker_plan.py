"""What to do about daemon.json: a pure function of what was seen, what is wanted and what is ours."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from regkeeper.nodes.daemon_json import KEY, entries_of, with_entries
from regkeeper.nodes.docker_edits import as_shown, pending_edits
from regkeeper.nodes.docker_observation import DockerObservation
from regkeeper.nodes.files import digest
from regkeeper.nodes.hosts import address_of, is_loopback
from regkeeper.nodes.reasons import Problem, Reason
from regkeeper.nodes.record import DockerRecord


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the file and, where dockerd has to hear of it, one reload."""

    before: bytes | None
    after: bytes | None
    """None: the file is absent."""
    record: DockerRecord | None
    """What is ours afterwards; None: nothing, and the backup goes too."""
    back_up: bool = False
    """Keep `before` beside the file first: it is the state without us."""
    reload: bool = False
    shows: frozenset[str] = frozenset()
    """What dockerd has to trust after the reload."""
    forgets: frozenset[str] = frozenset()
    """What it may no longer trust."""

    @property
    def writes(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class DockerPlan:
    """Steps in order; hosts that can't be had and why; problems of the runtime as a whole."""

    steps: tuple[Step, ...] = ()
    ours: tuple[str, ...] = ()
    """Hosts that need an entry of ours."""
    refused: dict[str, Problem] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    repairs: bool = False
    """Somebody took our entries out, and the steps put them back."""


def make_plan(
    seen: DockerObservation,
    hosts: Sequence[str],
    record: DockerRecord | None,
    *,
    allow_pending_edits: bool,
    settle_seconds: float,
) -> DockerPlan:
    """Decide.

    Args:
        seen: from `observe`.
        hosts: that this node is to trust.
        record: what is ours, without an intent.
        allow_pending_edits: whether a reload may apply others' edits too.
        settle_seconds: age that a dockerd must have before it is signalled.
    """
    ours = record.entries if record else ()
    foreign = tuple(entry for entry in entries_of(seen.settings or {}) if entry not in ours)
    wanted = tuple(host for host in hosts if not is_trusted_by_others(host, foreign, seen.flag or ()))
    refused = {host: _unnameable(host, seen) for host in wanted if host in seen.unnameable}
    wanted = tuple(host for host in wanted if host not in refused)
    if not wanted and record is None:
        return DockerPlan(refused=refused, problems=seen.notices)

    def refuse(problem: Problem) -> DockerPlan:
        return DockerPlan(
            ours=wanted,
            refused={**refused, **dict.fromkeys(wanted, problem)},
            problems=(*seen.notices, problem),
        )

    running = seen.process is not None
    if seen.file_problem:
        return refuse(seen.file_problem)
    if seen.process_problem and seen.process_problem.reason is not Reason.NOT_RUNNING:
        return refuse(seen.process_problem)
    if running and seen.info is None:
        return refuse(Problem(Reason.STARTING, {"runtime": "dockerd"}))

    targets, problem = wanted, None
    if seen.flag is not None:
        problem = Problem(
            Reason.FLAG_CONFLICT, {"where": seen.flag_where, "path": seen.path, "hosts": ", ".join(wanted) or "nothing"}
        )
        targets = ()
    elif not running:
        problem = seen.process_problem
        targets = tuple(host for host in wanted if host in ours)
    steps = _steps(seen, targets, foreign, record)
    if any(step.reload for step in steps):
        if seen.age < settle_seconds:
            return refuse(Problem(Reason.STARTING, {"runtime": "dockerd"}))
        pending = pending_edits(seen, foreign, record)
        if pending and not allow_pending_edits:
            return refuse(Problem(Reason.PENDING_EDITS, {"path": seen.path, "keys": ", ".join(pending)}))
    return DockerPlan(
        steps=steps,
        ours=wanted,
        refused={**refused, **(dict.fromkeys(wanted, problem) if problem else {})},
        problems=(*seen.notices, *((problem,) if problem and wanted else ())),
        repairs=bool(steps) and any(host in ours and host not in entries_of(seen.settings or {}) for host in targets),
    )


def is_trusted_by_others(host: str, foreign: Sequence[str], flag: Sequence[str]) -> bool:
    """True where dockerd trusts the host without an entry of ours.

    A network in the list covers addresses. It may cover a name too, if that resolves into it, but DNS is no promise.
    """
    if is_loopback(host):
        return True
    others = {entry.removeprefix("http://").removeprefix("https://") for entry in (*foreign, *flag)}
    address = address_of(host)
    return host in others or (address is not None and any(_contains(entry, address) for entry in others))


def _steps(
    seen: DockerObservation, targets: tuple[str, ...], foreign: tuple[str, ...], record: DockerRecord | None
) -> tuple[Step, ...]:
    before = seen.content.data if seen.content else None
    present = entries_of(seen.settings or {})
    ours = record.entries if record else ()
    add = tuple(host for host in targets if host not in present)
    remove = tuple(host for host in ours if host in present and host not in targets)
    revoking: frozenset[str] = frozenset()
    if seen.process is not None and seen.flag is None:
        gone = {*ours, *(record.revoking if record else ())} - set(targets) - set(foreign)
        revoking = frozenset(gone & (seen.insecure | set(remove)))
    shown = seen.insecure >= set(targets) and not revoking & seen.insecure
    steps: tuple[Step, ...] = ()
    # dockerd forgets a host only if the key is there when it reloads, and be it empty.
    if add or (remove and (targets or revoking)) or (revoking and KEY not in (seen.settings or {})):
        after = with_entries(seen.text, add=add, remove=remove).encode()
        steps = (
            Step(
                before=before,
                after=after,
                record=_record(seen, targets, revoking, record, after),
                back_up=_is_without_us(seen, record) and before is not None,
                reload=seen.process is not None and seen.flag is None,
                shows=frozenset(as_shown({*targets, *foreign})),
                forgets=revoking,
            ),
        )
    elif record is not None and seen.process is not None and seen.flag is None and not shown:
        steps = (
            Step(
                before=before,
                after=before,
                record=replace(record, revoking=tuple(sorted(revoking))),
                reload=True,
                shows=frozenset(as_shown({*targets, *foreign})),
                forgets=revoking,
            ),
        )
    if not targets and record is not None:
        last = steps[-1].after if steps else before
        steps += (Step(before=last, after=_without_us(seen, record, remove), record=None),)
    return steps


def _record(
    seen: DockerObservation,
    targets: tuple[str, ...],
    revoking: frozenset[str],
    record: DockerRecord | None,
    after: bytes,
) -> DockerRecord:
    """What is ours once `after` is written."""
    if _is_without_us(seen, record) or record is None:
        original: str | None = seen.content.digest if seen.content else ""
        key_was_there = KEY in (seen.settings or {})
    else:
        untouched = seen.content is not None and seen.content.digest == record.written
        original = record.original if untouched else None
        key_was_there = record.key_was_there
    return DockerRecord(
        path=seen.path,
        entries=targets,
        revoking=tuple(sorted(revoking)),
        original=original,
        written=digest(after),
        key_was_there=key_was_there,
    )


def _is_without_us(seen: DockerObservation, record: DockerRecord | None) -> bool:
    """Nothing of ours is in the file, so it is what a revert has to bring back."""
    found = seen.content.digest if seen.content else ""
    if record is None or found == record.original:
        return True
    if found == record.written:
        return False
    return not set(entries_of(seen.settings or {})) & set(record.entries)


def _without_us(seen: DockerObservation, record: DockerRecord, remove: tuple[str, ...]) -> bytes | None:
    """The file as it would be had we never come."""
    if seen.content is None:
        return None
    if seen.content.digest == record.written:
        if record.original == "" and not seen.must_exist:
            return None
        if seen.backup is not None and seen.backup.digest == record.original:
            return seen.backup.data
    if not remove and (record.key_was_there or entries_of(seen.settings or {})):
        return seen.content.data
    return with_entries(seen.text, remove=remove, keep_key=record.key_was_there).encode()


def _contains(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return "/" in entry and address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _unnameable(host: str, seen: DockerObservation) -> Problem:
    detail = f"dockerd {seen.version} takes no image name that starts with {host}; use a name or IPv4"
    return Problem(Reason.UNSUPPORTED, {"detail": detail})
