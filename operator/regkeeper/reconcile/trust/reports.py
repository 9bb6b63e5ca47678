"""The agents' reports: asked for beside the passes, again and again, the more seldom the calmer a node is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from regkeeper.nodes.reasons import Reason
from regkeeper.nodes.report import HostState, Report, ReportRefusedError, StaleReportError
from regkeeper.reconcile.inquiries import Inquiries
from regkeeper.reconcile.queue import Key
from regkeeper.reconcile.trust.agents import Agent
from regkeeper.reconcile.trust.judgement import Standing
from regkeeper.reconcile.trust.questions import AgentSilentError

AT_A_TIME = 32
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 30.0
"""Between two questions to an agent that has not yet done what it was told."""
CALM_SECONDS = 30.0
"""The same where all is well."""
CALM_QUESTIONS_A_SECOND = 20.0
"""In a cluster so large that this would be more questions than that, they are asked more seldom."""
PATIENCE = 3
"""Questions in a row without an answer that are nobody's business: pods start, packets get lost."""


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


@dataclass(slots=True)
class _Known:
    generation: int
    report: Report | None = None
    silence: str = ""
    floor: int = 0
    """Generation that the next list must reach."""
    due: float = 0.0
    tries: int = 0
    unheard: int = 0


class Reports:
    """What each agent reported of what its pod says now.

    `ask` asks one; `clock` gives seconds that only grow, `random` a number in [0, 1); `arrived` hears of each answer.
    """

    def __init__(
        self,
        ask: Callable[[Agent, bytes], Awaitable[Report]],
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        arrived: Callable[[], None],
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._random = random
        self._inquiries = Inquiries[_Answer](limit=AT_A_TIME, ended=lambda _: arrived())
        self._known: dict[str, _Known] = {}
        """By the pod's uid."""

    def refresh(self, agents: Mapping[str, Agent], key: bytes) -> float:
        """Take answers in, and ask who is due; return the seconds until the next is."""
        now = self._clock()
        uids = {agent.uid for agent in agents.values()}
        for uid in self._known.keys() - uids:
            del self._known[uid]
            self._inquiries.drop(Key("", uid))
        calm = max(CALM_SECONDS, len(agents) / CALM_QUESTIONS_A_SECOND)
        soonest = calm
        for agent in agents.values():
            if agent.told is None:
                continue
            known = self._of(agent)
            answer = self._inquiries.take(Key("", agent.uid))
            if answer is not None and answer.generation == known.generation:
                self._take(known, answer, now, calm)
            if agent.runs and agent.address:
                if known.due <= now:
                    self._inquiries.ask(Key("", agent.uid), self._question(agent, key))
                    known.due = now + calm  # the answer says better
                soonest = min(soonest, known.due - now)
        return soonest

    def standing(self, agent: Agent) -> Standing:
        """What is known of an agent."""
        known = self._known.get(agent.uid)
        if known is None or agent.told is None or known.generation != agent.told.generation:
            return Standing(agent)
        return Standing(agent, known.report, known.silence)

    def floor(self, agent: Agent) -> int:
        """The generation that the next list for this agent must reach; above its present one: it refuses that."""
        known = self._known.get(agent.uid)
        return known.floor if known is not None else 0

    async def close(self) -> None:
        """Ask no more."""
        await self._inquiries.close()

    def _of(self, agent: Agent) -> _Known:
        generation = agent.told.generation if agent.told else 0
        known = self._known.get(agent.uid)
        if known is None or known.generation != generation:
            known = self._known[agent.uid] = _Known(generation, due=self._clock())
        return known

    def _take(self, known: _Known, answer: _Answer, now: float, calm: float) -> None:
        known.unheard = known.unheard + 1 if answer.unheard else 0
        if answer.report is not None or known.unheard == 0 or known.unheard >= PATIENCE:
            known.report, known.silence = answer.report, answer.words
        known.floor = answer.newer + 1 if answer.newer else 0
        if answer.report is not None and _is_calm(answer.report):
            known.tries, pause = 0, calm
        else:
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(known.tries, 16))
            known.tries += 1
        known.due = now + pause * (0.8 + 0.4 * self._random())

    def _question(self, agent: Agent, key: bytes) -> Callable[[], Awaitable[_Answer]]:
        generation = agent.told.generation if agent.told else 0

        async def question() -> _Answer:
            try:
                return _Answer(generation, await self._ask(agent, key))
            except StaleReportError as error:
                older = error.problem is not None and error.problem.reason == Reason.LIST_OLDER
                words = error.problem.words() if error.problem is not None else ""
                return _Answer(generation, words=words, newer=error.generation if older else 0)
            except ReportRefusedError as error:
                return _Answer(generation, words=f"what answers for its agent is not believed: {error}")
            except AgentSilentError as error:
                return _Answer(generation, words=f"its agent does not answer: {error}", unheard=True)

        return question


def _is_calm(report: Report) -> bool:
    return not report.problems and all(
        not runtime.problems and all(host.state is HostState.TRUSTED for host in runtime.hosts)
        for runtime in report.runtimes
    )
