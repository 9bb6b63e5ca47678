"""Plans of a Job's run that wait for an approval."""

from pathlib import Path
from typing import Any

import pytest

from regkeeper.answer import Outcome
from regkeeper.snapshot import Stage
from tests.engine.job_pod import KEEP_ONE, UNLIMITED, Pod, tags, three_tags
from tests.engine.volumes import Volume


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return three_tags(tmp_path / "registry")


def awaited(pod: Pod, spec: dict[str, Any]) -> str:
    pod.tell(Stage.PLAN, spec)
    pod.container("plan")
    answer = pod.container("run")
    assert answer.outcome is Outcome.AWAITING_APPROVAL
    return answer.hash or ""


ALWAYS = {**KEEP_ONE, "approval": "Always"}


def test_an_approved_plan_is_carried_out(volume: Volume, pod: Pod) -> None:
    approved = awaited(pod, ALWAYS)
    pod.tell(Stage.PLAN, ALWAYS, approved=approved)
    assert pod.container("plan").outcome is Outcome.SWITCH
    pod.tell(Stage.RUN, ALWAYS, approved=approved)
    answer = pod.container("run")
    assert (answer.outcome, answer.hash) == (Outcome.DONE, approved)
    assert tags(volume) == {"latest"}


def test_an_approval_is_for_its_victims_that_still_are_and_for_no_other(volume: Volume, pod: Pod) -> None:
    approved = awaited(pod, ALWAYS)
    repository = volume.repository("boke/wordpress")
    # Two pushes since: one renews a victim, the other makes a further one of `latest`.
    repository.push_image("4.9", layers=[b"base", b"again"], age=-1)
    repository.push_image("newest", layers=[b"base", b"newest"], age=-2)
    answer = pod.whole_run(ALWAYS, approved=approved)
    assert (answer.outcome, answer.deleted.tags) == (Outcome.DONE, 1)
    assert tags(volume) == {"4.9", "latest", "newest"}


def test_an_approval_of_which_nothing_is_left_says_so(volume: Volume, pod: Pod) -> None:
    approved = awaited(pod, ALWAYS)
    in_use = [(f"boke/wordpress:{tag}", "Pod a/b") for tag in ("4.9", "5.0")]
    answer = pod.whole_run(ALWAYS, approved=approved, in_use=in_use)
    assert (answer.outcome, answer.message) == (Outcome.NOTHING_TO_DO, "nothing is left of what was approved")
    assert tags(volume) == {"4.9", "5.0", "latest"}


def test_an_approval_ends_with_a_change_of_the_rules(volume: Volume, pod: Pod) -> None:
    approved = awaited(pod, ALWAYS)
    other = {**ALWAYS, "rules": [{"keep": {"last": 2}}]}
    answer = pod.whole_run(other, approved=approved)
    assert (answer.outcome, answer.message.partition(":")[0]) == (
        Outcome.REFUSED,
        "the rules have changed since the plan that was approved; nothing was deleted",
    )
    assert tags(volume) == {"4.9", "5.0", "latest"}


def test_a_limit_that_only_the_second_plan_exceeds_stops_the_run_for_an_approval(volume: Volume, pod: Pod) -> None:
    spec = {"rules": [{"keep": {"last": 1}}], "limits": {**UNLIMITED, "allowEmptyRepositories": False}}
    rule_for_all = {**spec, "rules": [{"keep": {"last": 0}}]}
    pod.tell(Stage.PLAN, spec)
    assert pod.container("plan").outcome is Outcome.SWITCH
    pod.tell(Stage.RUN, rule_for_all)
    answer = pod.container("run")
    assert (answer.outcome, answer.limits) == (Outcome.AWAITING_APPROVAL, ["boke/wordpress would lose its last tag"])
    assert tags(volume) == {"4.9", "5.0", "latest"}
    assert pod.whole_run(rule_for_all, approved=answer.hash).outcome is Outcome.DONE
