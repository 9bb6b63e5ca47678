"""What becomes of signatures, attestations and other dependants, given where their subjects stand."""

from regkeeper.retention.judging.question import Question, Verdict
from regkeeper.retention.judging.subjects import State, Subjects
from regkeeper.retention.policies.rules import plausible
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import UNREADABLE_SUBJECT, Subject


def dependant_verdict(question: Question, subjects: Subjects, subject: Subject, pushed: int) -> Verdict:
    """The verdict on a tag or manifest that lives as long as its subject.

    Args:
        question: what the plan is made from.
        subjects: where subjects stand.
        subject: the digest that it is about.
        pushed: its own push time.
    """
    state = subjects.state(subject)
    if subject == UNREADABLE_SUBJECT:
        return Verdict(False, "its subject can't be read")
    if state is State.UNKNOWN:
        return Verdict(False, "its subject is named by a digest by which it can't be looked up")
    name = digests.short(subject)
    if state is State.ALIVE:
        return Verdict(False, f"its subject {name} stays")
    if state is State.GOING:
        return Verdict(True, f"its subject {name} goes")
    after = question.intent.orphaned_for
    if after is None:
        by_policy = "; the policy has no `dependants`" if question.intent.policies else ""
        return Verdict(False, f"its subject {name} is nowhere{by_policy}")
    if not plausible(pushed, question.now) or question.now - pushed <= after:
        return Verdict(False, f"its subject {name} is nowhere, but not for long enough")
    return Verdict(True, f"its subject {name} has been nowhere for too long")
