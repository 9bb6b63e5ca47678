"""One pass over the node: which list is valid, what each runtime needs, carry it out, ask, and compose the report."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regkeeper.nodes import desired
from regkeeper.nodes.damping import Damper
from regkeeper.nodes.files import NodeFiles
from regkeeper.nodes.reasons import FileChangedError, NodeProblemError, Problem, Reason
from regkeeper.nodes.record import Ledger
from regkeeper.nodes.report import MAXIMUM_EXPLAINED, HostReport, HostState, Report, RuntimeReport, reported
from regkeeper.nodes.runtime import Look, Runtime
from regkeeper.nodes.turn import Turn
from regkeeper.nodes.verification import Verifier

if TYPE_CHECKING:
    from regkeeper.nodes.desired import TrustList

RESYNC_SECONDS = 60.0
"""How often an undisturbed node is looked at: what no watch shows (dockerd restarted with another flag)."""
SOON_SECONDS = 1.0
"""How soon it is looked at again where what is in the way passes within seconds, if it has not passed already."""

_ACTS_A_PASS = 3
"""How often a pass acts on one runtime: it may have to finish what a killed agent began before it can plan afresh."""

_BY_ITSELF = frozenset({Reason.NOT_RUNNING, Reason.STARTING, Reason.CONTENDED})
"""What passes without anybody acting."""


class Engine:
    """Everything that the agent knows of its node."""

    def __init__(
        self,
        files: NodeFiles,
        runtimes: Sequence[Runtime[Any]],
        *,
        node: str,
        pod_uid: str = "",
        chance: random.Random | None = None,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        """Make one.

        Args:
            files: the node's tree.
            runtimes: every kind that is to be kept.
            node: the Node's name, by which the list names it.
            pod_uid: of the agent's own pod.
            chance: for the jitter of timers.
            answered: called from another thread when a registry answered, so that the caller calls `ask`.
        """
        self._files = files
        self._runtimes = runtimes
        self._node = node
        self._pod_uid = pod_uid
        self._chance = chance or random.Random()  # noqa: S311  # spreads load, protects nothing
        self.verifier = Verifier(self._chance, answered)
        self._dampers = {runtime.name: Damper() for runtime in runtimes}
        self._turn = Turn(files.root)
        self._ledger: Ledger | None = None
        self._accepted: TrustList | None = None
        self._hosts: tuple[str, ...] = ()
        self._carried_out: tuple[TrustList | None, tuple[str, ...]] = (None, ())
        """The list and the hosts of the last whole pass: a question in the middle of one gets no half answer."""
        self._list_problem: Problem | None = None
        self._node_problem: Problem | None = None
        self._looks: dict[str, Look] = {}
        self._due = 0.0
        """When the node is to be looked at again, if nothing happens before."""

    def run(self, document: bytes | None, now: float, *, act: bool = True) -> dict[str, Look]:
        """Make one pass.

        Args:
            document: the list as it is mounted; None: it is not there.
            now: monotonic seconds.
            act: False changes nothing on the node.

        Returns:
            The look at each runtime before anything was done.
        """
        looks: dict[str, Look] = {}
        self._due = now + RESYNC_SECONDS * self._chance.uniform(0.8, 1.2)
        if act and not self._turn.take():
            # What the record says is read when the other one writes no more.
            self._node_problem, self._due = Problem(Reason.OTHER_AGENT), now + SOON_SECONDS
            return looks
        try:
            self._ledger = ledger = self._ledger or Ledger(self._files)
            self._node_problem = None
        except NodeProblemError as error:
            self._node_problem = error.problem
            self._looks = {}
            return looks
        valid = self._accept(document, ledger)
        if act and valid and self._accepted:
            try:
                ledger.write(cluster=self._accepted.cluster, generation=self._accepted.generation)
            except NodeProblemError as error:
                # Without a record nothing may be changed: nobody would know what is ours.
                self._node_problem, valid = error.problem, False
        for runtime in self._runtimes:
            looks[runtime.name] = self._keep(runtime, ledger, now, act=act and valid)
        self._carried_out = self._accepted, self._hosts
        if any(problem.reason is Reason.STARTING for look in self._looks.values() for problem in look.problems):
            self._due = now + SOON_SECONDS
        self.ask(now)
        return looks

    def ask(self, now: float) -> None:
        """Take in what the runtimes found out of registries, and ask again where it is time. Looks at nothing else."""
        for runtime in self._runtimes:
            look = self._looks.get(runtime.name)
            if look and look.present:
                hosts = [host for host in self._hosts if host not in look.refused]
                self.verifier.ask(runtime.name, hosts, runtime.ask, now)
            else:
                # A question that nobody asks would be due for ever.
                self.verifier.forget(runtime.name)

    def is_due(self, now: float) -> bool:
        """Whether it is time for a pass."""
        return now >= self._due

    def report(self) -> Report:
        """What is known now. Safe to call from another thread: it reads whole values."""
        ledger = self._ledger
        trust, hosts = self._carried_out
        return Report(
            node=self._node,
            pod_uid=self._pod_uid,
            generation=trust.generation if trust else 0,
            cluster=trust.cluster if trust else "",
            list_problem=reported(self._list_problem) if self._list_problem else None,
            problems=(reported(self._node_problem),) if self._node_problem else (),
            runtimes=tuple(
                self._report_runtime(runtime, look, hosts, reverted=bool(ledger and runtime.reverted(ledger)))
                for runtime in self._runtimes
                if (look := self._looks.get(runtime.name)) and look.present
            ),
        )

    def pause(self, now: float) -> float:
        """Seconds until there is something to do, if nothing happens before."""
        due = self.verifier.next_due()
        return max(0.05, (self._due if due is None else min(self._due, due)) - now)

    def watched(self) -> list[str]:
        """Paths on the node whose change calls for a pass."""
        return [path for runtime in self._runtimes for path in runtime.watched() if path]

    def _accept(self, document: bytes | None, ledger: Ledger) -> bool:
        """Take the list in if it is valid and not older than the last."""
        try:
            trust = desired.decode(document or b"")
            hosts = trust.hosts_of(self._node)
            last = self._accepted or ledger.record
            if trust.cluster == last.cluster and trust.generation < last.generation:
                # Said to the operator too, which has to write a later one, and may not know of it any more.
                raise NodeProblemError(Reason.LIST_OLDER, generation=str(last.generation))
        except NodeProblemError as error:
            self._list_problem = error.problem
            return False
        self._accepted, self._hosts, self._list_problem = trust, hosts, None
        return True

    def _keep(self, runtime: Runtime[Any], ledger: Ledger, now: float, *, act: bool) -> Look:
        """See to one runtime; what goes wrong with one never holds up another."""
        first = look = self._look(runtime, ledger)
        problem = None
        damper = self._dampers[runtime.name]
        for turn in range(_ACTS_A_PASS):
            if problem or not act or not look.acts:
                break
            if look.repairs and (left := damper.wait(now)):
                # Not what is left of the pause: each pass would have another report, and each report be news.
                problem = _contended(look, damper.pause())
                self._due = min(self._due, now + left)  # as the report says, and no jitter later
                break
            problem = self._act(runtime, look, ledger, now, again=turn < _ACTS_A_PASS - 1)
            self.verifier.forget(runtime.name)
            look = self._look(runtime, ledger)
        if problem and problem not in look.problems:
            look = _with_problem(look, problem)
        self._looks[runtime.name] = look
        return first

    def _look(self, runtime: Runtime[Any], ledger: Ledger) -> Look:
        allow = bool(self._accepted and self._accepted.apply_pending_edits)
        try:
            return runtime.look(self._hosts, ledger, allow_pending_edits=allow)  # type: ignore[no-any-return]
        except NodeProblemError as error:
            return Look(
                present=True,
                refused=dict.fromkeys(self._hosts, error.problem),
                problems=(error.problem,),
                ours=frozenset(self._hosts),
            )

    def _act(self, runtime: Runtime[Any], look: Look, ledger: Ledger, now: float, *, again: bool) -> Problem | None:
        """What went wrong; a file that another program wrote meanwhile counts only where it is not tried again.

        So does a repair that did not come about for that: else a pass would have none left for the next one.
        """
        problem = None
        try:
            runtime.act(look, ledger)
        except FileChangedError as error:
            if again:
                return None
            self._due = now + SOON_SECONDS
            problem = error.problem
        except NodeProblemError as error:
            problem = error.problem
        if look.repairs:
            self._dampers[runtime.name].repaired(now)
        return problem

    def _report_runtime(
        self, runtime: Runtime[Any], look: Look, hosts: Sequence[str], *, reverted: bool
    ) -> RuntimeReport:
        reports, unexplained = [], MAXIMUM_EXPLAINED
        for host in hosts:
            state, problem = self._state(runtime.name, host, look)
            explained = reported(problem) if problem and unexplained > 0 else None
            unexplained -= bool(problem)
            reports.append(HostReport(host=host, state=state, ours=host in look.ours, problem=explained))
        return RuntimeReport(
            runtime=runtime.name,
            version=look.version[:64],
            hosts=tuple(reports),
            problems=tuple(reported(problem) for problem in look.problems[:16]),
            reverted=reverted,
        )

    def _state(self, runtime: str, host: str, look: Look) -> tuple[HostState, Problem | None]:
        if problem := look.refused.get(host):
            return (HostState.PENDING if problem.reason in _BY_ITSELF else HostState.BLOCKED), problem
        state, problem = self.verifier.known(runtime, host)
        if state in (HostState.BLOCKED, HostState.CONFIGURED) and host in look.suspects:
            return HostState.BLOCKED, look.suspects[host]
        return state, problem


def _contended(look: Look, pause: float) -> Problem:
    path = look.changes[0].path if look.changes else ""
    return Problem(
        Reason.CONTENDED, {"path": path, "seconds": str(round(pause)), "hosts": ", ".join(sorted(look.ours))}
    )


def _with_problem(look: Look, problem: Problem) -> Look:
    """The look, with what came of acting on it: none of our hosts can be had."""
    return replace(
        look, refused={**dict.fromkeys(look.ours, problem), **look.refused}, problems=(*look.problems, problem)
    )
