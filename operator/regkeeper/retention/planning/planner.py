"""Making a plan: read each repository, judge it, then see which blobs nothing needs.

Repositories are read, and blobs looked for, in several processes if need be (spread.py). Each has one repository in
memory at a time, save those with signatures or other dependants: what becomes of these is known
only when every subject has been looked up on the whole volume. What remains of the others is what the plan shows and,
in bytes, the digests that they need.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from math import ceil
from operator import itemgetter

from regkeeper.retention.judging.judgement import Judgement, judge
from regkeeper.retention.judging.question import Question
from regkeeper.retention.judging.rounds import judge_in_rounds, subjects_named
from regkeeper.retention.judging.subjects import Subjects
from regkeeper.retention.planning.early import Early
from regkeeper.retention.planning.freeing import freed_blobs
from regkeeper.retention.planning.limits import Limits, refusal
from regkeeper.retention.planning.plan import Plan, RepositoryPlan
from regkeeper.retention.planning.planned_moves import PlannedMoves
from regkeeper.retention.planning.settling import Ledger, Settler, Stretch
from regkeeper.retention.policies.rules import Rule
from regkeeper.retention.processes.collector import paused_collector
from regkeeper.retention.processes.read_ahead import SAMPLE, WAITS, read_ahead, waits_for_nothing, waits_of_this_thread
from regkeeper.retention.processes.spread import spread
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.volume.histories import departures
from regkeeper.retention.volume.layout import Found, Volume, repository_path, walk_repositories
from regkeeper.retention.volume.repository import Problem, Repository
from regkeeper.retention.volume.repository_reader import RepositoryReader

Progress = Callable[[str], None]

_STRETCH = 8
"""Repositories that a process takes at once, at most."""

WAITING = 4
"""Processes that read while the storage makes them wait. Others touch ahead of them what they read."""

LOOKING = 8
"""Processes that look for blobs then, with little work between two files."""

_STAYS = "half written, and could not be moved: it is tried again when it changes, or when something else goes"

_LEDGER = 32
"""Stretches of which a process passes the digests on together: to pass them at last would take their memory twice."""


class Planner:
    """Makes one plan.

    Args:
        volume: the volume to read. Nothing on it is changed.
        question: what to plan.
        reader: reads its repositories.
        offline: no registry serves the volume, so that old uploads may go.
        repositories_before: how many the last run saw, if that is known.
        processes: how many may read at once; what `reader` remembers of it this one alone is told.
        early: what was read of it before the question was known.
        waits: as for `read_ahead`.
        progress: called with the name of each repository that has been read.
    """

    def __init__(
        self,
        volume: Volume,
        question: Question,
        *,
        reader: RepositoryReader | None = None,
        offline: bool = False,
        repositories_before: int | None = None,
        processes: int = 1,
        early: Early | None = None,
        waits: Callable[[], int] = waits_of_this_thread,
        progress: Progress = lambda _: None,
    ) -> None:
        self.volume = volume
        self.question = question
        self.reader = reader or RepositoryReader(volume)
        self.offline = offline
        self.repositories_before = repositories_before
        self.processes = processes
        self.early = early
        self.progress = progress
        self.plan = Plan(question.now, rules=question.intent.fingerprint, policies=question.intent.policies)
        self.settler = Settler(volume, question, offline=offline)
        self.answered: set[str] = set()
        self.waits = waits
        self.waiting = False  # the storage makes who reads wait
        self.uncertain = False  # something may need what no longer seems to be needed
        self.entries: dict[int, RepositoryPlan] = {}
        self.settled: list[tuple[bytes, bytes]] = []
        self.pending: dict[int, Repository] = {}

    def make(self) -> Plan:
        """The plan.

        Raises:
            NotPermittedError: something may not be read.
            RetentionError: another process that read for it was killed.
        """
        with paused_collector():
            self._judge_repositories()
            self._find_blobs()
        self._leave_immovable()
        self.plan.entries = sorted(self.entries.values(), key=lambda entry: entry.name)
        # They come in the order in which directories list; plans of the same volume are the same.
        self.plan.problems.sort(key=lambda problem: (problem.repository, problem.where, problem.message))
        self.plan.unmatched = [
            reference.text for reference in self.question.intent.deletions if reference.text not in self.answered
        ]
        self.plan.warnings.extend(
            f"rule {rule.label} covers no tag: check its patterns"
            for rule in self.question.intent.rules
            if self.plan.entries and not self._covers_something(rule)
        )
        if self.question.intent.uploads_after is not None and not self.offline:
            self.plan.warnings.append("uploads stay: they may go only while the registry is stopped (--mode Offline)")
        Limits(self.volume, self.question, self.reader).apply(self.plan, self.settler.ledger.counts)
        self.plan.refusal = refusal(self.volume, self.plan.repositories, self.repositories_before)
        return self.plan

    def _covers_something(self, rule: Rule) -> bool:
        covered = (entry for entry in self.plan.entries if rule.covers_repository(entry.name))
        return any(rule.covers_tag(row.tag) for entry in covered for row in entry.tags)

    # Repositories.

    def _judge_repositories(self) -> None:
        found = list(walk_repositories(self.volume)) if self.early is None else self.early.found
        self._note_waiting(found)
        self.reader.remember(self.reader.notes())  # on what was read early: each process would have them otherwise
        size = 1 if self.waiting else max(1, min(_STRETCH, len(found) // (4 * self.processes)))
        touch = partial(self._touch, found) if self.waiting else None
        read = partial(self._read, found, size)
        waiting: dict[int, Stretch] = {}
        taken = 0
        for part in spread(ceil(len(found) / size), read, WAITING if self.waiting else self.processes, touch):
            if isinstance(part, Ledger):
                self.settler.ledger.merge(part)
                continue
            for name in part.names:
                self.progress(name)
            waiting[part.number] = part
            while taken in waiting:  # in the order of the walk, whichever process was faster
                self._take(waiting.pop(taken))
                taken += 1
        if self.early is not None:
            self.early.repositories.clear()  # those that other processes took
        self._settle_pending()

    def _note_waiting(self, found: Sequence[Found]) -> None:
        """Look at some repositories: if the storage makes one wait, more processes read at once, without threads.

        Those would take the processors from each other: Python lets one at a time do more than wait.
        """
        if self.processes == 1:
            return
        if self.early is not None and len(self.early.repositories) >= SAMPLE:
            waited = self.early.waits * SAMPLE // len(self.early.repositories)
        else:
            before = self.waits()
            for place in range(0, len(found), len(found) // SAMPLE + 1):
                self._touch(found, place)
            waited = self.waits() - before
        if waited >= WAITS:
            self.waiting = True
            self.waits = waits_for_nothing

    def _take(self, stretch: Stretch) -> None:
        """Take a stretch into the plan."""
        self.entries.update(stretch.entries)
        self.plan.moves.extend(stretch.moves)
        self.plan.kept.extend(stretch.kept)
        self.plan.problems.extend(stretch.problems)
        self.plan.repositories += len(stretch.names)
        self.reader.remember(stretch.notes)
        self.answered |= stretch.answered
        self.uncertain |= stretch.uncertain
        self.settled.extend(stretch.revisions)
        self.pending.update(stretch.pending)

    def _read(self, found: Sequence[Found], size: int, numbers: Iterator[int]) -> Iterator[Stretch | Ledger]:
        """Read and judge stretches of so many repositories; those whose judgement has to wait are only read.

        Args:
            found: all that the walk came across; the place of a repository is its number in it.
            size: of a stretch.
            numbers: of stretches, as this process takes them.
        """
        settler = Settler(self.volume, self.question, offline=self.offline)
        places = (
            (number, place)
            for number in numbers
            for place in range(number * size, min((number + 1) * size, len(found)))
        )
        ahead = read_ahead(places, lambda at: self._touch(found, at[1]), waits=self.waits)
        for count, (number, places_of_one) in enumerate(groupby(ahead, itemgetter(0)), 1):
            stretch = Stretch(number)
            for _, place in places_of_one:
                self._read_one(place, found[place], stretch, settler)
            stretch.notes = self.reader.notes()
            yield stretch
            if count % _LEDGER == 0:
                yield settler.ledger
                settler.ledger = Ledger()
        yield settler.ledger

    def _touch(self, found: Sequence[Found], place: int) -> None:
        if not found[place].problem:
            self.reader.touch(found[place].name)

    def _read_one(self, place: int, found: Found, stretch: Stretch, settler: Settler) -> None:
        if found.problem:
            stretch.problems.append(Problem(found.name, repository_path(found.name), found.problem))
            stretch.uncertain = True
            return
        early = None if self.early is None else self.early.repositories.pop(place, None)
        repository = early or self.reader.read(found.name)
        stretch.names.append(found.name)
        stretch.uncertain |= repository.opaque
        if any(True for _ in subjects_named(repository)):
            stretch.pending[place] = repository
            return
        judgement = self._judge(repository, Subjects())
        going = set(judgement.going)
        staying = (repository.revisions.keys() | repository.corrupt.keys()) - going
        stretch.revisions.append((b"".join(staying), b"".join(going)))
        settler.settle(place, repository, judgement, stretch)

    def _settle_pending(self) -> None:
        """Judge and settle those repositories that had to wait for the others."""
        repositories = list(self.pending.values())
        judgements = judge_in_rounds(repositories, self.settled, self._judge, certain=not self.uncertain)
        late = Stretch(-1)
        for place, repository, judgement in zip(self.pending, repositories, judgements, strict=True):
            self.settler.settle(place, repository, judgement, late)
        self._take(late)
        self.settled.clear()
        self.pending.clear()

    def _judge(self, repository: Repository, subjects: Subjects) -> Judgement:
        return judge(self.question, repository, subjects, lambda: departures(self.volume, repository))

    # Blobs.

    def _find_blobs(self) -> None:
        if self.uncertain:
            return
        processes = LOOKING if self.waiting else self.processes
        for freed in freed_blobs(self.volume, self.question, self.settler.ledger, processes, self.waits):
            self.plan.moves.extend(freed.moves)
            self.plan.problems.extend(freed.problems)
            self.settler.ledger.counts.kept_bytes += freed.kept_bytes
            for number, size in freed.deleted_bytes.items():
                self.entries[number].deleted_bytes += size

    def _leave_immovable(self) -> None:
        """Let nothing go if that is only what could not be moved: each run would stop pushes for nothing."""
        moves = self.plan.moves
        if moves.count(Kind.TEMPORARY) == len(moves) > 0 and self.question.immovable.issuperset(moves):
            self.plan.problems.extend(Problem("", move.path, _STAYS) for move in moves)
            self.plan.moves = PlannedMoves()
