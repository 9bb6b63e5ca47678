"""Which manifests of one repository stay: what tags point to, what has no cause to go, and what is below either."""

from collections import defaultdict
from collections.abc import Collection, Iterable

from regkeeper.retention import digests
from regkeeper.retention.closures import closure
from regkeeper.retention.digests import Digest, Subject
from regkeeper.retention.repository import Repository


class Staying:
    """Finds what stays.

    A dependant, and what it would take along, keeps its own subject alive no more than it does itself: it counts once
    its subject is found to stay for another reason.

    Args:
        repository: the repository.
        candidates: the manifests with a cause to go.
        kept: the reason of each without one. Those of what is found below others are added.
        unclaimed: those of them that stay only as long as nothing takes them along.
        waiting: dependants that stay because their subject does, which is in this repository alone.
    """

    def __init__(
        self,
        repository: Repository,
        candidates: Collection[Digest],
        kept: dict[Digest, str],
        unclaimed: set[Digest],
        waiting: list[tuple[Digest, Subject]],
    ) -> None:
        self.repository = repository
        self.candidates = candidates
        self.kept = kept
        self.unclaimed = unclaimed
        self.waiting = waiting
        self.alive: set[Digest] = set()

    def find(self, roots: Iterable[Digest]) -> set[Digest]:
        """The manifests that stay, given those that staying tags point to."""
        waiting, doubtful = self._doubtful()
        self._add(roots)
        self._add([digest for digest, _ in self.waiting if digest not in doubtful])
        self._add([digest for digest in self.kept if digest not in doubtful])
        new: Iterable[Digest] = self.alive if waiting else ()
        while ready := [digest for subject in map(digests.subject, new) for digest in waiting.pop(subject, ())]:
            new = self._add(ready)
        return self.alive

    def _doubtful(self) -> tuple[dict[Subject, list[Digest]], set[Digest]]:
        """The dependants, by subject, whose subject may go; and all that would go then, itself a subject of others."""
        dependants: dict[Subject, list[Digest]] = defaultdict(list)
        for digest, subject in self.waiting:
            dependants[subject].append(digest)
        waiting: dict[Subject, list[Digest]] = {}
        doubtful: set[Digest] = set()
        new = list(self.candidates) if dependants else []
        while new:
            subject = digests.subject(new.pop())
            if ready := dependants.pop(subject, None):
                waiting[subject] = ready
                below = [child for child, _ in closure(self.repository, ready, mentions=False)]
                more = {*ready, *self.unclaimed.intersection(below)} - doubtful
                doubtful |= more
                new.extend(more)
        return waiting, doubtful

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
