"""Making a plan: read each repository, judge it, then see which blobs nothing needs.

One repository is in memory at a time, save those with signatures or other dependants: what becomes of these is known
only when every subject has been looked up on the whole volume. What remains of the others is what the plan shows and,
in bytes, the digests that they need.
"""

import gc
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from regkeeper.retention import digests
from regkeeper.retention.blobs import BlobStore, Shard, unneeded
from regkeeper.retention.digests import Digest, Subject
from regkeeper.retention.histories import departures
from regkeeper.retention.judgement import Judgement, judge
from regkeeper.retention.layout import (
    LAYERS,
    MANIFESTS,
    UPLOADS,
    Volume,
    link_directory,
    repository_path,
    walk_repositories,
)
from regkeeper.retention.limits import Counts, Limits, refusal
from regkeeper.retention.links import LinkTimes
from regkeeper.retention.manifest import Shape
from regkeeper.retention.moves import Kind
from regkeeper.retention.owners import Owners
from regkeeper.retention.plan import Plan, Refused, RepositoryPlan
from regkeeper.retention.read_ahead import read_ahead
from regkeeper.retention.repository import NO_LINK, Problem, Repository, RepositoryReader, Tag
from regkeeper.retention.rows import ManifestRow, TagRow
from regkeeper.retention.rules import Rule
from regkeeper.retention.shards import Shards
from regkeeper.retention.subjects import Subjects
from regkeeper.retention.tag_verdicts import Question, TagVerdicts
from regkeeper.retention.uploads import old_uploads

Progress = Callable[[str], None]


@dataclass(slots=True)
class _Pending:
    """A repository whose dependants wait for their subjects."""

    repository: Repository
    judgement: Judgement


class Planner:
    """Makes one plan.

    Args:
        volume: the volume to read. Nothing on it is changed.
        question: what to plan.
        reader: reads its repositories.
        offline: no registry serves the volume, so that old uploads may go.
        repositories_before: how many the last run saw, if that is known.
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
        progress: Progress = lambda _: None,
    ) -> None:
        self.volume = volume
        self.question = question
        self.reader = reader or RepositoryReader(volume)
        self.offline = offline
        self.repositories_before = repositories_before
        self.progress = progress
        self.plan = Plan(question.now, rules=question.intent.fingerprint, policies=question.intent.policies)
        self.links = LinkTimes(volume)
        self.blobs = BlobStore(volume)
        self.needed = Shards()  # of repositories without covered tags; `counts` has the others
        self.held: set[Digest] = set()
        self.manifests = Shards()  # of revisions that go
        self.owners = Owners()  # by the position in the plan's entries
        self.counts = Counts()
        self.moves = self.plan.moves
        self.answered: set[str] = set()
        self.blobs_stay = False

    def make(self) -> Plan:
        """The plan.

        Raises:
            NotPermittedError: something may not be read.
        """
        with _paused_collector():
            self._judge_repositories()
            self._find_blobs()
        self.plan.entries.sort(key=lambda entry: entry.name)
        self.plan.unmatched = [
            reference.text for reference in self.question.intent.deletions if reference.text not in self.answered
        ]
        self.plan.warnings.extend(
            f"rule {rule.label} covers no tag: check its patterns"
            for rule in self.question.intent.rules
            if rule.deletes and self.plan.entries and not self._covers_something(rule)
        )
        self.plan.problems.extend(self.blobs.problems)
        Limits(self.volume, self.question, self.reader).apply(self.plan, self.counts)
        self.plan.refusal = refusal(self.volume, self.plan.repositories, self.repositories_before)
        return self.plan

    def _covers_something(self, rule: Rule) -> bool:
        covered = (entry for entry in self.plan.entries if rule.covers_repository(entry.name))
        return any(rule.covers_tag(row.tag) for entry in covered for row in entry.tags)

    # Repositories.

    def _judge_repositories(self) -> None:
        subjects = Subjects()
        pending: list[_Pending] = []
        settled: list[tuple[bytes, bytes]] = []
        for found in read_ahead(walk_repositories(self.volume), lambda found: self.reader.touch(found.name)):
            if found.problem:
                self.plan.problems.append(Problem(found.name, repository_path(found.name), found.problem))
                subjects.certain = False
                self.blobs_stay = True
                continue
            self.plan.repositories += 1
            repository = self.reader.read(found.name)
            self.progress(found.name)
            if repository.opaque:
                subjects.certain = False
                self.blobs_stay = True
            if any(True for _ in _subjects_named(repository)):
                pending.append(_Pending(repository, Judgement(found.name, TagVerdicts())))
            else:
                judgement = self._judge(repository, subjects)
                going = set(judgement.going)
                staying = (repository.revisions.keys() | repository.corrupt.keys()) - going
                settled.append((b"".join(staying), b"".join(going)))
                self._settle(repository, judgement)
        self._follow_subjects(pending, settled, subjects)
        for item in pending:
            self._settle(item.repository, item.judgement)

    def _judge(self, repository: Repository, subjects: Subjects) -> Judgement:
        return judge(self.question, repository, subjects, lambda: departures(self.volume, repository))

    def _follow_subjects(self, pending: list[_Pending], settled: list[tuple[bytes, bytes]], subjects: Subjects) -> None:
        """Judge the repositories with dependants, and again those that name a subject which turns out to go."""
        if not pending:
            return
        named = {item.repository.name: set(_subjects_named(item.repository)) for item in pending}
        wanted = set[Subject]().union(*named.values())
        elsewhere: set[Subject] = set()
        for kept, lost in settled:
            elsewhere.update(wanted.intersection(_split(kept)))
            subjects.present.update(wanted.intersection(_split(lost)))
        subjects.present |= elsewhere
        here = {item.repository.name: wanted & _subjects(item.repository) for item in pending}
        subjects.present = subjects.present.union(*here.values())
        subjects.keepers = {subject: {""} for subject in elsewhere}
        for name, kept_here in here.items():
            for subject in kept_here:
                subjects.keepers.setdefault(subject, set()).add(name)
        subjects.going = subjects.present - subjects.keepers.keys()
        waiting = pending
        while waiting:
            departed: dict[Subject, set[str]] = defaultdict(set)
            for item in waiting:
                name = item.repository.name
                item.judgement = self._judge(item.repository, subjects)
                gone = here[name] - _subjects(item.repository, without=set(item.judgement.going))
                here[name] -= gone
                for subject in gone:
                    departed[subject].add(name)
            # Together, so that the order of repositories decides nothing.
            for subject, names in departed.items():
                subjects.keepers[subject] -= names
                if not subjects.keepers[subject]:
                    subjects.going.add(subject)
            waiting = [item for item in pending if not departed.keys().isdisjoint(named[item.repository.name])]

    def _settle(self, repository: Repository, judgement: Judgement) -> None:
        """Take into the plan what becomes of a repository."""
        needed = self.counts.kept_blobs if judgement.tags.selected else self.needed
        needed.add(judgement.needed)
        self.answered |= judgement.tags.answered
        self.plan.kept.extend(
            Refused(asked, repository.name, name, reason) for asked, name, reason in judgement.tags.refused
        )
        self.plan.problems.extend(repository.problems())
        entry = RepositoryPlan(repository.name)
        selected = judgement.tags.selected
        unlinked = dict.fromkeys(repository.unlinked_tags, Tag(None, NO_LINK))
        for name, tag in sorted((repository.tags | unlinked).items() if unlinked else repository.tags.items()):
            verdict = judgement.tags.verdicts[name]
            row = TagRow(name, tag.digest, tag.link.pushed, *verdict)
            entry.tags.add(row, covered=name in selected)
        for digest, verdict in sorted(judgement.manifests.items()):
            entry.manifests.add(ManifestRow(digest, *verdict))
        self.plan.entries.append(entry)
        self.counts.add(repository, judgement)
        moves = len(self.moves)
        links: set[Digest] = set()
        if judgement.whole and judgement.guards:
            edge = self.question.now - judgement.guard_age
            guards = self.links.of(repository.name, judgement.guards)
            judgement.whole = all(link is not None and link.pushed <= edge for _, link in guards)
        if judgement.changes:
            self._move_tags(repository, judgement)
            self._move_revisions(repository, judgement)
            links = self._move_links(repository, judgement)
        changes = len(self.moves) > moves or self.question.intent.sweeps_garbage
        if changes and self._is_empty(repository, judgement, links):
            entry.empty = True
            self._move_rest(repository)
        if self.offline and self.question.intent.uploads_after is not None and not judgement.pinned_by:
            edge = self.question.now - self.question.intent.uploads_after
            for name, size in old_uploads(self.volume, repository.name, edge):
                self.moves.add_named(Kind.UPLOAD, repository.name, name, size=size)

    def _move_tags(self, repository: Repository, judgement: Judgement) -> None:
        for name in sorted(judgement.victims):
            tag = repository.tags.get(name)
            witness = tag.link.witness if tag and tag.link != NO_LINK else None
            self.moves.add_named(
                Kind.TAG, repository.name, name, witness=witness, digest=tag.digest if tag is not None else None
            )

    def _move_revisions(self, repository: Repository, judgement: Judgement) -> None:
        edge = self.question.now - self.question.intent.garbage_after
        for digest in judgement.going:
            link = repository.revisions[digest]
            manifest = repository.manifests.get(digest)
            index = manifest is not None and manifest.shape is Shape.INDEX
            kind = Kind.INDEX_REVISION if index else Kind.REVISION
            self.moves.add_digest(kind, repository.name, digest, link.witness)
            if link.pushed > edge and not judgement.whole:
                self.held.add(digest)
        self.manifests.add(judgement.going)
        self.owners.add(judgement.freed, len(self.plan.entries) - 1, freed=True)

    def _move_links(self, repository: Repository, judgement: Judgement) -> set[Digest]:
        """Move the layer links that nothing needs and that are old enough; those that stay hold their blobs.

        Returns:
            The digests whose links go.
        """
        edge = self.question.now - self.question.intent.garbage_after
        moved = set()
        for digest, link in self.links.of(repository.name, judgement.unneeded):
            if link is None:
                where = link_directory(LAYERS, digest)
                self.plan.problems.append(Problem(repository.name, where, "its link can't be read"))
            wanted = judgement.whole or digest in judgement.freed or self._is_swept(repository.name, digest)
            if link is not None and wanted and (judgement.whole or link.pushed <= edge):
                self.moves.add_digest(Kind.LAYER_LINK, repository.name, digest, link.witness)
                moved.add(digest)
            else:
                self.held |= {digest, repository.aliases.get(digest, digest)}
            if digest not in judgement.freed:
                self.owners.add((digest,), len(self.plan.entries) - 1, freed=False)
        return moved

    def _is_swept(self, repository: str, digest: Digest) -> bool:
        """Whether a link, or a blob (of no repository), goes as garbage; not if an undo brought it back."""
        restored = (repository, "", digests.to_text(digest)) in self.question.restored
        return self.question.intent.sweeps_garbage and not restored

    def _is_empty(self, repository: Repository, judgement: Judgement, links: set[Digest]) -> bool:
        """Whether nothing is left, not even an upload under way or something that we don't know."""
        return (
            len(judgement.victims) == len(repository.tags) + len(repository.unlinked_tags)
            and len(judgement.going) == len(repository.revisions)
            and links >= self.links.present(repository.name, repository.layers)
            and not repository.uploading
            and not repository.opaque
            and not self.links.has_strangers(repository.name)
        )

    def _move_rest(self, repository: Repository) -> None:
        path = repository_path(repository.name)
        for name in (MANIFESTS, LAYERS, UPLOADS):
            if self.links.exists(f"{path}/{name}"):
                self.moves.add_named(Kind.REPOSITORY, repository.name, name)

    # Blobs.

    def _find_blobs(self) -> None:
        if self.blobs_stay:
            return
        for shard in self.blobs.shards():
            rest = unneeded(shard, (self.needed, self.counts.kept_blobs), self.held)
            if rest:
                self._move_blobs(shard, rest)

    def _move_blobs(self, shard: Shard, rest: set[Digest]) -> None:
        """Move the blobs that the run itself sets free, and those that have been garbage for long enough."""
        edge = self.question.now - self.question.intent.garbage_after
        owners, freed = self.owners.take(shard.algorithm, shard.first)
        manifests = self.manifests.shard(shard.algorithm, shard.first)
        if not self.question.intent.sweeps_garbage:
            rest &= freed
        for blob in self.blobs.files(rest):
            if blob.digest not in freed and (blob.modified > edge or not self._is_swept("", blob.digest)):
                continue
            kind = Kind.MANIFEST_BLOB if blob.digest in manifests else Kind.BLOB
            self.moves.add_digest(kind, "", blob.digest, blob.witness, size=blob.size)
            owner = owners.get(blob.digest)
            if owner is not None:
                self.plan.entries[owner].deleted_bytes += blob.size


@contextmanager
def _paused_collector() -> Iterator[None]:
    """Without Python's search for cycles: a plan is very many small objects and has none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _subjects(repository: Repository, without: frozenset[Digest] | set[Digest] = frozenset()) -> set[Subject]:
    """The manifests of a repository as others may name them."""
    here = repository.revisions.keys() | repository.corrupt.keys()
    return {digests.subject(digest) for digest in here if digest not in without}


def _subjects_named(repository: Repository) -> Iterable[Subject]:
    for manifest in repository.manifests.values():
        if manifest.subject is not None:
            yield digests.subject(manifest.subject)
    for name in repository.tags:
        subject = digests.subject_of_tag(name)
        if subject is not None:
            yield subject


def _split(joined: bytes) -> Iterable[Subject]:
    """The subjects that joined digests are; each begins with its algorithm's code, which tells its length."""
    position = 0
    while position < len(joined):
        size = digests.BY_CODE[joined[position]].size
        yield digests.subject(joined[position : position + size])
        position += size
