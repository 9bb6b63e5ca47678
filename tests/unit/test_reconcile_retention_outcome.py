"""What became of a run, and when the next purge is due."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from regkeeper import kube, naming
from regkeeper.answer import Answer, Outcome
from regkeeper.reconcile.retention import reports
from regkeeper.reconcile.retention.outcome import REPEATED_AFTER, Conclusion, conclude, ended, purge_due
from regkeeper.reconcile.retention.reports import Subject
from regkeeper.reconcile.retention.requests import Action, Request
from regkeeper.resources.lease import Holder, Quiet, Stage
from tests.retention_decisions import DONE, HOLDER, KILLED, KNOWS_NOTHING, NOON, SWITCH, a_job, a_pod


@pytest.mark.parametrize(
    ("holder", "pod", "outcome", "says"),
    [
        (HOLDER, a_pod("Succeeded", plan=SWITCH, run=DONE), "Done", "well"),
        (HOLDER, a_pod("Failed", plan=SWITCH, run=KILLED), "Unknown", "OOMKilled, exit code 137. What it deleted"),
        (replace(HOLDER, stage=Stage.PLANNING), a_pod("Failed", plan=KILLED), "Failed", "Nothing was deleted"),
        (HOLDER, a_pod("Succeeded", plan=SWITCH, run=SWITCH), "Unknown", "without an answer"),
        (replace(HOLDER, stage=Stage.SWITCHING, aborted="too slow"), None, "Failed", "too slow. Nothing was deleted"),
        (HOLDER, None, "Unknown", "its Job was deleted"),
        (
            replace(HOLDER, stage=Stage.PLANNING),
            a_pod("Succeeded", plan=Answer(outcome=Outcome.DRY_RUN), run=KILLED),
            "DryRun",
            "",
        ),
    ],
)
def test_what_became_of_a_run(holder: Holder, pod: kube.Object | None, outcome: str, says: str) -> None:
    conclusion = conclude(holder, None if pod is None else a_job("job"), pod)
    assert conclusion.outcome == outcome
    assert says in conclusion.message


def test_a_run_may_have_changed_something_as_soon_as_it_was_let_go_with_the_registry_quiet() -> None:
    """The operator may end between the write that lets it go and the one that says how far it has come."""
    preparing = replace(HOLDER, stage=Stage.PREPARING, quiet=Quiet.READ_ONLY, quiet_since=NOON, aborted="too slow")
    waiting, let_go = a_job("job"), a_job("job", suspend=False)
    let_go["metadata"]["finalizers"] = [naming.RUN_FINALIZER]
    assert not conclude(preparing, waiting, None).is_half_done
    assert conclude(preparing, let_go, a_pod("Failed", run=KILLED)).is_lost
    assert not conclude(replace(preparing, quiet=None), let_go, a_pod("Failed", plan=KILLED)).is_half_done


def test_an_answer_that_it_failed_leaves_somebody_to_put_back_what_was_moved() -> None:
    stopped = a_pod("Failed", plan=SWITCH, run=KNOWS_NOTHING)
    assert conclude(HOLDER, a_job("job"), stopped).is_half_done
    assert not conclude(replace(HOLDER, stage=Stage.SWITCHING), a_job("job"), stopped).is_half_done
    assert not conclude(HOLDER, a_job("job"), a_pod("Succeeded", plan=SWITCH, run=DONE)).is_half_done


LATER, PASSED = NOON + timedelta(hours=2), NOON - timedelta(minutes=1)
PURGE = replace(HOLDER, retention="", action=Action.PURGE)


@pytest.mark.parametrize(
    ("holder", "conclusion", "before", "due"),
    [
        (HOLDER, Conclusion("Unknown", "", is_half_done=True), None, NOON),
        (HOLDER, Conclusion("Unknown", "", is_half_done=True), LATER, NOON),
        (PURGE, Conclusion("Unknown", "", is_half_done=True), PASSED, NOON + REPEATED_AFTER),
        (HOLDER, Conclusion("Failed", "", KNOWS_NOTHING, is_half_done=True), LATER, NOON),
        (HOLDER, Conclusion("Failed", "", KNOWS_NOTHING), LATER, LATER),
        (HOLDER, Conclusion("Failed", ""), LATER, LATER),
        (HOLDER, Conclusion("Done", "", Answer(outcome=Outcome.DONE, quarantined=0)), LATER, None),
        (
            HOLDER,
            Conclusion("Done", "", Answer(outcome=Outcome.DONE, quarantined=9, purge_due=LATER.isoformat())),
            None,
            LATER,
        ),
        (
            PURGE,
            Conclusion("Done", "", Answer(outcome=Outcome.DONE, quarantined=9, purge_due=PASSED.isoformat())),
            PASSED,
            NOON + REPEATED_AFTER,
        ),
        (PURGE, Conclusion("Failed", "", KNOWS_NOTHING), PASSED, NOON + REPEATED_AFTER),
        # A window that ended while the run was under way: nobody has tried yet.
        (
            replace(HOLDER, since=PASSED - timedelta(minutes=1)),
            Conclusion("Done", "", Answer(outcome=Outcome.DONE, quarantined=9, purge_due=PASSED.isoformat())),
            None,
            PASSED,
        ),
    ],
)
def test_when_the_next_purge_is_due(
    holder: Holder, conclusion: Conclusion, before: datetime | None, due: datetime | None
) -> None:
    assert purge_due(before, holder, conclusion, NOON) == due


def test_an_answer_that_an_error_made_leaves_when_a_purge_is_due() -> None:
    run = ended(HOLDER, Conclusion("Failed", "", KNOWS_NOTHING), NOON)
    subject = Subject("keep-last", "job", Request())
    assert "purgeDue" not in reports.after({}, subject, run, Conclusion("Failed", "", KNOWS_NOTHING), NOON)
