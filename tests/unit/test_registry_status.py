"""Whether a Registry serves, and what its status says."""

from typing import Any

import pytest
from yarl import URL

from regkeeper.distribution import Counts
from regkeeper.reconcile.registry.diagnosis import Problem
from regkeeper.reconcile.registry.endpoints import Endpoint
from regkeeper.reconcile.registry.status import (
    FIRST_ATTEMPT_SECONDS,
    LAST_ATTEMPT_SECONDS,
    NODE_FIELDS,
    RUN_FIELDS,
    keeps_serving,
    lasting_addresses,
    next_attempt,
    not_serving,
    rollout_progress,
    serving,
    status_fields,
    unserved_nodes,
)

ENDPOINT = Endpoint("HostPort", "k8smaster:5000", URL("http://10.0.0.1:5000"))


def deployment(wanted: int = 1, *, generation: int = 1, **status: Any) -> dict[str, Any]:
    """A Deployment whose controller has seen its first generation."""
    return {
        "metadata": {"name": "main", "namespace": "images", "generation": generation},
        "spec": {"replicas": wanted, "strategy": {"type": "RollingUpdate"}},
        "status": {"observedGeneration": 1, **status},
    }


def counts_of_pods(number: int) -> dict[str, int]:
    return {"replicas": number, "updatedReplicas": number, "availableReplicas": number}


def test_a_roll_out_is_done_when_all_pods_are_new_and_ready_and_no_other_is_left() -> None:
    assert rollout_progress(deployment(2, **counts_of_pods(2))) is None
    assert rollout_progress(deployment(0)) is None


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (deployment(2), 0),
        (deployment(2, **{**counts_of_pods(2), "availableReplicas": 1}), 1),
        (deployment(2, **{**counts_of_pods(2), "updatedReplicas": 1}), 1),
        (deployment(2, **{**counts_of_pods(2), "replicas": 3}), 2),
        (deployment(2, generation=2, **counts_of_pods(2)), 0),
    ],
)
def test_a_roll_out_under_way_says_how_far_it_is(body: dict[str, Any], count: int) -> None:
    state = rollout_progress(body)
    assert state is not None
    assert (state.status, state.reason) == ("False", "Progressing")
    assert state.message == f"{count} of 2 pods are up to date and ready."


AVAILABLE = {"type": "Available", "status": "True"}


@pytest.mark.parametrize(
    ("strategy", "available", "condition", "serves"),
    [
        ("RollingUpdate", 2, AVAILABLE, True),
        ("RollingUpdate", 1, {**AVAILABLE, "status": "False"}, False),
        ("RollingUpdate", 0, AVAILABLE, False),  # one replica, which may be missing
        ("Recreate", 1, AVAILABLE, False),
    ],
)
def test_as_many_serve_as_the_strategy_promises(
    strategy: str, available: int, condition: dict[str, str], serves: bool
) -> None:
    body = deployment(3, availableReplicas=available, conditions=[condition])
    body["spec"]["strategy"]["type"] = strategy
    assert keeps_serving(body) is serves


def test_a_part_that_serves_says_how_much_is_missing() -> None:
    progress = rollout_progress(deployment(3, **counts_of_pods(2)))
    state = serving([ENDPOINT], progress)
    assert (state.status, state.reason) == ("True", "PartlyServing")
    assert state.message == "It answers at k8smaster:5000. 2 of 3 pods are up to date and ready."
    assert serving([ENDPOINT], None).reason == "Serving"


def test_nodes_that_are_not_as_many_as_replicas_are_listed() -> None:
    unserved = unserved_nodes(["k8smaster", "k8sworker1"], [], deployment(1))
    assert unserved is not None
    assert (unserved.status, unserved.reason) == ("True", "NodesNotReplicas")
    assert "1 replicas, matching nodes: k8smaster, k8sworker1" in unserved.message
    assert unserved_nodes(["k8smaster"], [], deployment(1)) is None
    assert unserved_nodes([], [], deployment(0)) is None


def test_a_name_that_no_node_has_is_named() -> None:
    unserved = unserved_nodes(None, ["k8smastr"], deployment(1))
    assert unserved is not None
    assert unserved.reason == "NodeNotFound"
    assert "there is no node k8smastr" in unserved.message


@pytest.mark.parametrize(
    ("problem", "nodes", "reason"),
    [
        (None, ["k8smaster"], "Progressing"),
        (None, [], "NodesNotReplicas"),
        (Problem("Unschedulable", "0/2 nodes"), [], "NodesNotReplicas"),
        (Problem("ImagePullBackOff", "not found"), [], "ImagePullBackOff"),
        (Problem("Unschedulable", "0/2 nodes"), ["k8smaster"], "Unschedulable"),
    ],
)
def test_nodes_that_do_not_agree_hide_no_other_trouble(problem: Problem | None, nodes: list[str], reason: str) -> None:
    body = deployment(1)
    progress = rollout_progress(body)
    assert progress is not None
    state = not_serving(progress, problem, unserved_nodes(nodes, [], body))
    assert (state.status, state.reason) == ("False", reason)


def test_looks_at_what_is_not_ready_become_rare() -> None:
    pauses = [next_attempt(attempts) for attempts in range(12)]
    assert pauses[0] == FIRST_ATTEMPT_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[-1] == LAST_ATTEMPT_SECONDS


def test_the_last_counts_stay_until_there_are_others() -> None:
    before = {"repositories": 3, "tags": 5, "countsIncomplete": True}
    assert status_fields(before, [ENDPOINT], None) == {
        **before,
        "addresses": [{"type": "HostPort", "host": "k8smaster:5000"}],
        "imagePrefix": "k8smaster:5000",
        **dict.fromkeys((*NODE_FIELDS, *RUN_FIELDS)),
    }
    after = status_fields(before, [ENDPOINT], Counts(4, 6, complete=True))
    assert (after["repositories"], after["tags"], after["countsIncomplete"]) == (4, 6, None)


def test_addresses_on_nodes_stay_until_pods_show_them_which_one_without_replicas_never_does() -> None:
    before = {"addresses": [{"type": "HostPort", "host": "k8smaster:5000"}]}
    assert lasting_addresses(before, deployment(1, **counts_of_pods(0))) == before["addresses"]
    assert lasting_addresses(before, deployment(0, **counts_of_pods(0))) == before["addresses"]
    assert lasting_addresses(before, deployment(1, **counts_of_pods(1))) == ()
    assert lasting_addresses({}, deployment(0, **counts_of_pods(0))) == ()
