"""Which manifests of one repository stay: what tags point to, what has no cause to go, and what is below either."""

from collections import defaultdict
from collections.abc import Collection, Iterable

from regkeeper.retention.judging.closures import closure
from regkeeper.retention.judging.subjects import Subjects
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest, Subject
from regkeeper.retention.volume.repository import Repository


class Staying:
    """Finds what stays.

    A dependant, and what it would take along, keeps its own subject alive no more than it does itself: it counts once
    its subject is found to stay for another reason.

    Args:
        repository: the repository.
        candidates: the manifests with a cause to go.
        kept: the reason of each without one. Those of what is found below others are added.
        unclaimed: those of them that stay only as long as nothing takes them along.
        waiting: dependants that stay if their subject does, with their subjects, which no other repository is known
            to keep. One that has several stays if any of them does.
        fallen: dependants that only their subjects keep any more, which may be about them in turn.
        loose: those of `kept` that stay only for a subject, or only as long as nothing takes them along: the others
            stay, whatever becomes of what they are about.
        subjects: what is known of other repositories. A subject that one of them keeps, whatever it is about, starts no
            doubt: else what nobody asked about would go with a copy elsewhere.

    Attributes:
        doubtful: the manifests that go if their subject does, or what lists them, and nothing else keeps them.
    """

    def __init__(
        self,
        repository: Repository,
        candidates: Collection[Digest],
        kept: dict[Digest, str],
        *,
        unclaimed: set[Digest],
        waiting: list[tuple[Digest, Subject]],
        fallen: set[Digest],
        loose: set[Digest],
        subjects: Subjects,
    ) -> None:
        self.repository = repository
        self.candidates = candidates
        self.kept = kept
        self.unclaimed = unclaimed
        self.waiting = waiting
        self.fallen = fallen
        self.loose = loose
        self.subjects = subjects
        self.doubtful: set[Digest] = set()
        self.alive: set[Digest] = set()

    def find(self, roots: Iterable[Digest]) -> set[Digest]:
        """The manifests that stay, given those that staying tags point to."""
        waiting = self._doubt()
        self._add(roots)
        self._add([digest for digest, subject in self.waiting if subject not in waiting])
        self._add([digest for digest in self.kept if digest not in self.doubtful or digest not in self.loose])
        new: Iterable[Digest] = self.alive if waiting else ()
        while ready := [digest for subject in map(digests.subject, new) for digest in waiting.pop(subject, ())]:
            new = self._add(ready)
        return self.alive

    def _doubt(self) -> dict[Subject, list[Digest]]:
        """Find what is doubtful; answers the dependants among it, by subject."""
        dependants: dict[Subject, list[Digest]] = defaultdict(list)
        for digest, subject in self.waiting:
            dependants[subject].append(digest)
        waiting: dict[Subject, list[Digest]] = {}
        new = dependants.keys() & self.subjects.doubted
        new |= self._here_alone((*self.candidates, *self.fallen)) if dependants else set()
        while new:
            subject = new.pop()
            if ready := dependants.pop(subject, None):
                waiting[subject] = ready
                below = [child for child, _ in closure(self.repository, ready, mentions=False)]
                more = {*ready, *self.loose.intersection(below)} - self.doubtful
                self.doubtful |= more
                new |= self._here_alone(more)
        return waiting

    def _here_alone(self, manifests: Iterable[Digest]) -> set[Subject]:
        """Those that no other repository has, as subjects."""
        return set(map(digests.subject, manifests)) - self.subjects.shared

    def _add(self, roots: Iterable[Digest]) -> list[Digest]:
        """Add manifests and what is below them; answers these."""
        new = [digest for digest in roots if digest not in self.alive]
        self.alive.update(new)
        for child, parent in closure(self.repository, new):
            if child in self.candidates or child in self.unclaimed or child not in self.kept:
                self.kept[child] = f"child of {digests.short(parent)}"
            self.alive.add(child)
            new.append(child)
        return new
