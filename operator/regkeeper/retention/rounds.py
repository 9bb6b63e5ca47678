"""Judges the repositories with dependants, in rounds: what goes in one may be the subject of what goes in the next."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from regkeeper.retention import digests
from regkeeper.retention.digests import Digest, Subject
from regkeeper.retention.judgement import Judgement
from regkeeper.retention.repository import Repository
from regkeeper.retention.subjects import Subjects


def judge_in_rounds(
    repositories: Sequence[Repository],
    settled: Iterable[tuple[bytes, bytes]],
    judge: Callable[[Repository, Subjects], Judgement],
    *,
    certain: bool,
) -> list[Judgement]:
    """The judgements on repositories that name subjects, in their order.

    Each is judged again when a subject that it names turns out to go.

    Args:
        repositories: those that name subjects.
        settled: of each other repository the manifests that stay and those that go, joined.
        judge: the judgement on one, given what is known of subjects.
        certain: False if a repository could not be listed, so that nothing can be said to be nowhere.
    """
    if not repositories:
        return []
    subjects = Subjects(certain=certain)
    named = [set(subjects_named(repository)) for repository in repositories]
    wanted = set[Subject]().union(*named)
    elsewhere: set[Subject] = set()
    for kept, lost in settled:
        elsewhere.update(wanted.intersection(_split(kept)))
        subjects.present.update(wanted.intersection(_split(lost)))
    subjects.present |= elsewhere
    here = [wanted & _subjects(repository) for repository in repositories]
    subjects.present = subjects.present.union(*here)
    subjects.keepers = {subject: {""} for subject in elsewhere}
    for repository, kept_here in zip(repositories, here, strict=True):
        for subject in kept_here:
            subjects.keepers.setdefault(subject, set()).add(repository.name)
    subjects.going = subjects.present - subjects.keepers.keys()
    judgements: dict[int, Judgement] = {}
    waiting: Sequence[int] = range(len(repositories))
    while waiting:
        departed: dict[Subject, set[str]] = defaultdict(set)
        for number in waiting:
            repository = repositories[number]
            judgements[number] = judge(repository, subjects)
            gone = here[number] - _subjects(repository, without=set(judgements[number].going))
            here[number] -= gone
            for subject in gone:
                departed[subject].add(repository.name)
        # Together, so that the order of repositories decides nothing.
        for subject, names in departed.items():
            subjects.keepers[subject] -= names
            if not subjects.keepers[subject]:
                subjects.going.add(subject)
        waiting = [number for number, wants in enumerate(named) if not departed.keys().isdisjoint(wants)]
    return [judgements[number] for number in range(len(repositories))]


def subjects_named(repository: Repository) -> Iterable[Subject]:
    """The subjects of a repository's dependants, wherever they are."""
    for manifest in repository.manifests.values():
        if manifest.subject is not None:
            yield digests.subject(manifest.subject)
    for name in repository.tags:
        subject = digests.subject_of_tag(name)
        if subject is not None:
            yield subject


def _subjects(repository: Repository, without: frozenset[Digest] | set[Digest] = frozenset()) -> set[Subject]:
    """The manifests of a repository as others may name them."""
    here = repository.revisions.keys() | repository.corrupt.keys()
    return {digests.subject(digest) for digest in here if digest not in without}


def _split(joined: bytes) -> Iterable[Subject]:
    """The subjects that joined digests are; each begins with its algorithm's code, which tells its length."""
    position = 0
    while position < len(joined):
        size = digests.BY_CODE[joined[position]].size
        yield digests.subject(joined[position : position + size])
        position += size
