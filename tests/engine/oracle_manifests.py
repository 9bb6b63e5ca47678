"""The oracle on manifests: which of them lose what kept them, and which stay all the same."""

from functools import cached_property

from tests.engine.oracle_patterns import is_pattern, matches
from tests.engine.oracle_policy import DEPENDANT, PLAUSIBLE, Node, Place
from tests.engine.oracle_reading import Repository
from tests.engine.oracle_tags import TagJudge


class ManifestJudge(TagJudge):
    """The judgement on the manifests of one world, and on the tags that live as long as one."""

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
        young = self.pushed_a_short_while_ago()
        regardless = {(name, str(self.places[name, tag].digest)) for name, tag in self.exact & victims}
        for place, subjects in self.subjects_of_tags.items():
            if not subjects and place not in self.kept_orphan_tags:
                regardless.add((place[0], str(self.places[place].digest)))
        regardless |= self.untagged_of_named_repositories() | self.orphans_too_long
        fallen = regardless | ({(name, str(self.places[name, tag].digest)) for name, tag in victims} - young)
        untagged = self.untagged_too_long(victims)
        while True:
            standing = {node[1] for node in self.nodes - fallen - untagged}
            standing |= {node[1] for node in self.nodes if node in self.nodes_in_use or node[0] in self.pinned}
            lost = {node[1] for node in (fallen | untagged) & self.nodes} - standing
            regardless |= {child for node in regardless & self.nodes for child in self.platforms(node)}
            regardless |= {dependant for digest in lost for dependant in self.dependants(digest)}
            more = {child for node in fallen & self.nodes for child in self.platforms(node)} - young
            if more | regardless <= fallen:
                return {node for node in (fallen | untagged) & self.nodes if node[0] not in self.pinned}
            fallen |= more | regardless

    def pushed_a_short_while_ago(self) -> set[Node]:
        return {
            (name, digest)
            for name, digest in self.nodes
            if self.now - self.repositories[name].revisions.get(digest, 0) < self.policy.younger_than
        }

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
