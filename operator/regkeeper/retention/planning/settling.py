"""What a judgement on a repository adds to a plan: its rows, its moves, and the digests by which blobs are judged."""

from itertools import groupby

from msgspec import Struct, field

from regkeeper.retention.judging.judgement import Judgement
from regkeeper.retention.judging.question import Question, Verdict
from regkeeper.retention.planning.limits import Counts
from regkeeper.retention.planning.owners import Owners
from regkeeper.retention.planning.plan import Prevented, RepositoryPlan
from regkeeper.retention.planning.planned_moves import NO_WITNESS, PlannedMoves, encoded
from regkeeper.retention.planning.rows import ManifestRow, TagRows
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import (
    LAYERS,
    MANIFESTS,
    UPLOADS,
    Volume,
    blob_data,
    link_directory,
    repository_path,
)
from regkeeper.retention.volume.links import LinkTimes
from regkeeper.retention.volume.repository import UNLINKED, Problem, Repository
from regkeeper.retention.volume.repository_reader import Note
from regkeeper.retention.volume.shards import Shards
from regkeeper.retention.volume.strangers import has_strangers
from regkeeper.retention.volume.uploads import old_uploads


class Stretch(Struct):
    """What a plan says of some repositories that follow one another.

    Attributes:
        number: its place among the stretches of a volume.
        entries: by the number of the repository.
        answered: deletions by name that found something.
        revisions: of each repository whose judgement waits for nothing, the manifests that stay and those that go,
            joined.
        pending: the repositories, by number, that have dependants and so wait for their subjects.
        names: of the repositories that were read.
        notes: what the reader would remember of them.
        uncertain: something may be needed by what could not be read.
    """

    number: int
    entries: dict[int, RepositoryPlan] = field(default_factory=dict)
    moves: PlannedMoves = field(default_factory=PlannedMoves)
    kept: list[Prevented] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    revisions: list[tuple[bytes, bytes]] = field(default_factory=list)
    pending: dict[int, Repository] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    uncertain: bool = False


class Ledger(Struct):
    """The digests of many repositories, by which blobs are judged, and what the limits count.

    Attributes:
        needed: by repositories without covered tags; `counts` has the others'.
        held: by links that are too young to go.
        manifests: of revisions that go.
        owners: of blobs that are needed no more, by the repositories' numbers.
    """

    needed: Shards = field(default_factory=Shards)
    held: set[Digest] = field(default_factory=set)
    manifests: Shards = field(default_factory=Shards)
    owners: Owners = field(default_factory=Owners)
    counts: Counts = field(default_factory=Counts)

    def __len__(self) -> int:
        """How many digests were noted, each as often as it was."""
        return len(self.needed) + len(self.manifests) + len(self.owners) + len(self.counts.kept_blobs)

    def merge(self, other: "Ledger") -> None:
        """Take over what another one has, which is of no use then."""
        self.needed.merge(other.needed)
        self.held |= other.held
        self.manifests.merge(other.manifests)
        self.owners.merge(other.owners)
        self.counts.merge(other.counts)


class Settler:
    """Settles judged repositories of one volume.

    Args:
        volume: the volume.
        question: what the plan is made from.
        offline: no registry serves the volume, so that old uploads may go.

    Attributes:
        ledger: of all repositories that it settled.
    """

    def __init__(self, volume: Volume, question: Question, *, offline: bool) -> None:
        self.volume = volume
        self.question = question
        self.offline = offline
        self.links = LinkTimes(volume)
        self.ledger = Ledger()

    def settle(self, number: int, repository: Repository, judgement: Judgement, stretch: Stretch) -> None:
        """Note what becomes of a repository."""
        ledger = self.ledger
        if judgement.tags.selected:
            ledger.counts.kept_blobs.add(judgement.needed)
            if self.question.intent.largest_share is not None:
                read = repository.manifests
                ledger.counts.kept_sizes.add((digest, read[digest].size) for digest in judgement.alive & read.keys())
        else:
            ledger.needed.add(judgement.needed)
        stretch.answered |= judgement.tags.answered
        stretch.kept.extend(
            Prevented(asked, repository.name, name, reason) for asked, name, reason in sorted(judgement.tags.refused)
        )
        stretch.problems.extend(repository.problems())
        tags = repository.listed_tags
        verdicts = judgement.tags.verdicts | {
            name: self._with_bytes(judgement.tags.verdicts[name], repository, tags[name].digest)
            for name in judgement.tags.orphaned
        }
        entry = RepositoryPlan(repository.name, TagRows(tags, verdicts, judgement.tags.selected))
        manifests = judgement.manifests | {
            digest: self._with_bytes(judgement.manifests[digest], repository, digest)
            for digest in judgement.orphaned & judgement.manifests.keys()
        }
        for digest, verdict in sorted(manifests.items()):
            entry.manifests.add(ManifestRow(digest, *verdict))
        stretch.entries[number] = entry
        ledger.counts.add(repository, judgement)
        moves = len(stretch.moves)
        links: set[Digest] = set()
        if judgement.whole and judgement.guards:
            edge = self.question.now - judgement.guard_age
            judgement.whole = all(
                link is not None
                and link.pushed <= edge
                and self.question.restored_from(repository.name, "", digest) is None
                for digest, link in self.links.of(repository, judgement.guards)
            )
        if judgement.changes:
            self._move_tags(repository, judgement, stretch.moves)
            self._move_revisions(number, repository, judgement, stretch.moves)
            links = self._move_links(number, repository, judgement, stretch)
        changes = len(stretch.moves) > moves or self.question.intent.sweeps_garbage
        if changes and self._is_empty(repository, judgement, links):
            entry.empty = True
            self._move_rest(repository, stretch.moves)
        if self.offline and self.question.intent.uploads_after is not None and not judgement.pinned_by:
            edge = self.question.now - self.question.intent.uploads_after
            for name, size in old_uploads(self.volume, repository.name, edge):
                stretch.moves.add(Kind.UPLOAD, repository.name, [encoded(name)], [NO_WITNESS], sizes=[size])

    def _with_bytes(self, verdict: Verdict, repository: Repository, digest: Digest | None) -> Verdict:
        """The verdict on an orphan with the bytes that it keeps from being freed, its own and those of its blobs."""
        manifest = None if digest is None else repository.manifests.get(digest)
        if manifest is None:
            return verdict
        blobs = {repository.aliases.get(blob, blob) for blob in manifest.blobs}
        size = manifest.size + sum(self.volume.size(self.volume.place(blob_data(blob))) or 0 for blob in blobs)
        return verdict._replace(reason=f"{verdict.reason} ({size:,} bytes)")

    def _move_tags(self, repository: Repository, judgement: Judgement, moves: PlannedMoves) -> None:
        victims = sorted(judgement.victims)
        tags = [repository.tags.get(name, UNLINKED) for name in victims]
        moves.add(
            Kind.TAG,
            repository.name,
            [encoded(name) for name in victims],
            [link.witness for _, link in tags],
            digests=[digest or b"" for digest, _ in tags],
        )

    def _move_revisions(self, number: int, repository: Repository, judgement: Judgement, moves: PlannedMoves) -> None:
        edge = self.question.now - self.question.intent.garbage_after
        links = repository.revisions
        for index, some in groupby(judgement.going, repository.is_index):
            going = list(some)
            kind = Kind.INDEX_REVISION if index else Kind.REVISION
            moves.add(kind, repository.name, going, [links[digest].witness for digest in going])
        if not judgement.whole:
            self.ledger.held.update(digest for digest in judgement.going if links[digest].pushed > edge)
        self.ledger.manifests.add(judgement.going)
        self.ledger.owners.add(judgement.freed, number, freed=True)

    def _move_links(self, number: int, repository: Repository, judgement: Judgement, stretch: Stretch) -> set[Digest]:
        """Move the layer links that nothing needs and that are old enough; those that stay hold their blobs.

        Returns:
            The digests whose links go.
        """
        edge = self.question.now - self.question.intent.garbage_after
        moved: dict[Digest, tuple[int, int]] = {}
        for digest, link in self.links.of(repository, judgement.unneeded):
            if link is None:
                where = link_directory(LAYERS, digest)
                stretch.problems.append(Problem(repository.name, where, "its link can't be read"))
            wanted = judgement.whole or digest in judgement.freed or is_swept(self.question, repository.name, digest)
            if link is not None and wanted and (judgement.whole or link.pushed <= edge):
                moved[digest] = link.witness
            else:
                self.ledger.held |= {digest, repository.aliases.get(digest, digest)}
            if digest not in judgement.freed:
                self.ledger.owners.add((digest,), number, freed=False)
        stretch.moves.add(Kind.LAYER_LINK, repository.name, list(moved), list(moved.values()))
        return set(moved)

    def _is_empty(self, repository: Repository, judgement: Judgement, links: set[Digest]) -> bool:
        """Whether nothing is left, not even an upload under way or something that we don't know."""
        return (
            len(judgement.victims) == len(repository.tags) + len(repository.unlinked_tags)
            and len(judgement.going) == len(repository.revisions)
            and links >= self.links.present(repository, repository.layers)
            and not repository.uploading
            and not repository.opaque
            and not has_strangers(self.volume, repository.name)
        )

    def _move_rest(self, repository: Repository, moves: PlannedMoves) -> None:
        path = repository_path(repository.name)
        for name in (MANIFESTS, LAYERS, UPLOADS):
            if self.volume.device(f"{path}/{name}") is not None:
                moves.add(Kind.REPOSITORY, repository.name, [encoded(name)], [NO_WITNESS])


def is_swept(question: Question, repository: str, digest: Digest) -> bool:
    """Whether a link, or a blob (of no repository), goes as garbage; not if an undo brought it back."""
    return question.intent.sweeps_garbage and question.restored_from(repository, "", digest) is None
