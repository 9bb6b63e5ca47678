"""Judges the repositories with dependants, in rounds: what goes in one may be the subject of what goes in the next."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set

from regkeeper.retention.judging.judgement import Judgement
from regkeeper.retention.judging.subjects import Subjects
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Subject
from regkeeper.retention.volume.repository import Repository


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
    return _Rounds(repositories, settled, judge, Subjects(certain=certain)).judge()


class _Rounds:
    def __init__(
        self,
        repositories: Sequence[Repository],
        settled: Iterable[tuple[bytes, bytes]],
        judge: Callable[[Repository, Subjects], Judgement],
        subjects: Subjects,
    ) -> None:
        self.repositories = repositories
        self.ask = judge
        self.subjects = subjects
        self.judgements: dict[int, Judgement] = {}
        self.named = [set(subjects_named(repository)) for repository in repositories]
        wanted = set[Subject]().union(*self.named)
        elsewhere: set[Subject] = set()
        lost: set[Subject] = set()
        for kept, deleted in settled:
            elsewhere.update(wanted.intersection(_split(kept)))
            lost.update(wanted.intersection(_split(deleted)))
        self.here = [wanted & _subjects(repository) for repository in repositories]
        self.holders: dict[Subject, set[int]] = defaultdict(set)
        """Of each subject the repositories that have it and have not been found to doubt it."""
        for number, here in enumerate(self.here):
            for subject in here:
                self.holders[subject].add(number)
        subjects.shared = {subject for subject, numbers in self.holders.items() if len(numbers) > 1}
        staying = elsewhere.union(*self.here)
        subjects.present = staying | lost
        subjects.going = subjects.present - staying
        subjects.keepers = {subject: {""} if subject in elsewhere else set() for subject in subjects.present}

    def judge(self) -> list[Judgement]:
        """Judge until no judgement keeps what goes by another.

        What goes in a round goes in all later ones, in which less is kept. Should it not be so, what stays after all is
        from then on known to stay, and all is judged again: never may it lose what is about it.
        """
        self._judge_all()
        while mistaken := {subject for subject in self.subjects.going if self.subjects.keepers[subject]}:
            self.subjects.going -= mistaken
            for subject in mistaken:
                self.subjects.keepers[subject].add("")
            self._judge_all()
        return [self.judgements[number] for number in range(len(self.repositories))]

    def _judge_all(self) -> None:
        subjects = self.subjects
        changed = set(range(len(self.repositories)))
        while changed:
            self._judge(changed)
            departed = {subject for subject, names in subjects.keepers.items() if not names} - subjects.going
            subjects.going |= departed
            changed = self._concerned(departed)

    def _judge(self, numbers: Set[int]) -> None:
        """Judge some repositories, each again when others change what it went by.

        First what is doubtful; then which of that is kept all the same. What no repository keeps for a reason of its
        own goes: copies of an image, each of which would stay for the dependants of another one. In steps of all
        together, so that the order of repositories decides nothing.
        """
        for number in numbers:
            for subject in self.here[number]:
                self.subjects.keepers[subject].discard(self.repositories[number].name)
        waiting = set(numbers)
        while waiting:
            waiting = self._doubt(waiting)
        waiting = set(numbers)
        while waiting := self._find_keepers(waiting):
            self._ask(waiting)

    def _ask(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.judgements[number] = self.ask(self.repositories[number], self.subjects)

    def _doubt(self, numbers: Set[int]) -> set[int]:
        """Judge; answers the repositories in whose judgement there were not yet all doubts."""
        self._ask(numbers)
        subjects = self.subjects
        new: set[Subject] = set()
        for number in numbers:
            for subject in self.here[number].intersection(map(digests.subject, self.judgements[number].doubtful)):
                self.holders[subject].discard(number)
                if not self.holders[subject]:
                    new.add(subject)
        new -= subjects.doubted
        subjects.doubted |= new
        if not new:
            return set()
        return {
            number
            for number, named in enumerate(self.named)
            if named & (new & subjects.shared | new - self.here[number])  # what it alone has, it has doubted by itself
        }

    def _find_keepers(self, numbers: Set[int]) -> set[int]:
        """Note which subjects repositories keep; answers those where dependants waited for that."""
        keepers = self.subjects.keepers
        found: dict[Subject, set[str]] = defaultdict(set)
        for number in numbers:
            for subject in self.here[number].intersection(map(digests.subject, self.judgements[number].alive)):
                found[subject].add(self.repositories[number].name)
        new = {subject for subject in found if not keepers[subject]} & self.subjects.doubted
        for subject, names in found.items():
            keepers[subject] |= names
        return {
            number
            for number, named in enumerate(self.named)
            if any(self.repositories[number].name not in keepers[subject] for subject in named & new)
        }

    def _concerned(self, departed: Set[Subject]) -> set[int]:
        """The repositories that name subjects which go, and all that may keep something because one of them does."""
        found: set[int] = set()
        lost = set(departed)
        while lost:
            new = {number for number, named in enumerate(self.named) if named & lost} - found
            found |= new
            lost = set[Subject]().union(*(self.here[number] for number in new))
        return found


def subjects_named(repository: Repository) -> Iterable[Subject]:
    """The subjects of a repository's dependants, wherever they are."""
    for manifest in repository.manifests.values():
        if manifest.subject is not None:
            yield digests.subject(manifest.subject)
    for name in repository.tags:
        subject = digests.subject_of_tag(name)
        if subject is not None:
            yield subject


def _subjects(repository: Repository) -> set[Subject]:
    """The manifests of a repository as others may name them."""
    return {digests.subject(digest) for digest in (*repository.revisions, *repository.corrupt)}


def _split(joined: bytes) -> Iterable[Subject]:
    """The subjects that joined digests are; each begins with its algorithm's code, which tells its length."""
    position = 0
    while position < len(joined):
        size = digests.BY_CODE[joined[position]].size
        yield digests.subject(joined[position : position + size])
        position += size
