"""What must be kept, what must go, and how many bytes that frees: the specification once more, simple and slow.

Written from retention.md and storage.md alone. It reads the whole volume into dictionaries (`oracle_reading`), walks
whole sets again and again, and shares no code with the engine. What it does not judge: live mode, earlier runs. The
limits are in `oracle_limits`.

Where the specification leaves a choice, this is the reading taken here:

- A tag that is kept only because no rule covers it is no obstacle to `delete`; a `keep` that covers it is.
- A digest in use is kept with the indexes that lead to it, the children that it leads to, and the tags that point to
  any of them: in the repository that the reference names, or everywhere if it names none.
- A subject that is named by another digest than a SHA-256 is never nowhere: it may be there under its SHA-256. What is
  about it, or about something that can't be read, goes only with an exact entry for its tag or its repository.
- An untagged dependant whose subject is nowhere stays for as long, though an index goes that lists it.
- A dependant follows its subject even if it is younger than `protect.youngerThan` ("exactly as long").
- The children and dependants that go along with a deleted tag go whatever their own age: their links hold their blobs.
  An untagged index that has been there for too long takes its dependants along, but not its children: each of them is
  untagged itself, and counts from its own times.
- What a manifest of unknown type mentions stays with it, but does not go along with it: it may be no child.
- An entry of `delete` without a tag and without a pattern is an exact entry for each tag and each referrer of its
  repository.
- An exact deletion in a pinned repository takes the tag alone: who needs its manifest can't be known there. An exact
  entry that takes the whole repository, of which nothing is kept, takes what pins it.
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

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.engine.oracle_patterns import is_pattern, matches, nanoseconds, satisfies, version_of
from tests.engine.oracle_reading import Repository, Tag, World, read

Node = tuple[str, str]
"""(repository, digest): a revision."""
Place = tuple[str, str]
"""(repository, tag)."""

PLAUSIBLE = 315_619_200 * 10**9
"""1980-01-02T00:00:00Z."""

DEPENDANT = re.compile(r"(?P<alg>sha256|sha512)-(?P<hex>[0-9a-f]{64})(\..*)?")
"""A tag holds 128 characters; the OCI distribution specification truncates the digest to 64, also for sha512."""


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


@dataclass(frozen=True)
class InUse:
    """What runs: tags and digests by their repository, and digests of manifests or configs without one."""

    tags: frozenset[Place] = frozenset()
    manifests: frozenset[Node] = frozenset()
    anywhere: frozenset[str] = frozenset()


@dataclass
class Policy:
    """Several ImageRetention specs as one: rules unite, ages are the longest."""

    rules: list[dict[str, Any]]
    delete: list[str]
    untagged: int | None
    orphaned: int | None
    garbage: int
    younger_than: int
    uploads: int | None

    @classmethod
    def of(cls, specs: Iterable[dict[str, Any]]) -> "Policy":
        specs = list(specs)

        def longest(block: str, key: str, default: str | None = None) -> int | None:
            given = [spec.get(block, {}).get(key, default) for spec in specs]
            return max((nanoseconds(age) for age in given if age is not None), default=None)

        return cls(
            rules=[rule for spec in specs for rule in spec.get("rules", ())],
            delete=[entry for spec in specs for entry in spec.get("delete", ())],
            untagged=longest("untagged", "deleteAfter"),
            orphaned=longest("dependants", "orphanedFor"),
            garbage=longest("garbage", "deleteAfter", "24h") or 0,
            younger_than=longest("protect", "youngerThan", "1h") or 0,
            uploads=longest("uploads", "deleteAfter"),
        )


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
    judged = Judge(read(v2), Policy.of(specs), now, in_use or InUse())
    verdict = judged.verdict()
    verdict.temporaries = {str(path.relative_to(v2)) for path in judged.temporaries_that_go(verdict)}
    if offline:
        verdict.uploads = judged.uploads_that_go()
    return verdict


class Judge:
    """The judgement on one world."""

    def __init__(self, world: World, policy: Policy, now: int, in_use: InUse) -> None:
        self.world = world
        self.policy = policy
        self.now = now
        self.in_use = in_use
        self.repositories = world.repositories
        self.nodes = {
            (name, digest) for name, repository in self.repositories.items() for digest in repository.revisions
        }

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

    # Tags, by the rules.

    def tags_that_rules_delete(self) -> tuple[set[Place], dict[Place, set[str]]]:
        """Those that a rule or `delete` selects and nothing keeps; and for the others, why they stay."""
        victims: set[Place] = set()
        reasons: dict[Place, set[str]] = {}
        for place, tag in self.places.items():
            keeps = set(self.kept_by_rules_or_use.get(place, ()))
            if place not in self.exact:
                keeps |= self.kept_unless_exact(place, tag)
            asked_for = place in self.exact or self.asked_for(place, exactly=False)
            selected = asked_for or (not self.is_dependant(tag) and self.covered(place))
            if selected and not keeps:
                victims.add(place)
            else:
                reasons[place] = keeps if selected else keeps | {"uncovered"}
        return victims, reasons

    @cached_property
    def kept_by_rules_or_use(self) -> dict[Place, set[str]]:
        kept: dict[Place, set[str]] = {}
        for rule in self.policy.rules:
            for name in self.repositories:
                named = {
                    place[1]: tag for place, tag in self.places.items() if place[0] == name and self.covers(rule, place)
                }
                covered = {each: tag for each, tag in named.items() if not self.is_dependant(tag)}
                patterns = rule["keep"].get("matching", ())
                matching = {each for each in named if any(matches(pattern, each) for pattern in patterns)}
                for word, names in [*self.kept_by_rule(rule["keep"], name, covered), ("matching", matching)]:
                    for each in names:
                        kept.setdefault((name, each), set()).add(word)
        for place, tag in self.places.items():
            if place in self.in_use.tags or (place[0], tag.digest) in self.nodes_in_use:
                kept.setdefault(place, set()).add("use")
        return kept

    def kept_by_rule(self, keep: dict[str, Any], name: str, covered: dict[str, Tag]) -> Iterator[tuple[str, set[str]]]:
        """(why, tags) for each of the ways to keep versions, which dependants are not."""
        versions = {tag: known for tag, known in covered.items() if self.is_version(name, known)}
        if keep.get("last"):
            yield "last", self.last({tag: each for tag, each in versions.items() if self.plausible(each)}, keep["last"])
        if "pushedWithin" in keep:
            oldest = self.now - nanoseconds(keep["pushedWithin"])
            yield "pushedWithin", {tag for tag, each in covered.items() if each.pushed >= oldest}
        if "semver" in keep:
            yield "semver", self.highest(versions, **keep["semver"])

    def last(self, versions: dict[str, Tag], count: int) -> set[str]:
        """A digest's time is its newest push; equal times at the edge all stay."""
        times: dict[str | None, int] = {}
        for tag in versions.values():
            times[tag.digest] = max(tag.pushed, times.get(tag.digest, 0))
        newest = sorted(times.values(), reverse=True)[:count]
        return {name for name, tag in versions.items() if times[tag.digest] in newest}

    def highest(self, tags: Iterable[str], highest: int | None = None, constraint: str = "") -> set[str]:
        versions = {tag: version for tag in tags if (version := version_of(tag)) is not None}
        versions = {tag: version for tag, version in versions.items() if satisfies(version, constraint)}
        kept = sorted(set(versions.values()), reverse=True)[:highest]
        return {tag for tag, version in versions.items() if version in kept}

    def kept_unless_exact(self, place: Place, tag: Tag) -> set[str]:
        keeps = set()
        if place[0] in self.pinned:
            keeps.add("pinned")
        if tag.digest is None or self.without_data((place[0], tag.digest)):
            keeps.add("unreadable")
        elif not self.plausible(tag):
            keeps.add("time")
        if tag.digest is not None and self.now - tag.pushed < self.policy.younger_than:
            keeps.add("young")
        if self.is_dependant(tag):
            keeps.add("dependant")
        return keeps

    def covered(self, place: Place) -> bool:
        return any(self.covers(rule, place) for rule in self.policy.rules)

    def covers(self, rule: dict[str, Any], place: Place) -> bool:
        repository, tag = place
        return any(matches(each, repository) for each in rule.get("repositories", ["**"])) and any(
            matches(each, tag) for each in rule.get("tags", ["**"])
        )

    def asked_for(self, place: Place, *, exactly: bool) -> bool:
        """Whether an entry of `delete` names the tag or, without a tag, its repository."""
        for entry in self.policy.delete:
            repository, _, tag = entry.partition(":")
            if exactly == is_pattern(entry):
                continue
            if matches(repository, place[0]) and (not tag or matches(tag, place[1])):
                return True
        return False

    @cached_property
    def places(self) -> dict[Place, Tag]:
        return {
            (name, tag.name): tag for name, repository in self.repositories.items() for tag in repository.tags.values()
        }

    def is_dependant(self, tag: Tag) -> bool:
        return DEPENDANT.fullmatch(tag.name) is not None

    def is_version(self, name: str, tag: Tag) -> bool:
        """Whether it counts among the last N or the highest N: not if nobody can tell what it is."""
        readable = tag.digest is not None and self.readable(tag.digest) and not self.without_data((name, tag.digest))
        return readable and tag.digest not in self.repositories[name].bad_revisions

    def plausible(self, tag: Tag) -> bool:
        return PLAUSIBLE < tag.pushed <= self.now

    def without_data(self, node: Node) -> bool:
        return node not in self.nodes or not self.world.documents[node[1]].present

    def readable(self, digest: str) -> bool:
        document = self.world.documents.get(digest)
        return document is not None and document.readable

    # What runs.

    @cached_property
    def nodes_in_use(self) -> set[Node]:
        """With the manifests of a config, the indexes that name them, and what those in use lead to."""
        used = {(name, digest) for name in self.repositories for digest in self.in_use.anywhere} | self.in_use.manifests
        used |= {node for node in self.nodes if self.world.documents[node[1]].config in self.in_use.anywhere}
        upwards, downwards = set(used), used & self.nodes
        while True:
            parents = {
                (name, digest)
                for name, digest in self.nodes
                if any((name, child) in upwards for child in self.world.documents[digest].children)
            }
            children = {child for node in downwards for child in self.children(node)}
            if parents <= upwards and children <= downwards:
                return (upwards & self.nodes) | downwards
            upwards |= parents
            downwards |= children

    # Repositories in which something is unreadable.

    @cached_property
    def exact(self) -> set[Place]:
        """Tags that an entry of `delete` names without a pattern."""
        return {place for place in self.places if self.asked_for(place, exactly=True)}

    @cached_property
    def pinned(self) -> set[str]:
        """Deleting an unreadable tag, which only an exact entry does, lifts its pin; so does deleting all of it."""
        deleted = self.exact - self.kept_by_rules_or_use.keys()
        names = {place[0] for place, tag in self.places.items() if tag.unreadable and place not in deleted}
        for name, repository in self.repositories.items():
            if repository.bad_revisions or any(not self.world.documents[d].readable for d in repository.revisions):
                names.add(name)
        stays = {place[0] for place in self.places if place not in deleted} | {name for name, _ in self.nodes_in_use}
        return names - (self.exactly_named_repositories - stays)

    # Manifests.

    def children(self, node: Node) -> set[Node]:
        """Only those that the same repository has: what it lacks pins nothing."""
        return {(node[0], child) for child in self.world.documents[node[1]].children} & self.nodes

    def platforms(self, node: Node) -> set[Node]:
        """The children of what is known to be an index."""
        return {(node[0], child) for child in self.world.documents[node[1]].platforms} & self.nodes

    def dependants(self, digest: str) -> set[Node]:
        """Manifests anywhere whose subject it is, and the targets of dependant tags."""
        referrers = {node for node in self.nodes if self.world.documents[node[1]].subject == digest}
        tagged = {
            (place[0], str(self.places[place].digest))
            for place, subjects in self.subjects_of_tags.items()
            if digest in subjects
        }
        return referrers | (tagged & self.nodes)

    @cached_property
    def dependant_tags(self) -> set[Place]:
        return {place for place, tag in self.places.items() if self.is_dependant(tag)}

    @cached_property
    def subjects_of_tags(self) -> dict[Place, set[str]]:
        """For each dependant tag the digests on the volume that its name may mean."""
        found = {}
        on_volume = {digest for _, digest in self.nodes}
        for place in self.dependant_tags:
            match = DEPENDANT.fullmatch(place[1])
            assert match is not None
            found[place] = {digest for digest in on_volume if digest.startswith(f"{match['alg']}:{match['hex']}")}
        return found

    def orphaned_too_long(self, algorithm: str, pushed: int) -> bool:
        """A subject may be on the volume under its SHA-256, whatever digest names it."""
        if algorithm != "sha256":
            return False
        return self.policy.orphaned is not None and pushed > PLAUSIBLE and self.now - pushed > self.policy.orphaned

    def is_unreadable_dependant(self, place: Place) -> bool:
        tag = self.places[place]
        return tag.digest is None or self.without_data((place[0], tag.digest))

    @cached_property
    def kept_orphan_tags(self) -> set[Place]:
        """Dependant tags that stay whatever lives: the subject is nowhere, and that not for too long."""
        kept = set()
        for place, subjects in self.subjects_of_tags.items():
            tag = self.places[place]
            orphan = not subjects and not self.orphaned_too_long(place[1].partition("-")[0], tag.pushed)
            if (
                orphan
                or place[0] in self.pinned
                or self.is_unreadable_dependant(place)
                or place in self.kept_by_rules_or_use
            ):
                kept.add(place)
        return kept

    def fallen(self, victims: set[Place]) -> set[Node]:
        """Manifests that lost what kept them, with all that came along; some are needed by others still."""
        fallen = {(name, str(self.places[name, tag].digest)) for name, tag in victims}
        for place, subjects in self.subjects_of_tags.items():
            if not subjects and place not in self.kept_orphan_tags:
                fallen.add((place[0], str(self.places[place].digest)))
        fallen |= self.untagged_of_named_repositories() | self.orphans_too_long
        untagged = self.untagged_too_long(victims)
        for _, digest in untagged:
            fallen |= self.dependants(digest)
        while True:
            more = {child for node in fallen & self.nodes for child in self.platforms(node)}
            more |= {dependant for node in fallen & self.nodes for dependant in self.dependants(node[1])}
            if more <= fallen:
                return {node for node in (fallen | untagged) & self.nodes if node[0] not in self.pinned}
            fallen |= more

    def with_a_version_without_data(self, victims: set[Place]) -> set[str]:
        """Repositories with a tag that stays and whose manifest is missing: who its children were is not known."""
        return {
            place[0]
            for place, tag in self.places.items()
            if tag.digest is not None
            and not self.is_there(tag.digest)
            and place not in victims
            and not self.is_dependant(tag)
        }

    def is_there(self, digest: str) -> bool:
        document = self.world.documents.get(digest)
        return document is not None and document.present

    def untagged_too_long(self, victims: set[Place]) -> set[Node]:
        if self.policy.untagged is None:
            return set()
        stopped = self.with_a_version_without_data(victims)
        found = set()
        for name, digest in self.untagged():
            if name in stopped:
                continue
            since = self.untagged_since(self.repositories[name], digest)
            pushed = self.repositories[name].revisions[digest]
            young = pushed <= PLAUSIBLE or self.now - pushed < self.policy.younger_than
            if not young and self.now - since >= self.policy.untagged:
                found.add((name, digest))
        return found

    @cached_property
    def exactly_named_repositories(self) -> set[str]:
        return {name for name in self.repositories if name in self.policy.delete}

    def named_whole(self, name: str) -> bool:
        """By an entry of `delete` without a tag."""
        return any(matches(entry, name) for entry in self.policy.delete if ":" not in entry)

    def untagged_of_named_repositories(self) -> set[Node]:
        whole = [entry for entry in self.policy.delete if ":" not in entry]
        tagged = {(name, tag.digest) for (name, _), tag in self.places.items()}
        found = set()
        for name, digest in self.nodes - tagged:
            young = self.now - self.repositories[name].revisions[digest] < self.policy.younger_than
            if any(matches(entry, name) and not (young and is_pattern(entry)) for entry in whole):
                found.add((name, digest))
        return found

    def untagged(self) -> set[Node]:
        """No tag points to them, and they are nobody's referrer. What an index needs is found alive in the end."""
        tagged = {(name, tag.digest) for (name, _), tag in self.places.items()}
        referrers = {node for node in self.nodes if self.world.documents[node[1]].subject}
        return self.nodes - tagged - referrers

    @cached_property
    def orphans(self) -> set[Node]:
        """Untagged referrers of a subject that no repository has."""
        tagged = {(name, tag.digest) for (name, _), tag in self.places.items()}
        on_volume = {digest for _, digest in self.nodes}
        subjects = {node: self.world.documents[node[1]].subject for node in self.nodes if node not in tagged}
        return {node for node, subject in subjects.items() if subject is not None and subject not in on_volume}

    @cached_property
    def orphans_too_long(self) -> set[Node]:
        return {
            (name, digest)
            for name, digest in self.orphans
            if self.orphaned_too_long(
                str(self.world.documents[digest].subject).partition(":")[0], self.repositories[name].revisions[digest]
            )
        }

    @cached_property
    def kept_orphans(self) -> set[Node]:
        young = self.orphans - self.orphans_too_long
        return {node for node in young if node[0] not in self.exactly_named_repositories}

    @cached_property
    def about_the_unknown(self) -> set[Node]:
        """Manifests whose subject can't be read, or is named by a digest that tells nothing by its absence."""
        on_volume = {digest for _, digest in self.nodes}
        subjects = {node: self.world.documents[node[1]].subject for node in self.nodes}
        return {
            node
            for node, subject in subjects.items()
            if subject is not None and subject not in on_volume and not subject.startswith("sha256:")
            if node[0] not in self.exactly_named_repositories
        }

    def untagged_since(self, repository: Repository, digest: str) -> int:
        """When the last tag left it: the next push in each history that has it, and its own revision link."""
        times = [repository.revisions[digest]]
        for tag in repository.tags.values():
            if digest in tag.history:
                pushes = [*tag.history.values(), tag.pushed]
                times += [min((time for time in pushes if time > tag.history[digest]), default=0)]
        return max(times)

    def alive(self, victims: set[Place], fallen: set[Node]) -> tuple[set[Node], set[Place]]:
        """Manifests that stay, and the dependant tags that stay with them."""
        kept_tags = (set(self.places) - victims - self.dependant_tags) | (self.kept_orphan_tags - victims)
        roots = (
            (self.nodes - fallen)
            | self.kept_orphans
            | {(name, str(self.places[name, tag].digest)) for name, tag in kept_tags}
        )
        roots |= {node for node in self.nodes if node in self.nodes_in_use or node[0] in self.pinned}
        roots |= self.about_the_unknown - {
            (name, str(self.places[name, tag].digest)) for name, tag in self.exact & victims
        }
        alive = roots & self.nodes
        while True:
            digests = {digest for _, digest in alive}
            more = {child for node in alive for child in self.children(node)}
            referrers = {node for node in self.nodes if self.world.documents[node[1]].subject in digests}
            more |= {node for node in referrers if node[0] not in self.exactly_named_repositories}
            dependant_tags = {
                place for place, subjects in self.subjects_of_tags.items() if subjects & digests
            } - victims
            more |= {(name, str(self.places[name, tag].digest)) for name, tag in dependant_tags}
            more &= self.nodes
            if more <= alive:
                return alive, dependant_tags | (self.kept_orphan_tags - victims)
            alive |= more

    # Links and blobs.

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
