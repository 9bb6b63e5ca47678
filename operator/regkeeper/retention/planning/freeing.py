"""The blobs that nothing needs once a plan is carried out: shard by shard, in one process or in several."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby

from msgspec import Struct, field

from regkeeper.retention.judging.question import Question
from regkeeper.retention.moments import SECOND
from regkeeper.retention.planning.limits import kept_within
from regkeeper.retention.planning.planned_moves import NO_WITNESS, PlannedMoves
from regkeeper.retention.planning.settling import Ledger, is_swept
from regkeeper.retention.processes.read_ahead import waits_of_this_thread
from regkeeper.retention.processes.spread import spread
from regkeeper.retention.quarantine.moves import Kind
from regkeeper.retention.volume.blobs import BlobFile, BlobStore, Place, Shard
from regkeeper.retention.volume.digests import Digest
from regkeeper.retention.volume.layout import Volume, blob_directory
from regkeeper.retention.volume.repository import Problem
from regkeeper.retention.volume.shards import BEGINNING

_GROUP = 4
"""Shards that a process takes at once: few, so that none has long to wait for the last."""

_LOOKED_INTO = 1024
"""Directories of blobs that stay into which a run looks for what was half written beside them. To look into all of them
would take as long as to read all manifests, for some kilobytes once a registry was killed: on a larger volume it is
another part of them in each run, by the day."""

_PARTS = [parts for parts in range(11, 257) if all(parts % days for days in (2, 3, 5, 7))]
"""In how many parts a run may look into a larger volume: the turn of each comes whether there is a run each day, each
second day, or each week, for which a multiple of 7 would always be the same few."""

_SHARED = 1 << 19
"""Records in a ledger up to which several processes look for blobs: each gets a copy of those that it looks at."""

_SOME = 32
"""Blobs that stay of which the sizes are added up at once: a few of them are often enough."""

_STAYS = "half written, and can't be moved: it is immutable (lsattr)"

_DAY = 86400 * SECOND


class Freed(Struct):
    """What goes of some shards that follow one another.

    Attributes:
        place: which they are.
        deleted_bytes: of blobs that one repository alone had, by its number.
        kept_bytes: of so many of the blobs which the covered repositories still need as hold what goes here within the
            limit, if there are so many.
    """

    place: tuple[str, int]
    moves: PlannedMoves = field(default_factory=PlannedMoves)
    deleted_bytes: dict[int, int] = field(default_factory=dict)
    kept_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)


def freed_blobs(
    volume: Volume, question: Question, ledger: Ledger, processes: int, waits: Callable[[], int]
) -> Iterator[Freed]:
    """What goes of a volume's blobs, in the order of their digests, each to be forgotten before the next is asked for.

    Args:
        volume: the volume.
        question: what the plan is made from.
        ledger: of all its repositories; what it has of owners is forgotten.
        processes: how many may be at work, if the ledger is not very long.
        waits: as for `read_ahead`, in each of several.

    Raises:
        NotPermittedError: something may not be read.
    """
    store = BlobStore(volume)
    groups = [list(places) for _, places in groupby(store.places(), _group)]

    def work(numbers: Iterator[int]) -> Iterator[Freed]:
        return _Freeing(volume, question, ledger, waits).free(chain.from_iterable(map(groups.__getitem__, numbers)))

    yield Freed(("", 0), problems=store.problems)
    if len(ledger) > _SHARED:
        waits = waits_of_this_thread  # alone it needs the help of threads, if the storage makes it wait
        yield from work(iter(range(len(groups))))
        return
    found = sorted(spread(len(groups), work, processes), key=lambda freed: freed.place, reverse=True)
    while found:
        yield found.pop()


def _group(place: Place) -> tuple[str, int]:
    algorithm, first = place
    return algorithm.name, first // _GROUP


class _Freeing:
    def __init__(self, volume: Volume, question: Question, ledger: Ledger, waits: Callable[[], int]) -> None:
        self.question = question
        self.ledger = ledger
        self.blobs = BlobStore(volume, waits)

    def free(self, places: Iterable[Place]) -> Iterator[Freed]:
        ledger = self.ledger
        freed = Freed(("", 0))
        for shard in self.blobs.shards(places):
            place = _group(shard.place)
            if place != freed.place:
                yield freed
                freed = Freed(place)
            rest = shard.without((ledger.needed, ledger.counts.kept_blobs)) - ledger.held
            gone: set[Digest] = set()
            if rest:
                gone, size = self._move(shard, rest, freed)
                freed.kept_bytes += self._kept(shard, size)
            if self._is_looked_into(shard):
                self._move_temporaries(sorted(shard.digests - gone), freed)
        freed.problems = self.blobs.problems
        yield freed

    def _kept(self, shard: Shard, deleted: int) -> int:
        """Of the bytes of a shard's blobs that stay at least so many as matter beside those that go; see limits.py.

        Manifests were read, so that it is known how many these have; the others are looked at only if need be.
        """
        enough = kept_within(self.question.intent.largest_share, deleted)
        if not enough:
            return 0
        known = self.ledger.counts.kept_sizes.by_beginning(*shard.place)
        names = shard.among(self.ledger.counts.kept_blobs)
        size = sum(known[beginning] for beginning in known.keys() & {name[:BEGINNING] for name in names})
        names = [name for name in names if name[:BEGINNING] not in known]
        for start in range(0, len(names), _SOME):
            if size >= enough:
                break
            size += sum(status.st_size for _, status in self.blobs.files(shard.blobs(names[start : start + _SOME])))
        return size

    def _is_looked_into(self, shard: Shard) -> bool:
        wanted = 256 * len(shard.names) // _LOOKED_INTO
        parts = _PARTS[max(0, bisect_right(_PARTS, wanted) - 1)] if wanted > 1 else 1
        return self.question.intent.sweeps_garbage and (shard.first + self.question.now // _DAY) % parts == 0

    def _move_temporaries(self, blobs: Iterable[Digest], to: Freed) -> None:
        """Move what was half written beside blobs that stay; no registry ever looks at it again."""
        edge = self.question.now - self.question.intent.garbage_after
        for digest in blobs:
            for name, status, immutable in self.blobs.temporaries(digest):
                if status.st_mtime_ns > edge or not is_swept(self.question, "", digest):
                    continue
                if immutable:
                    self.blobs.problems.append(Problem("", f"{blob_directory(digest)}/{name}", _STAYS))
                else:
                    witness = status.st_ino, status.st_ctime_ns
                    to.moves.add_temporary(digest, name, witness, size=status.st_size)

    def _move(self, shard: Shard, rest: set[Digest], to: Freed) -> tuple[set[Digest], int]:
        """Move the blobs that the run itself sets free, and those that have been garbage for long enough.

        Returns:
            Which these are, and their bytes.
        """
        edge = self.question.now - self.question.intent.garbage_after
        owners, freed = self.ledger.owners.take(*shard.place)
        manifests = self.ledger.manifests.among(rest, *shard.place)
        if not self.question.intent.sweeps_garbage:
            rest &= freed
        whole, gone, total = set[Digest](), set[Digest](), 0
        moved: dict[Kind, list[BlobFile]] = {Kind.BLOB: [], Kind.MANIFEST_BLOB: []}
        for digest, status in self.blobs.files(rest):
            whole.add(digest)
            if digest not in freed and (status.st_mtime_ns > edge or not is_swept(self.question, "", digest)):
                continue
            moved[Kind.MANIFEST_BLOB if digest in manifests else Kind.BLOB].append((digest, status))
            gone.add(digest)
            owner = owners.get(digest)
            if owner is not None:
                to.deleted_bytes[owner] = to.deleted_bytes.get(owner, 0) + status.st_size
        for kind, blobs in moved.items():
            sizes = [status.st_size for _, status in blobs]
            witnesses = [(status.st_ino, status.st_ctime_ns) for _, status in blobs]
            to.moves.add(kind, "", [digest for digest, _ in blobs], witnesses, sizes=sizes)
            total += sum(sizes)
        for digest in sorted(rest - whole):
            leftover = self.blobs.leftover(digest) if is_swept(self.question, "", digest) else None
            if leftover is not None and leftover[1] <= edge:
                to.moves.add(Kind.LEFTOVER, "", [digest], [NO_WITNESS], sizes=[leftover[0]])
                gone.add(digest)
                total += leftover[0]
        return gone, total
