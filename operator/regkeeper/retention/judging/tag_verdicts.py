"""Which tags of one repository go, which stay, and why: rules, deletions by name, what is in use, dependants."""

import sys
from collections.abc import Mapping

from msgspec import Struct, field

from regkeeper.retention.judging.dependants import dependant_verdict
from regkeeper.retention.judging.question import UNAPPROVED, YOUNGER, Question, Verdict
from regkeeper.retention.judging.subjects import State, Subjects
from regkeeper.retention.policies.references import Reference
from regkeeper.retention.policies.rules import Covered, Matching, plausible
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest, Subject, subject_of_tag
from regkeeper.retention.volume.manifest import Shape
from regkeeper.retention.volume.repository import NO_LINK, Repository, Tag


class TagVerdicts(Struct):
    """The verdicts on a repository's tags.

    Attributes:
        verdicts: by tag.
        covered: tags that a rule which deletes covers.
        matched: tags that a pattern of `delete` matches.
        waiting: subjects of the tags that stay because their subject does.
        orphaned: tags that stay although their subject is nowhere.
        by_rule: victims that no deletion by name asked for.
        answered: the deletions by name that found something.
        refused: what a deletion by name asked for in vain: its text, the tag, the reason.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    covered: set[str] = field(default_factory=set)
    matched: set[str] = field(default_factory=set)
    waiting: dict[str, Subject] = field(default_factory=dict)
    orphaned: set[str] = field(default_factory=set)
    by_rule: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    refused: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def selected(self) -> set[str]:
        """Tags that something other than their exact name puts at stake: of these the limits take the share."""
        return self.covered | self.matched


class TagJudge:
    """Judges the tags of one repository.

    Args:
        used: the users of manifests of this repository, parents and children of what is named among them.
        subjects: where the subjects of dependants stand.
    """

    def __init__(
        self, question: Question, repository: Repository, used: Mapping[Digest, str], subjects: Subjects
    ) -> None:
        self.question = question
        self.repository = repository
        self.used = used
        self.subjects = subjects
        self.references = question.references(repository.name)  # may be thousands for each repository
        self.answer = TagVerdicts()
        self.exactly: dict[str, str] = {}  # by tag, the deletion that names it
        self.loosely: dict[str, str] = {}  # by tag, the pattern that matches it

    def judge(self, pinned_by: str = "") -> TagVerdicts:
        """The verdicts.

        Args:
            pinned_by: what in the repository can't be read, so that only what is named exactly goes.
        """
        tags = self.repository.tags
        dependants = {name: subject for name in tags if (subject := subject_of_tag(name)) is not None}
        self._match_deletions(dependants)
        self.answer.matched = set(self.loosely)
        kept, covered = self._ask_rules(dependants)
        for name in self.repository.unlinked_tags:
            self.answer.verdicts[name] = self._unlinked_verdict(name)
        everything_stays = not covered and not self.exactly and not self.loosely and not dependants
        if everything_stays and not pinned_by:
            verdict = Verdict(False, self.question.uncovered)
            for name, tag in tags.items():
                user = self._user(name, tag)
                self.answer.verdicts[name] = Verdict(False, f"in use by {user}") if user else verdict
            return self.answer
        # Nearly all tags are kept by a rule, and nothing else is to be said of them.
        rules_suffice = not (self.exactly or self.loosely or self.used or self.question.in_use.tags)
        verdicts = {reason: Verdict(False, reason) for reason in set(kept.values())} if rules_suffice else {}
        for name, tag in tags.items():
            self.answer.verdicts[name] = verdicts.get(kept.get(name, "")) or self._approved(
                name, tag, self._verdict(name, tag, kept, covered, dependants.get(name), pinned_by)
            )
        return self.answer

    def goes_with_named_subject(self, subject: Subject | None) -> bool:
        """Whether a deletion names a subject exactly and it goes: so do its dependants, though an undo marked them."""
        return (
            subject is not None
            and self.subjects.state(subject) is State.GOING
            and any(
                reference.exact and (reference.whole_repository or self._points_to(reference, subject))
                for reference in self.references
            )
        )

    def going_by_name(self) -> set[str]:
        """The tags that a deletion names exactly, and those that go with a subject which one names."""
        if not self.references:
            return set()
        return {
            name
            for name in self.repository.tags
            if name in self.exactly or self.goes_with_named_subject(subject_of_tag(name))
        }

    def _points_to(self, reference: Reference, subject: Subject) -> bool:
        tag = self.repository.tags.get(reference.tag) if reference.tag is not None else None
        digest = reference.digest if reference.tag is None else tag and tag.digest
        return digest is not None and digests.subject(digest) == subject

    def named_exactly(self, *, one_by_one: bool = False) -> set[str]:
        """The tags that a deletion names, and unless `one_by_one` all of them if it names the repository."""
        if not self.references:
            return set()
        names = {*self.repository.tags, *self.repository.unlinked_tags}
        return {
            name
            for reference in self.references
            if reference.exact
            for name in names
            if (reference.tag == name and reference.digest is None) or (reference.whole_repository and not one_by_one)
        }

    def whole_repository(self) -> tuple[str, str]:
        """The pattern, and the exact name, by which a deletion is about the whole repository."""
        loosely = exactly = ""
        for reference in self.references:
            if reference.whole_repository:
                if reference.exact:
                    exactly = reference.text
                else:
                    loosely = reference.text
        return loosely, exactly

    def _match_deletions(self, dependants: Mapping[str, Subject]) -> None:
        for reference in self.references:
            if reference.tag is None and reference.digest is not None:
                continue
            if reference.whole_repository:
                self.answer.answered.add(reference.text)
            found = self.exactly if reference.exact else self.loosely
            for name, tag in self.repository.tags.items():
                if reference.tag is not None and not reference.matches_tag(name):
                    continue
                if reference.digest is not None and reference.digest != tag.digest:
                    continue
                self.answer.answered.add(reference.text)
                if name not in dependants or reference.exact:
                    found.setdefault(name, reference.text)
            for name in self.repository.unlinked_tags if reference.exact and reference.digest is None else ():
                if reference.tag is None or reference.tag == name:
                    self.answer.answered.add(reference.text)
                    found.setdefault(name, reference.text)

    def _ask_rules(self, dependants: Mapping[str, Subject]) -> tuple[dict[str, str], dict[str, str]]:
        """The reasons of the tags that rules keep, and the labels of the rules that cover tags."""
        kept: dict[str, str] = {}
        covered: dict[str, str] = {}
        rules = self.question.rules(self.repository.name)
        if not rules:
            return kept, covered
        # One without a revision link no registry serves, as after a deletion by digest before distribution 2.7.
        whole = self.repository.revisions.keys() - self.repository.missing - self.repository.corrupt.keys()
        versions = [
            Covered(name, tag.digest, tag.link.pushed, tag.digest in whole)
            for name, tag in self.repository.tags.items()
            if name not in dependants
        ]
        for rule in rules:
            mine = [version for version in versions if rule.covers_tag(version.name)]
            for name, reason in rule.kept(mine, self.question.now).items():
                kept.setdefault(name, reason)
            if rule.deletes:
                for version in mine:
                    if version.digest is not None:
                        covered.setdefault(version.name, rule.label)
        self.answer.covered = set(covered)
        return kept, covered

    def _verdict(
        self,
        name: str,
        tag: Tag,
        kept: Mapping[str, str],
        covered: Mapping[str, str],
        subject: Subject | None,
        pinned_by: str,
    ) -> Verdict:
        asked = self.exactly.get(name) or self.loosely.get(name)
        user = self._user(name, tag)
        reason = f"in use by {user}" if user else kept.get(name)
        if reason is None and subject is not None:
            reason = self._kept_by_name(name)
        if reason is None and name in self.exactly:
            if not self.question.is_younger_than_asked(tag.link.pushed):
                return Verdict(True, f"named by delete: {asked}")
            reason = YOUNGER
        reason = reason or self._protection(name, tag, pinned_by)
        if reason is None and subject is not None:
            verdict = dependant_verdict(self.question, self.subjects, subject, tag.link.pushed)
            if verdict.goes and self._may_be_ordinary(name, tag, subject):
                verdict = Verdict(False, "it points to an image, so that it may be no dependant")
            if not verdict.goes:
                self.answer.waiting[name] = subject
                if self.subjects.state(subject) is State.NOWHERE:
                    self.answer.orphaned.add(name)
            return verdict
        if reason is not None:
            if asked:
                self.answer.refused.append((asked, name, reason))
                reason = f"asked for by delete: {asked}, but kept: {reason}"
            return Verdict(False, reason)
        if asked:
            return Verdict(True, f"matches delete: {asked}")
        if name in covered:
            self.answer.by_rule.add(name)
            return Verdict(True, sys.intern(f"covered by rule {covered[name]}, which does not keep it"))
        return Verdict(False, self.question.uncovered)

    def _may_be_ordinary(self, name: str, tag: Tag, subject: Subject) -> bool:
        """Whether an orphan may be an image whose tag is a hash of its sources, as Bazel's are.

        A fallback tag points to an index (OCI distribution 1.1, Referrers Tag Schema), or what it points to has a
        subject.
        """
        manifest = self.repository.manifests.get(tag.digest) if tag.digest is not None else None
        is_image = manifest is not None and manifest.shape is Shape.IMAGE and manifest.subject is None
        return is_image and "." not in name and self.subjects.state(subject) is State.NOWHERE

    def _unlinked_verdict(self, name: str) -> Verdict:
        """The verdict on a tag without a link, which has neither digest nor time."""
        named = self.exactly.get(name)
        user = self.question.in_use.tags.get((self.repository.name, name))
        kept = f"in use by {user}" if user else self._kept_by_name(name)
        if named and not kept:
            return self._approved(name, Tag(None, NO_LINK), Verdict(True, f"named by delete: {named}"))
        if named and kept:
            self.answer.refused.append((named, name, kept))
        return Verdict(False, kept or "it has no link; only a deletion by its name removes it")

    def _kept_by_name(self, name: str) -> str | None:
        reasons = (
            f"matches {keeper.text} ({rule.label})"
            for rule in self.question.rules(self.repository.name)
            if rule.covers_tag(name)
            for keeper in rule.keepers
            if isinstance(keeper, Matching) and keeper.matches(name)
        )
        return next(reasons, None)

    def _user(self, name: str, tag: Tag) -> str | None:
        user = self.question.in_use.tags.get((self.repository.name, name))
        return user or (self.used.get(tag.digest) if tag.digest is not None else None)

    def _protection(self, name: str, tag: Tag, pinned_by: str) -> str | None:
        """Why a tag stays that is not named exactly, whatever rules and patterns say."""
        if tag.digest is None:
            return "its link can't be read"
        if pinned_by:
            return f"something in the repository can't be read: {pinned_by}"
        if tag.digest in self.repository.missing:
            return "its manifest is missing"
        if tag.digest not in self.repository.revisions:
            return "its manifest's link is missing"
        run = self.question.restored_from(self.repository.name, name, tag.digest)
        if run is not None and not self.goes_with_named_subject(subject_of_tag(name)):
            return f"restored from run {run}"
        if subject_of_tag(name) is not None:
            return None
        pushed = tag.link.pushed
        if not plausible(pushed, self.question.now):
            return "pushed in the future" if pushed > self.question.now else "its push time can't be right"
        if self.question.now - pushed < self.question.intent.younger_than:
            return self.question.young
        return None

    def _approved(self, name: str, tag: Tag, verdict: Verdict) -> Verdict:
        if not verdict.goes or self.question.allows(self.repository.name, name, tag.digest):
            return verdict
        self.answer.by_rule.discard(name)
        return Verdict(False, UNAPPROVED)
