"""What reports mean for a Registry's status, and when a node has forgotten."""

from typing import Any

import pytest

from regkeeper.nodes.desired import TrustList
from regkeeper.nodes.reasons import Problem, Reason
from regkeeper.nodes.report import HostReport, HostState, Report, RuntimeReport, reported
from regkeeper.reconcile.trust.agents import STARTING, Agent
from regkeeper.reconcile.trust.judgement import Standing, Verdict, debt, has_forgotten, is_reverted, judge

HOST = "k8smaster:5000"
FLAG = reported(Problem(Reason.FLAG_CONFLICT, {"where": "docker.service", "path": "/etc/docker/daemon.json"}))
TWO_DAEMONS = reported(Problem(Reason.TWO_DAEMONS, {"path": "/run/docker.sock"}))


def agent(*hosts: str, **fields: Any) -> Agent:
    told = TrustList(generation=1, cluster="here", sets=(hosts,), nodes={"node": 0})
    shape: dict[str, Any] = {
        "node": "node",
        "pod": "agent",
        "uid": "uid",
        "address": "10.0.0.1",
        "told": told,
        "runs": True,
        "trouble": "",
    }
    return Agent(**{**shape, **fields})


def runtime(state: HostState, problem: Any = None, *, reverted: bool = False, problems: Any = ()) -> RuntimeReport:
    host = HostReport(host=HOST, state=state, ours=True, problem=problem)
    return RuntimeReport(runtime="docker", hosts=(host,), problems=problems, reverted=reverted)


def report(*runtimes: RuntimeReport, problems: Any = ()) -> Report:
    return Report(node="node", pod_uid="uid", generation=1, runtimes=runtimes, problems=problems)


TRUSTS = Standing(agent(HOST), report(runtime(HostState.TRUSTED)))


def verdict(**standings: Standing) -> Verdict:
    return judge([HOST], standings, [])


def test_all_nodes_trust() -> None:
    said = verdict(one=TRUSTS, two=TRUSTS)
    assert (said.state.status, said.state.reason, said.trusted, said.selected) == ("True", "Trusted", 2, 2)
    assert said.state.message == "2/2 nodes trust k8smaster:5000."


@pytest.mark.parametrize(
    ("standing", "reason", "words"),
    [
        (Standing(), "NoAgent", "no agent runs there yet"),
        (Standing(silence="PodSecurity"), "AgentRefused", "PodSecurity"),
        (Standing(agent(runs=False, trouble=STARTING)), "AgentNotRunning", STARTING),
        (Standing(agent(runs=False, trouble="ErrImagePull x")), "AgentNotRunning", "ErrImagePull"),
        (Standing(agent(HOST)), "Waiting", "not reported"),
        (Standing(agent("other:5000"), report(runtime(HostState.TRUSTED))), "Waiting", "yet to be told"),
        (Standing(agent(told=None)), "Waiting", "yet to be told"),
        (
            Standing(agent(HOST), report(runtime(HostState.TRUSTED)), untold="refused by a webhook"),
            "NotTold",
            "webhook",
        ),
        (Standing(agent(HOST), silence="its agent does not answer: refused"), "NoReport", "refused"),
        (Standing(agent(HOST), report()), "NoRuntime", "no container runtime"),
        (Standing(agent(HOST), report(problems=(FLAG,))), "FlagConflict", "remove the flag"),
        (Standing(agent(HOST), report(runtime(HostState.PENDING))), "Verifying", "docker is asking"),
        (Standing(agent(HOST), report(runtime(HostState.BLOCKED, FLAG))), "FlagConflict", "remove the flag"),
    ],
)
def test_a_node_that_lags_is_named_with_words_to_act_on(standing: Standing, reason: str, words: str) -> None:
    said = verdict(one=TRUSTS, two=standing)
    assert (said.state.status, said.trusted, said.selected) == ("False", 1, 2)
    (lag,) = said.lags
    assert (lag.node, lag.reason) == ("two", reason)
    assert words in lag.message
    assert f"two: {lag.message}" in said.state.message


@pytest.mark.parametrize(
    ("standing", "reason"),
    [(Standing(), "Progressing"), (Standing(agent(HOST), report(problems=(FLAG,))), "NodesLag")],
)
def test_what_passes_by_itself_is_told_from_what_needs_a_person(standing: Standing, reason: str) -> None:
    assert verdict(one=standing).state.reason == reason


def test_the_status_stays_small_in_a_large_cluster() -> None:
    blocked = Standing(agent(HOST), report(runtime(HostState.BLOCKED, FLAG)))
    standings = {f"node-{number:04}": Standing() for number in range(5000)} | {"zzz": blocked}
    said = judge([HOST], standings, [])
    assert len(said.lags) == 5
    assert said.lags[0].node == "zzz", "what needs a person comes first"
    assert "and 4996 more" in said.state.message
    assert len(said.state.message) < 2000


def test_the_status_stays_small_whatever_5000_agents_say() -> None:
    """etcd takes objects of 1.5 MiB, and each watcher of Registries gets all of it."""
    long = reported(Problem(Reason.UNSUPPORTED, {"detail": "x" * 10_000}))
    blocked = Standing(agent(HOST), report(runtime(HostState.BLOCKED, long)))
    said = judge(
        [HOST], {f"{'n' * 240}-{number:04}": blocked for number in range(5000)}, [f"w{n}" for n in range(5000)]
    )
    assert (said.trusted, said.selected) == (0, 5000)
    written = [said.state.message, *(f"{lag.node}{lag.reason}{lag.message}" for lag in said.lags)]
    assert sum(map(len, written)) < 8 << 10


def test_no_node_and_no_linux_are_said() -> None:
    assert judge([HOST], {}, []).state.reason == "NoNodes"
    assert "no Linux: windows" in judge([HOST], {"one": TRUSTS}, ["windows"]).state.message


@pytest.mark.parametrize(
    ("standing", "forgotten", "reverted"),
    [
        (Standing(agent(), report()), True, True),
        (Standing(agent("other:5000"), report()), True, False),
        (Standing(agent(HOST), report()), False, False),
        (Standing(agent()), False, False),
        (Standing(), False, False),
        (Standing(agent(told=None), report()), False, False),
        (Standing(agent(), report(problems=(FLAG,))), False, False),
        (Standing(agent(), report(runtime(HostState.TRUSTED, reverted=True, problems=(FLAG,)))), True, True),
        (Standing(agent(), report(runtime(HostState.TRUSTED, problems=(FLAG,)))), False, False),
        (Standing(agent("other:5000"), report(runtime(HostState.TRUSTED))), True, False),
        (Standing(agent("other:5000"), report(runtime(HostState.TRUSTED, problems=(TWO_DAEMONS,)))), True, False),
        (Standing(agent(), report(runtime(HostState.TRUSTED, problems=(TWO_DAEMONS, FLAG)))), False, False),
        (Standing(agent(), report(), untold="refused by a webhook"), False, False),
    ],
)
def test_only_a_report_about_what_the_pod_says_now_proves_that_a_node_has_forgotten(
    standing: Standing, forgotten: bool, reverted: bool
) -> None:
    assert has_forgotten(standing, [HOST]) is forgotten
    assert is_reverted(standing) is reverted
    assert (debt("node", standing, [HOST]) is None) is forgotten


@pytest.mark.parametrize(
    ("standing", "reason", "words", "passing"),
    [
        (Standing(), "NoAgent", "no agent runs there yet", True),
        (Standing(agent(runs=False, trouble="ErrImagePull x")), "AgentNotRunning", "ErrImagePull x", False),
        (Standing(agent(), silence="its agent does not answer"), "NoReport", "does not answer", False),
        (Standing(agent(), report(), untold="refused by a webhook"), "NotTold", "a webhook", False),
        (Standing(agent(HOST), report()), "Waiting", "has yet to be told", True),
        (Standing(agent()), "Waiting", "has not reported yet", True),
        (Standing(agent(), report(problems=(FLAG,))), "FlagConflict", "remove the flag", False),
        (
            Standing(agent(), report(runtime(HostState.TRUSTED, problems=(TWO_DAEMONS, FLAG)))),
            "FlagConflict",
            "remove the flag",
            False,
        ),
    ],
)
def test_what_a_node_that_has_yet_to_forget_waits_for(
    standing: Standing, reason: str, words: str, passing: bool
) -> None:
    lag = debt("node", standing, [HOST])
    assert lag is not None
    assert (lag.node, lag.reason, lag.passing) == ("node", reason, passing)
    assert words in lag.message
