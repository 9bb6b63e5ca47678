"""Which manifests of one repository have a cause to go, once its tags are judged.

Its tag goes, a deletion names it, its subject goes, or it has been untagged for longer than the policy allows. Whether
something that stays needs it is found out afterwards (judgement.py).
"""

import sys
from collections.abc import Callable, Collection, Mapping
from functools import cache, cached_property

from regkeeper.retention.judging.closures import closure
from regkeeper.retention.judging.dependants import dependant_verdict
from regkeeper.retention.judging.question import UNAPPROVED, YOUNGER, Question, Verdict
from regkeeper.retention.judging.subjects import State, Subjects
from regkeeper.retention.judging.tag_verdicts import TagJudge, TagVerdicts
from regkeeper.retention.policies.rules import plausible
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest, Subject
from regkeeper.retention.volume.histories import ANY
from regkeeper.retention.volume.repository import Repository

Departures = Callable[[], Mapping[Digest, int]]
"""When the last tag left each digest of a repository, as its tags' histories tell; nanoseconds. Reads the volume."""


class ManifestJudge:
    """Judges the manifests of one repository.

    Args:
        tag_judge: judged its tags.
        tags: the verdicts on them.
        asked: the deletions that name a manifest by its digest.
        matched: those that do so in all repositories of a pattern.

    Attributes:
        candidates: the revisions with a cause to go.
        kept: the reason of each that has none.
        unclaimed: those of them that stay only as long as nothing takes them along.
        waiting: dependants that stay because their subject does, which is in this repository.
        fallen: those of them whose tag goes, or what lists them.
        orphaned: dependants that stay although their subject is nowhere.
    """

    def __init__(
        self,
        question: Question,
        repository: Repository,
        subjects: Subjects,
        departures: Departures,
        *,
        tag_judge: TagJudge,
        tags: TagVerdicts,
        asked: Mapping[Digest, str],
        matched: Mapping[Digest, str],
    ) -> None:
        self.question = question
        self.repository = repository
        self.subjects = subjects
        self.departures = cache(departures)
        self.tag_judge = tag_judge
        self.tags = tags
        self.asked = asked
        self.matched = matched
        self.candidates: dict[Digest, str] = {}
        self.kept: dict[Digest, str] = {}
        self.unclaimed: set[Digest] = set()
        self.waiting: list[tuple[Digest, Subject]] = []
        self.fallen: set[Digest] = set()
        self.orphaned: set[Digest] = set()

    def judge(self, roots: set[Digest]) -> None:
        """Find the revisions with a cause to go among those that are not `roots`, and the reasons of the others."""
        repository = self.repository
        carried = self._along(self._targets(self.tags.verdicts) | self._dependants_that_go())
        carried_by_name = self._along(self._targets(self.tag_judge.going_by_name()))
        named_tags = {repository.tags[name].digest for name in self.tag_judge.exactly if name in repository.tags}
        loosely, exactly = self.tag_judge.whole_repository()
        pointed = {tag.digest for tag in repository.tags.values()}
        absent = self._versions_without_manifest()
        for digest, link in repository.revisions.items():
            if digest in roots:
                continue
            manifest = repository.manifests.get(digest)
            subject = digests.subject(manifest.subject) if manifest is not None and manifest.subject else None
            approved = self.question.allows(repository.name, "", digest)
            of_subject = dependant_verdict(self.question, self.subjects, subject, link.pushed) if subject else None
            restored = self.question.restored_from(repository.name, "", digest)
            if digest in self.tag_judge.used:
                verdict = Verdict(False, f"in use by {self.tag_judge.used[digest]}")
            elif (named := self.asked.get(digest) or exactly) and self.question.is_younger_than_asked(link.pushed):
                verdict = Verdict(False, YOUNGER)
            elif named:
                verdict = Verdict(True, f"named by delete: {named}")
            elif (
                restored is not None
                and digest not in carried_by_name
                and not self.tag_judge.goes_with_named_subject(subject)
            ):
                verdict = Verdict(False, f"restored from run {restored}")
            elif subject and of_subject and self._may_be_needed(subject, named=digest in named_tags):
                verdict = of_subject
            elif of_subject is not None and digest not in pointed:
                verdict = of_subject  # whatever lists it: it lives as long as its subject
            elif digest in carried:
                spared = self._is_young(link.pushed) and digest not in self._carried_at_any_age
                follows = of_subject is not None and of_subject.goes
                verdict = (
                    Verdict(False, self.question.young) if spared and not follows else Verdict(True, carried[digest])
                )
            else:
                pattern = loosely or self.matched.get(digest, "")
                verdict = self._by_itself(digest, link.pushed, pattern, absent, tagged=digest in pointed)
                if approved and not verdict.goes:
                    self.unclaimed.add(digest)
            if verdict.goes and not approved:
                verdict = Verdict(False, UNAPPROVED)
            if verdict.goes:
                self.candidates[digest] = verdict.reason
                continue
            self.kept[digest] = verdict.reason
            if verdict is not of_subject or subject is None:
                continue
            if approved and not self.subjects.is_firm(subject, repository.name):
                self.waiting.append((digest, subject))
                if digest in carried:
                    self.fallen.add(digest)
            elif self.subjects.state(subject) is State.NOWHERE:
                self.orphaned.add(digest)

    def _may_be_needed(self, subject: Subject, *, named: bool) -> bool:
        """Whether a manifest stays for its subject, though its tag goes.

        One whose subject can't be read or looked up goes only with a tag that is named.
        """
        state = self.subjects.state(subject)
        return state is State.ALIVE or (state is State.UNKNOWN and not named)

    def _versions_without_manifest(self) -> list[Digest]:
        """What staying tags point to and is not there. An untagged manifest may be a child of it."""
        missing = self.repository.missing
        return sorted(
            tag.digest
            for name, tag in (self.repository.tags.items() if missing else ())
            if tag.digest in missing and not self.tags.verdicts[name].goes and digests.subject_of_tag(name) is None
        )

    def _targets(self, names: Collection[str]) -> dict[Digest, str]:
        """What those of some tags that go point to."""
        targets: dict[Digest, str] = {}
        verdicts = self.tags.verdicts
        for name, (digest, _) in self.repository.tags.items() if names else ():
            if digest is not None and name in names and verdicts[name].goes:
                targets.setdefault(digest, sys.intern(f"its tag {name} goes"))  # repositories share tags' names
        return targets

    @cached_property
    def _carried_at_any_age(self) -> Collection[Digest]:
        """What goes along although it was pushed by digest a short while ago: with what is named, or is a dependant."""
        names = {name for name in self.repository.tags if digests.subject_of_tag(name)}
        if not self.question.intent.older_than:  # which holds for exact names too
            names.update(self.tag_judge.exactly)
        return self._along(self._targets(names) | self._dependants_that_go())

    def _dependants_that_go(self) -> dict[Digest, str]:
        """The untagged dependants that go for their subject; one that stays all the same keeps what is below it."""
        pointed = {tag.digest for tag in self.repository.tags.values()}
        going: dict[Digest, str] = {}
        for digest, manifest in self.repository.manifests.items():
            link = self.repository.revisions.get(digest)
            if manifest.subject is not None and link is not None and digest not in pointed:
                subject = digests.subject(manifest.subject)
                verdict = dependant_verdict(self.question, self.subjects, subject, link.pushed)
                if verdict.goes:
                    going[digest] = verdict.reason
        return going

    def _along(self, going: dict[Digest, str]) -> dict[Digest, str]:
        """Some manifests that go, and the children that they take along."""
        for child, parent in list(closure(self.repository, list(going), mentions=False)):
            going[child] = f"child of {digests.short(parent)}, which goes"
        return going

    def _is_young(self, pushed: int) -> bool:
        return self.question.now - pushed < self.question.intent.younger_than

    def _old_enough(self, moment: int) -> bool:
        after = self.question.intent.untagged_after
        return after is not None and plausible(moment, self.question.now) and self.question.now - moment >= after

    def _by_itself(self, digest: Digest, pushed: int, loosely: str, absent: list[Digest], *, tagged: bool) -> Verdict:
        """The verdict on a manifest that no other takes along and none keeps.

        Args:
            digest: the manifest.
            pushed: when it was; nanoseconds.
            loosely: the pattern by which a deletion is about it, or about the whole repository.
            absent: what staying tags point to and is not there.
            tagged: whether a tag points to it.
        """
        if loosely:
            if self._is_young(pushed):
                return Verdict(False, self.question.young)
            return Verdict(True, f"matches delete: {loosely}")
        if tagged or self.question.intent.untagged_after is None:
            by_policy = bool(self.question.intent.policies)
            return Verdict(False, "untagged; the policy has no `untagged`" if by_policy else "untagged")
        verdict = self._untagged(digest, pushed)
        if verdict.goes and absent:
            return Verdict(False, f"it may belong to {digests.short(absent[0])}, whose manifest is missing")
        return verdict

    def _untagged(self, digest: Digest, pushed: int) -> Verdict:
        """The verdict on a manifest that no tag points to: its age counts from when the last tag left it."""
        if not self.question.intent.untagged_in(self.repository.name):
            return Verdict(False, "untagged")
        if self._is_young(pushed):
            return Verdict(False, self.question.young)
        if self._old_enough(pushed) and self._old_enough(max(pushed, self._departed(digest), self._departed(ANY))):
            by_policy = bool(self.question.intent.policies)
            return Verdict(True, f"untagged for {'longer than the policy allows' if by_policy else 'long enough'}")
        return Verdict(False, "untagged, but not for long enough")

    def _departed(self, digest: Digest) -> int:
        """When the last tag left a digest, by a push since or by a run; 0: that is not known."""
        return max(self.departures().get(digest, 0), self.question.departures.get((self.repository.name, digest), 0))
