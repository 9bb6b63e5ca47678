"""The oracle on tags: which of them rules and deletions by name take, what runs, which repositories are pinned."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from tests.engine.oracle_patterns import is_pattern, matches, nanoseconds, satisfies, version_of
from tests.engine.oracle_policy import DEPENDANT, PLAUSIBLE, InUse, Node, Place, Policy
from tests.engine.oracle_reading import Tag, World


class TagJudge:
    """The judgement on the tags of one world."""

    def __init__(
        self, world: World, policy: Policy, now: int, in_use: InUse, *, lifted_in_vain: frozenset[str] = frozenset()
    ) -> None:
        self.world = world
        self.policy = policy
        self.now = now
        self.in_use = in_use
        self.lifted_in_vain = lifted_in_vain
        self.repositories = world.repositories
        self.nodes = {
            (name, digest) for name, repository in self.repositories.items() for digest in repository.revisions
        }

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
        """An exact deletion of what is unreadable lifts its pin, if all that is unreadable goes."""
        names = {place[0] for place, tag in self.places.items() if tag.unreadable and place not in self.exactly_deleted}
        return names | {name for name, digest in self.unreadable_nodes - self.lifted} | self.lifted_in_vain

    @cached_property
    def exactly_deleted(self) -> set[Place]:
        return self.exact - self.kept_by_rules_or_use.keys()

    @cached_property
    def unreadable_nodes(self) -> set[Node]:
        return {
            (name, digest)
            for name, digest in self.nodes
            if digest in self.repositories[name].bad_revisions or not self.world.documents[digest].readable
        }

    @cached_property
    def lifted(self) -> set[Node]:
        """What tags that are deleted one by one point to, and all of a repository that is named; not if others stay."""
        staying = {(place[0], tag.digest) for place, tag in self.places.items() if place not in self.exactly_deleted}
        named_whole = self.exactly_named_repositories - {name for name, _ in staying}
        one_by_one = {
            (place[0], str(self.places[place].digest))
            for place in self.exactly_deleted
            if ":".join(place) in self.policy.delete
        }
        return (one_by_one - staying) | {node for node in self.nodes if node[0] in named_whole}

    @cached_property
    def exactly_named_repositories(self) -> set[str]:
        return {name for name in self.repositories if name in self.policy.delete}

    def named_whole(self, name: str) -> bool:
        """By an entry of `delete` without a tag."""
        return any(matches(entry, name) for entry in self.policy.delete if ":" not in entry)

    def children(self, node: Node) -> set[Node]:
        """Only those that the same repository has: what it lacks pins nothing."""
        return {(node[0], child) for child in self.world.documents[node[1]].children} & self.nodes
