"""Rounds of judgements, with a judge who takes back what it said, as the real one must not."""

from regkeeper.retention.judging.judgement import Judgement
from regkeeper.retention.judging.rounds import judge_in_rounds
from regkeeper.retention.judging.subjects import State, Subjects
from regkeeper.retention.judging.tag_verdicts import TagVerdicts
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.repository import NO_LINK, Repository, Tag

IMAGE, SIGNATURE = (digests.compute(content, digests.SHA256) for content in (b"image", b"signature"))


def test_what_stays_after_all_loses_nothing_that_is_about_it() -> None:
    repository = Repository(
        "app",
        tags={f"sha256-{digests.to_hex(IMAGE)}.sig": Tag(SIGNATURE, NO_LINK)},
        revisions=dict.fromkeys((IMAGE, SIGNATURE), NO_LINK),
    )
    states: list[State] = []

    def judge(repository: Repository, subjects: Subjects) -> Judgement:
        states.append(subjects.state(digests.subject(IMAGE)))
        taken_back = State.GOING in states
        return Judgement(
            repository.name, TagVerdicts(), alive={IMAGE} if taken_back else set(), doubtful={IMAGE, SIGNATURE}
        )

    judge_in_rounds([repository], [], judge, certain=True)
    assert State.GOING in states
    assert states[-1] is State.ALIVE
