"""What must be kept, what must go, and how many bytes that frees: the specification once more, simple and slow.

Written from retention.md and storage.md alone. It reads the whole volume into dictionaries (`oracle_reading`), walks
whole sets again and again, and shares no code with the engine. What it does not judge: live mode, earlier runs. Tags
are judged in `oracle_tags`, manifests in `oracle_manifests`, links and blobs here, the limits in `oracle_limits`.

Where the specification leaves a choice, this is the reading taken here:

- A tag that is kept only because no rule covers it is no obstacle to `delete`; a `keep` that covers it is.
- A digest in use is kept with the indexes that lead to it, the children that it leads to, and the tags that point to
  any of them: in the repository that the reference names, or everywhere if it names none.
- A subject that is named by another digest than a SHA-256 is never nowhere: it may be there under its SHA-256. What is
  about it, or about something that can't be read, goes only with an exact entry for its tag or its repository.
- An untagged dependant whose subject is nowhere stays for as long, though an index goes that lists it.
- A dependant follows its subject even if it is younger than `protect.youngerThan` ("exactly as long").
- A subject that one repository keeps lets nothing that is about it fall elsewhere: what nobody asked about would go
  with a copy of it, where the two hold each other.
- What a dependant lists goes along with it, though it mentions the subject itself: what would go with the subject keeps
  it from going no more than the dependant does.
- What goes along with a deleted tag, its manifest and the children of that, stays if it was pushed by digest within
  `protect.youngerThan`, unless an exact entry takes the tag; dependants go whatever their own age, as said above.
  An untagged index that has been there for too long takes its dependants along, but not its children: each of them is
  untagged itself, and counts from its own times.
- What a manifest of unknown type mentions stays with it, but does not go along with it: it may be no child.
- An entry of `delete` without a tag and without a pattern is an exact entry for each tag and each referrer of its
  repository.
- An exact deletion in a pinned repository takes the tag alone: who needs its manifest can't be known there. One that
  takes all that pins it, be it the tag of a damaged manifest or the whole repository, lifts the pin.
- A live manifest without `data` holds its repository's layer links, and the blobs that its layers and revisions name,
  whether a tag or an index leads to it. A tag to a manifest without a revision link counts as one without `data`.
- A tag directory without `current/link` is no version, points nowhere and stays.
- What the run itself sets free is not held by the age of its `data`, only by young links.
- An entry of `delete` without a tag takes the untagged manifests too; if it is a pattern, not those younger than
  `protect.youngerThan`.
- A repository is deleted as a whole if the run takes its last tag and revision and `delete` named any of them: then
  young links in it hold nothing; if only a pattern named it, those younger than `protect.youngerThan` do, and if only
  tags were named exactly, those of another push that are younger than `garbage.deleteAfter`.
- Where a version's manifest is missing, untagged manifests stay: they may be its children.
- A repository in which nothing is left, uploads included, leaves the catalog, whatever emptied it, and also if it was
  empty before.
- An implausible time is no age of an untagged manifest or an orphan either: it stays.
- `highest` counts versions of whatever age: only `last` has a use for push times.
- A pre-release needs a comparison that names a pre-release of the same version (as in npm).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.oracle_manifests import ManifestJudge
from tests.engine.oracle_policy import InUse, Node, Place, Policy
from tests.engine.oracle_reading import read


@dataclass
class Verdict:
    """What a run must delete; everything else on the volume stays."""

    tags: set[Place] = field(default_factory=set)
    revisions: set[Node] = field(default_factory=set)
    layers: set[Node] = field(default_factory=set)
    blobs: dict[str, int] = field(default_factory=dict)
    """Digest → bytes."""
    repositories: set[str] = field(default_factory=set)
    """Those that leave the catalog."""
    uploads: set[tuple[str, str]] = field(default_factory=set)
    """Repository and upload."""
    half_written: set[str] = field(default_factory=set)
    """Digests of blobs."""
    temporaries: set[str] = field(default_factory=set)
    """Paths below the volume."""
    reasons: dict[Place, set[str]] = field(default_factory=dict)
    """For each tag that stays: why, in single words."""

    @property
    def bytes(self) -> int:
        return sum(self.blobs.values())


def judge(
    v2: Path, specs: Iterable[dict[str, Any]], *, now: int, in_use: InUse | None = None, offline: bool = False
) -> Verdict:
    """The verdict on a volume's `docker/registry/v2`.

    Args:
        v2: the directory.
        specs: the `spec` of each policy.
        now: nanoseconds since the epoch.
        in_use: None if nothing is in use.
        offline: the registry is stopped.
    """
    world, policy = read(v2), Policy.of(specs)
    judged = Judge(world, policy, now, in_use or InUse())
    verdict = judged.verdict()
    while staying := {name for name, _ in judged.unreadable_nodes - verdict.revisions if name not in judged.pinned}:
        in_vain = judged.lifted_in_vain | staying
        judged = Judge(world, policy, now, in_use or InUse(), lifted_in_vain=in_vain)
        verdict = judged.verdict()
    verdict.temporaries = {str(path.relative_to(v2)) for path in judged.temporaries_that_go(verdict)}
    if offline:
        verdict.uploads = judged.uploads_that_go()
    return verdict


class Judge(ManifestJudge):
    """The judgement on one world."""

    def verdict(self) -> Verdict:
        victims, reasons = self.tags_that_rules_delete()
        fallen = self.fallen(victims)
        alive, dependants_kept = self.alive(victims, fallen)
        verdict = Verdict(reasons=reasons)
        verdict.tags = victims | {place for place in self.dependant_tags if place not in dependants_kept}
        verdict.revisions = self.nodes - alive
        deleted_whole = self.deleted_whole(verdict, victims)
        verdict.layers = self.layer_links_that_go(alive, verdict, deleted_whole)
        verdict.blobs = self.blobs_that_go(alive, verdict, deleted_whole)
        verdict.half_written = self.half_written_that_go(alive, verdict, deleted_whole)
        verdict.repositories = self.left_empty(verdict)
        for place in self.dependant_tags - verdict.tags:
            verdict.reasons[place] = {"dependant"}
        return verdict

    def deleted_whole(self, verdict: Verdict, victims: set[Place]) -> set[str]:
        """Repositories of which the run takes the last tag and revision, some of them because `delete` named them."""
        named = set(self.exactly_named_repositories)
        by_exact = {place[0] for place in victims if self.asked_for(place, exactly=True)}
        for name in by_exact:
            set_free = self.named_by_all({node for node in self.nodes if node[0] == name})
            others = [time for digest, time in self.repositories[name].layers.items() if digest not in set_free]
            if all(self.now - time >= self.policy.garbage for time in others):
                named.add(name)
        by_pattern = {place[0] for place in victims if self.asked_for(place, exactly=False)}
        by_pattern |= {name for name in self.repositories if self.named_whole(name)}
        for name in by_pattern - by_exact:
            if all(self.now - time >= self.policy.younger_than for time in self.repositories[name].layers.values()):
                named.add(name)
        return {
            name
            for name in named
            if all((name, tag) in verdict.tags for tag in self.repositories[name].tags)
            and all((name, digest) in verdict.revisions for digest in self.repositories[name].revisions)
        }

    def left_empty(self, verdict: Verdict) -> set[str]:
        return {
            name
            for name, repository in self.repositories.items()
            if all((name, tag) in verdict.tags for tag in repository.tags)
            and all((name, digest) in verdict.revisions for digest in repository.revisions)
            and all((name, digest) in verdict.layers for digest in repository.layers)
            and not repository.uploads
            and not repository.strangers
            and name not in self.pinned
        }

    def uploads_that_go(self) -> set[tuple[str, str]]:
        if self.policy.uploads is None:
            return set()
        return {
            (name, upload)
            for name, repository in self.repositories.items()
            for upload, touched in repository.uploads.items()
            if name not in self.pinned and self.now - touched >= self.policy.uploads
        }

    def needed_by(self, names: set[str], verdict: Verdict) -> set[str]:
        """The blobs that the manifests need which stay in some repositories."""
        return self.named_by_all({node for node in self.nodes - verdict.revisions if node[0] in names})

    def holders(self, alive: set[Node], verdict: Verdict) -> set[str]:
        """Repositories with a live manifest that is not there: what it needs can't be known."""
        names = {name for name, digest in alive if self.without_data((name, digest))}
        for place, tag in self.places.items():
            if place not in verdict.tags and tag.digest is not None and self.without_data((place[0], tag.digest)):
                names.add(place[0])
        return names

    def layer_links_that_go(self, alive: set[Node], verdict: Verdict, deleted_whole: set[str]) -> set[Node]:
        needed = {(name, blob) for name, digest in alive for blob in self.named_by(digest)}
        held = self.pinned | self.holders(alive, verdict)
        return {
            (name, digest)
            for name, repository in self.repositories.items()
            for digest, time in repository.layers.items()
            if (name, digest) not in needed
            and name not in held
            and (name in deleted_whole or self.now - time >= self.policy.garbage)
        }

    def blobs_that_go(self, alive: set[Node], verdict: Verdict, deleted_whole: set[str]) -> dict[str, int]:
        set_free = self.named_by_all(self.nodes - alive)
        return {
            digest: self.world.sizes[digest]
            for digest in self.unneeded(self.world.sizes, alive, verdict, deleted_whole)
            if digest in set_free or self.now - self.world.modified[digest] >= self.policy.garbage
        }

    def half_written_that_go(self, alive: set[Node], verdict: Verdict, deleted_whole: set[str]) -> set[str]:
        return {
            digest
            for digest in self.unneeded(self.world.half_written, alive, verdict, deleted_whole)
            if self.now - self.world.half_written[digest] >= self.policy.garbage
        }

    def temporaries_that_go(self, verdict: Verdict) -> Iterator[Path]:
        """Beside blobs that stay; the others take them along."""
        for path, time in self.world.temporaries.items():
            blob = f"{path.parents[2].name}:{path.parent.name}"
            if blob not in verdict.blobs and self.now - time >= self.policy.garbage:
                yield path

    def unneeded(
        self, blobs: Iterable[str], alive: set[Node], verdict: Verdict, deleted_whole: set[str]
    ) -> Iterator[str]:
        """Those that nothing names which stays, and no young link holds."""
        needed = self.named_by_all(alive)
        for name in self.pinned | self.holders(alive, verdict):
            needed |= self.repositories[name].named
        for digest in blobs:
            times = self.link_times(digest, deleted_whole)
            if digest not in needed and all(self.now - time >= self.policy.garbage for time in times):
                yield digest

    def named_by_all(self, nodes: set[Node]) -> set[str]:
        return {digest for _, digest in nodes} | {blob for _, digest in nodes for blob in self.named_by(digest)}

    def named_by(self, digest: str) -> set[str]:
        """The blobs that a manifest names; its children are manifests of their own."""
        return self.world.documents[digest].blobs

    def link_times(self, digest: str, without: set[str]) -> list[int]:
        rooms = [
            room
            for name, repository in self.repositories.items()
            if name not in without
            for room in (repository.layers, repository.revisions)
        ]
        return [room[digest] for room in rooms if digest in room]
