"""What the agents' reports mean for one Registry: how many nodes trust it, which lag and why. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostReport, HostState, Report, ReportedProblem, RuntimeReport
from regkeeper.reconcile import conditions
from regkeeper.reconcile.conditions import State
from regkeeper.reconcile.trust.agents import STARTING, Agent

MAXIMUM_NAMED = 5
"""Nodes in the status that lag: it stays small at 5,000 nodes."""
LONGEST_WORDS = 500
"""Characters of what is said about one node."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one node's agent."""

    agent: Agent | None = None
    report: Report | None = None
    """About what its pod says now; None: there is none yet."""
    silence: str = ""
    """Why there is none, as far as asking told."""
    untold: str = ""
    """Why its pod does not say what it is to say; empty: it does, or will in a moment."""

    @property
    def told(self) -> frozenset[str]:
        """Hosts that its pod says."""
        told = self.agent.told if self.agent is not None else None
        return frozenset(host for group in told.sets for host in group) if told is not None else frozenset()


@dataclass(frozen=True, slots=True)
class Lag:
    """Why one node does not trust a Registry yet."""

    node: str
    reason: str
    message: str
    passing: bool = False
    """Whether it is expected to pass by itself, and soon."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a Registry's status is to say of nodes."""

    state: State
    trusted: int
    selected: int
    lags: tuple[Lag, ...]
    """The first few."""


def judge(hosts: Sequence[str], selected: Mapping[str, Standing], uncovered: Sequence[str]) -> Verdict:
    """Judge a Registry.

    Args:
        hosts: that are to be trusted.
        selected: what is known of each node that is to trust it.
        uncovered: nodes that run no Linux, and so no agent.
    """
    lags = [lag for node, standing in sorted(selected.items()) if (lag := _lag(node, standing, hosts)) is not None]
    trusted = len(selected) - len(lags)
    names = ", ".join(hosts)
    if not selected:
        state = conditions.false("NoNodes", "no Linux node matches spec.nodeTrust.nodeSelector")
    elif not lags:
        state = conditions.true("Trusted", f"{trusted}/{len(selected)} nodes trust {names}.")
    else:
        # What needs a person comes first.
        lags.sort(key=lambda lag: lag.passing)
        reason = "Progressing" if all(lag.passing for lag in lags) else "NodesLag"
        state = conditions.false(reason, f"{trusted}/{len(selected)} nodes trust {names}. {in_words(lags)}")
    if uncovered:
        listed = ", ".join(sorted(uncovered)[:MAXIMUM_NAMED]) + (", …" if len(uncovered) > MAXIMUM_NAMED else "")
        state = State(state.status, state.reason, f"{state.message} Not covered, as they run no Linux: {listed}.")
    return Verdict(state, trusted, len(selected), tuple(lags[:MAXIMUM_NAMED]))


def _lag(node: str, standing: Standing, hosts: Sequence[str]) -> Lag | None:
    lag = _agent_lag(node, standing, hosts)
    if lag is None and standing.report is not None:
        lag = _node_lag(node, standing.report, hosts)
    return lag


def _agent_lag(node: str, standing: Standing, hosts: Sequence[str]) -> Lag | None:
    """Why there is no report about these hosts."""
    agent = standing.agent
    if agent is None and standing.silence:
        return Lag(node, "AgentRefused", standing.silence[:LONGEST_WORDS])
    if agent is None:
        return Lag(node, "NoAgent", "no agent runs there yet", passing=True)
    if not agent.runs:
        said = f"its agent does not run: {agent.trouble}"[:LONGEST_WORDS]
        return Lag(node, "AgentNotRunning", said, passing=agent.trouble == STARTING)
    if standing.untold:
        return Lag(node, "NotTold", standing.untold[:LONGEST_WORDS])
    if not standing.told.issuperset(hosts):
        return Lag(node, "Waiting", "its agent has yet to be told", passing=True)
    if standing.report is None and standing.silence:
        return Lag(node, "NoReport", standing.silence[:LONGEST_WORDS])
    if standing.report is None:
        return Lag(node, "Waiting", "its agent has not reported yet", passing=True)
    return None


def _node_lag(node: str, report: Report, hosts: Sequence[str]) -> Lag | None:
    """What the report says of these hosts."""
    for problem in report.problems:
        return Lag(node, problem.reason, problem.words()[:LONGEST_WORDS])
    if not report.runtimes:
        return Lag(node, "NoRuntime", "its agent finds no container runtime that it knows")
    asked = ((runtime, host) for runtime in report.runtimes for host in runtime.hosts if host.host in hosts)
    lags = [lag for runtime, host in asked if (lag := _host_lag(node, runtime, host)) is not None]
    return min(lags, key=lambda lag: lag.passing, default=None)


def _host_lag(node: str, runtime: RuntimeReport, host: HostReport) -> Lag | None:
    if host.state is HostState.TRUSTED:
        return None
    if host.problem is None:
        return Lag(node, "Verifying", f"{runtime.runtime} is asking {host.host}", passing=True)
    words = host.problem.words()
    said = words if runtime.runtime in words else f"{runtime.runtime}: {words}"
    return Lag(node, host.problem.reason, said[:LONGEST_WORDS], passing=host.state is HostState.PENDING)


def debt(node: str, standing: Standing, hosts: Iterable[str]) -> Lag | None:
    """Why it is not known of a node that it has forgotten these hosts, in words to act on; None: it has."""
    if has_forgotten(standing, hosts):
        return None
    lag = _agent_lag(node, standing, ())
    if lag is not None or standing.report is None:
        return lag
    if standing.told.intersection(hosts):
        return Lag(node, "Waiting", "its agent has yet to be told", passing=True)
    runtimes = (problem for runtime in standing.report.runtimes if not runtime.reverted for problem in runtime.problems)
    for problem in (*standing.report.problems, *runtimes):
        if not _is_notice(problem):
            return Lag(node, problem.reason, problem.words()[:LONGEST_WORDS])
    return Lag(node, "Waiting", "its agent has not reported yet", passing=True)


def in_words(lags: Sequence[Lag]) -> str:
    """The first few, each with its reason."""
    told = "; ".join(f"{lag.node}: {lag.message}" for lag in lags[:MAXIMUM_NAMED])
    return told + (f"; and {len(lags) - MAXIMUM_NAMED} more" if len(lags) > MAXIMUM_NAMED else "")


def is_reverted(standing: Standing) -> bool:
    """Whether nothing of ours is left on a node, as its own agent says of what it was told last."""
    report = _last_word(standing)
    return report is not None and not standing.told and all(runtime.reverted for runtime in report.runtimes)


def has_forgotten(standing: Standing, hosts: Iterable[str]) -> bool:
    """Whether a node trusts none of these hosts any more, as far as that is ours to say.

    An agent whose runtime has a problem may not have been able to take an entry out.
    """
    report = _last_word(standing)
    if report is None or standing.told.intersection(hosts):
        return False
    return all(runtime.reverted or all(map(_is_notice, runtime.problems)) for runtime in report.runtimes)


def _last_word(standing: Standing) -> Report | None:
    """The report of an agent that did what it was told last, as far as the whole node goes."""
    agent, report = standing.agent, standing.report
    if agent is None or agent.told is None or standing.untold or report is None or report.problems:
        return None
    return report


def _is_notice(problem: ReportedProblem) -> bool:
    """Whether a runtime does all the same what it is told."""
    return problem.reason == Reason.TWO_DAEMONS
