"""The agents' reports: asked for beside the passes, again and again, the more seldom the calmer a node is.

A pass looks at every node there is, so an answer makes one only if it says something else than the one before: in a
large cluster calm answers come all the time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState, Report, ReportRefusedError, StaleReportError
from regkeeper.reconcile.inquiries import Inquiries
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.trust.agents import Agent
from regkeeper.reconcile.trust.judgement import Standing
from regkeeper.reconcile.trust.questions import ANSWER_SECONDS, AgentSilentError

AT_A_TIME = 32
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 30.0
"""Between two questions to an agent that has not yet done what it was told."""
QUESTIONS_A_SECOND = 20.0
"""Where so many lag that this would be more questions than that, they are asked more seldom."""
CALM_SECONDS = 30.0
"""Between two questions to an agent where all is well."""
LONGEST_CALM_SECONDS = 300.0
"""That is how old what the status says of calm nodes may be; docs/guides/nodes.md tells so."""
CALM_QUESTIONS_A_SECOND = 4.0
"""In a cluster so large that this would be more, they are asked more seldom, up to the longest pause.

A question costs 1.7 ms of a core: this much is 0.7 % of one, and 5,000 agents cost 3 %.
"""
PATIENCE = 3
"""Questions in a row without an answer that are nobody's business: pods start, packets get lost."""
BEHIND_SECONDS = 5.0
"""How long an agent that answers may hold an earlier list than its pod says: kubelet takes up to a second.

By its source (1.36, MarkVolumeAsMounted), kubelet forgets a change that comes while it writes the one before into the
mounted file, and looks again by itself only after 60 to 90 seconds. Another write to the pod makes it look at once, and
each waits twice as long as the one before.
"""
LONGEST_BEHIND_SECONDS = 320.0


class Timer(Protocol):
    """What will happen at a time, unless it is cancelled."""

    def cancel(self) -> None: ...


def _call_later(seconds: float, then: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, then)


@dataclass(frozen=True, slots=True)
class _Answer:
    generation: int
    """Of the list about which was asked."""
    report: Report | None = None
    words: str = ""
    """Why there is none."""
    unheard: bool = False
    """Nothing answered at all."""
    newer: int = 0
    """Generation of a later list, which the agent holds against this one."""
    behind: bool = False
    """Whether it got an earlier list or none, and has no other reason not to do what this one says."""


@dataclass(slots=True)
class _Known:
    agent: Agent
    generation: int
    due: float
    report: Report | None = None
    silence: str = ""
    behind_since: float | None = None
    """When it first answered that it had not got this. Before, it may have been starting."""
    patience: float = BEHIND_SECONDS
    """Seconds from then on until it is told again."""
    is_told_again: bool = False
    """Whether the next list is this one again."""
    floor: int = 0
    """Generation that the next list must reach."""
    tries: int = 0
    """Questions in a row whose answer was not that all is well."""
    unheard: int = 0
    timer: Timer | None = None
    """Asks again, unless a pass does so before."""

    @property
    def said(self) -> tuple[Report | None, str, int]:
        """What a pass makes something of."""
        return self.report, self.silence, self.floor


class Reports:
    """What each agent reported of what its pod says now.

    `ask` asks one; `clock` gives seconds that only grow, `random` a number in [0, 1); `arrived` hears of each answer
    that says something new; `call_later` calls what it is given after so many seconds of that clock.
    """

    def __init__(
        self,
        ask: Callable[[Agent, bytes], Awaitable[Report]],
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        arrived: Callable[[], None],
        call_later: Callable[[float, Callable[[], None]], Timer] = _call_later,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._random = random
        self._arrived = arrived
        self._call_later = call_later
        self._inquiries = Inquiries[_Answer](limit=AT_A_TIME, ended=self._take)
        self._key = b""
        self._known: dict[str, _Known] = {}
        """By the pod's uid."""
        self._calm = CALM_SECONDS
        self._longest = LONGEST_PAUSE_SECONDS
        self._failure: Exception | None = None
        """Of a question, which is a mistake in this program; for the next pass to tell."""

    def refresh(self, agents: Mapping[str, Agent], key: bytes) -> None:
        """Ask these agents, and no others, from now on; at once who is new or was told something else.

        Raises:
            Exception: what a question raised since the last time.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        now, self._key = self._clock(), key
        uids = {agent.uid for agent in agents.values()}
        for uid in self._known.keys() - uids:
            _stop(self._known.pop(uid))
            self._inquiries.drop(Key("", uid))
        self._calm = max(CALM_SECONDS, min(LONGEST_CALM_SECONDS, len(agents) / CALM_QUESTIONS_A_SECOND))
        restless = [known for known in self._known.values() if known.tries]
        silent = sum(known.unheard >= PATIENCE for known in restless)
        # Who does not answer takes a place for as long as is waited for it: in the long run, at most half of them.
        busy = silent * ANSWER_SECONDS / (AT_A_TIME / 2)
        self._longest = max(LONGEST_PAUSE_SECONDS, len(restless) / QUESTIONS_A_SECOND, busy)
        for agent in agents.values():
            if agent.told is not None:
                known = self._of(agent, now)
                if known.due <= now:
                    self._question(known)

    def standing(self, agent: Agent) -> Standing:
        """What is known of an agent."""
        known = self._known.get(agent.uid)
        if known is None or agent.told is None or known.generation != agent.told.generation:
            return Standing(agent)
        return Standing(agent, known.report, known.silence)

    def floor(self, agent: Agent) -> int:
        """The generation that the next list must reach; above the present one: the agent refuses that, or missed it."""
        known = self._known.get(agent.uid)
        return known.floor if known is not None else 0

    async def close(self) -> None:
        """Ask no more."""
        for known in self._known.values():
            _stop(known)
        await self._inquiries.close()

    def _of(self, agent: Agent, now: float) -> _Known:
        generation = agent.told.generation if agent.told else 0
        known = self._known.get(agent.uid)
        if known is None or known.generation != generation:
            patience = BEHIND_SECONDS
            if known is not None:
                _stop(known)
                if known.is_told_again:
                    patience = min(LONGEST_BEHIND_SECONDS, 2 * known.patience)
            known = self._known[agent.uid] = _Known(agent, generation, due=now, patience=patience)
        known.agent = agent
        return known

    def _question(self, known: _Known) -> None:
        """Ask, if the agent runs; else the pass that sees it run does, as it is due."""
        _stop(known)
        agent = known.agent
        if agent.runs and agent.address:
            self._inquiries.ask(Key("", agent.uid), lambda: self._answer(agent, self._key))
            known.due = self._clock() + self._calm  # the answer says better

    def _take(self, key: Key) -> None:
        """Take an answer in, and see to it that the agent is asked again."""
        known = self._known[key.name]
        try:
            answer = self._inquiries.take(key)
        except Exception as error:
            self._failure = error
            answer = _Answer(known.generation, unheard=True)
            self._arrived()
        if answer is None or answer.generation != known.generation:
            # It was cut off, or the agent was told something else meanwhile.
            self._again(known, FIRST_PAUSE_SECONDS)
            return
        before = known.said
        known.unheard = known.unheard + 1 if answer.unheard else 0
        if answer.report is not None or known.unheard == 0 or known.unheard >= PATIENCE:
            known.report, known.silence = answer.report, answer.words
        known.floor = answer.newer + 1 if answer.newer else 0
        known.is_told_again = answer.behind and self._has_waited(known)
        if known.is_told_again:
            known.floor = known.generation + 1
        jitter = 0.8 + 0.4 * self._random()
        if answer.report is not None and _is_calm(answer.report):
            known.tries, pause = 0, min(LONGEST_CALM_SECONDS, self._calm * jitter)
        else:
            pause = jitter * min(self._longest, FIRST_PAUSE_SECONDS * 2 ** min(known.tries, 16))
            known.tries += 1
        self._again(known, pause)
        if known.said != before:
            self._arrived()

    def _has_waited(self, known: _Known) -> bool:
        """Whether an agent that is behind has been so for as long as kubelet may take."""
        now = self._clock()
        if known.behind_since is None:
            known.behind_since = now
        return now - known.behind_since >= known.patience

    def _again(self, known: _Known, pause: float) -> None:
        known.due = self._clock() + pause
        known.timer = self._call_later(pause, lambda: self._question(known))

    async def _answer(self, agent: Agent, key: bytes) -> _Answer:
        generation = agent.told.generation if agent.told else 0
        try:
            # The nonce has done its work; without it, a report that says the same is the same.
            return _Answer(generation, replace(await self._ask(agent, key), nonce=""))
        except StaleReportError as error:
            reason = error.problem.reason if error.problem is not None else None
            return _Answer(
                generation,
                words=error.problem.words() if error.problem is not None else "",
                newer=_held(error) if reason == Reason.LIST_OLDER else 0,
                # An older agent does not say what it has got: that it is behind is the safe guess.
                behind=reason in (None, Reason.LIST_MISSING) and (error.mounted is None or error.mounted < generation),
            )
        except ReportRefusedError as error:
            return _Answer(generation, words=f"what answers for its agent is not believed: {error}")
        except AgentSilentError as error:
            return _Answer(generation, words=f"its agent does not answer: {error}", unheard=True)


def _held(error: StaleReportError) -> int:
    """Generation of the later list for which an agent refuses this one.

    One that was started since then has not carried it out itself, but knows of it by its node's record.
    """
    said = error.problem.facts.get("generation", "") if error.problem is not None else ""
    return max(error.generation, int(said) if said.isdecimal() else 0)


def _stop(known: _Known) -> None:
    if known.timer is not None:
        known.timer.cancel()
        known.timer = None


def _is_calm(report: Report) -> bool:
    return not report.problems and all(
        not runtime.problems and all(host.state is HostState.TRUSTED for host in runtime.hosts)
        for runtime in report.runtimes
    )
