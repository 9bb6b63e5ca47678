"""One repository judged: its tags, then its manifests, then what of the volume it needs from now on.

A manifest goes for a cause, never for the lack of one: its tag goes, a deletion names it, its subject goes, or it has
been untagged for longer than the policy allows. And it goes only if nothing that stays needs it: no tag, no index, no
manifest that has no cause to go.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

from regkeeper.retention.judging.manifest_verdicts import Departures, ManifestJudge
from regkeeper.retention.judging.question import Question, Verdict
from regkeeper.retention.judging.staying import Staying
from regkeeper.retention.judging.subjects import Subjects
from regkeeper.retention.judging.tag_verdicts import TagJudge, TagVerdicts
from regkeeper.retention.judging.users import users_of_manifests
from regkeeper.retention.volume import digests
from regkeeper.retention.volume.digests import Digest, Subject
from regkeeper.retention.volume.manifest import Manifest
from regkeeper.retention.volume.repository import Repository


class Judgement(Struct):
    """What becomes of one repository.

    Attributes:
        tags: the verdicts on its tags.
        manifests: the verdicts on the manifests that no staying tag points to.
        alive: the manifests that stay, those that can't be read too.
        doubtful: those that stay only for a reason of others, and those that go.
        orphaned: those of them that stay although their subject is nowhere.
        going: revisions that go, indexes before what they list.
        needed: digests of all blobs that it needs from now on.
        freed: digests of blobs that it needed before.
        unneeded: layer links that nothing in it needs.
        pinned_by: what can't be read, so that nothing goes that isn't named exactly; empty: nothing.
        holds: why its layer links and the blobs that it names stay; empty: nothing holds them.
        whole: a deletion by name empties it: no tag and no manifest stays, so its links hold nothing.
        guards: layer links that have to be older than `guard_age` (nanoseconds) for that, and may not have come back by
            an undo: a young one belongs to a push under way.
    """

    name: str
    tags: TagVerdicts
    manifests: dict[Digest, Verdict] = field(default_factory=dict)
    alive: set[Digest] = field(default_factory=set)
    doubtful: set[Digest] = field(default_factory=set)
    orphaned: set[Digest] = field(default_factory=set)
    going: list[Digest] = field(default_factory=list)
    needed: set[Digest] = field(default_factory=set)
    freed: set[Digest] = field(default_factory=set)
    unneeded: set[Digest] = field(default_factory=set)
    pinned_by: str = ""
    holds: str = ""
    whole: bool = False
    guards: set[Digest] = field(default_factory=set)
    guard_age: int = 0

    @property
    def victims(self) -> list[str]:
        """The tags that go."""
        return [name for name, verdict in self.tags.verdicts.items() if verdict.goes]

    @property
    def changes(self) -> bool:
        """Whether anything in the repository itself goes, or could."""
        return bool(self.going or self.unneeded or self.victims)


def judge(question: Question, repository: Repository, subjects: Subjects, departures: Departures) -> Judgement:
    """The judgement on a repository, given what is known of subjects elsewhere."""
    return _Judge(question, repository, subjects, departures).judge()


class _Judge:
    """Judges one repository.

    Args:
        lifting: whether what a deletion names and can't be read pins nothing, provided that it goes.
    """

    def __init__(
        self,
        question: Question,
        repository: Repository,
        subjects: Subjects,
        departures: Departures,
        *,
        lifting: bool = True,
    ) -> None:
        self.question = question
        self.repository = repository
        self.subjects = subjects
        self.departures = departures
        self.lifting = lifting
        self.used = users_of_manifests(question.in_use, repository)
        self.tag_judge = TagJudge(question, repository, self.used, subjects)
        self.asked = dict(self._named_digests(exactly=True))
        self.matched = dict(self._named_digests(exactly=False))
        self.kept: dict[Digest, str] = {}
        self.waiting: list[tuple[Digest, Subject]] = []  # what tags of dependants point to; and their subjects, here

    def _named_digests(self, *, exactly: bool) -> Iterable[tuple[Digest, str]]:
        """The digests that deletions name, of this repository or of those that match a pattern, and their text."""
        for reference in self.tag_judge.references:
            if reference.tag is None and reference.digest is not None and reference.exact == exactly:
                yield reference.digest, reference.text

    def judge(self) -> Judgement:
        repository = self.repository
        tags, pins = self._judge_tags()
        answer = Judgement(repository.name, tags, pinned_by=pins[0] if pins else "")
        if pins:
            self._hold_everything(answer)
            return answer
        roots = self._tag_roots(tags)
        manifests = ManifestJudge(
            self.question,
            repository,
            self.subjects,
            self.departures,
            tag_judge=self.tag_judge,
            tags=tags,
            asked=self.asked,
            matched=self.matched,
        )
        manifests.judge(roots)
        candidates, self.kept = manifests.candidates, manifests.kept
        answer.orphaned = manifests.orphaned
        waiting = [*self.waiting, *manifests.waiting]
        staying = Staying(
            repository,
            candidates,
            self.kept,
            unclaimed=manifests.unclaimed,
            waiting=waiting,
            fallen=manifests.fallen,
            loose=manifests.unclaimed.union(digest for digest, _ in manifests.waiting),
            subjects=self.subjects,
        )
        alive = staying.find(roots)
        if repository.corrupt and alive and self._damaged_stays(candidates, alive):
            # Named, and needed, used or too young all the same: what it needs is no better known for that.
            return _Judge(self.question, repository, self.subjects, self.departures, lifting=False).judge()
        answer.doubtful = staying.doubtful.union(candidates, manifests.fallen)
        pointed = {tag.digest for name, tag in repository.tags.items() if not tags.verdicts[name].goes}
        for digest, reason in self.kept.items():
            if digest in alive and digest not in pointed:
                answer.manifests[digest] = Verdict(False, reason)
        going = {digest: reason for digest, reason in candidates.items() if digest not in alive}
        answer.alive = alive.union(digest for digest in repository.corrupt if digest not in going)
        for digest, reason in going.items():
            answer.manifests[digest] = Verdict(True, reason)
        answer.going = _parents_first(repository, going)
        self._collect_needs(answer, alive)
        self._note_refusals(tags, alive, going)
        if not alive and all(verdict.goes for verdict in tags.verdicts.values()):
            self._find_whole(answer)
        return answer

    # What can't be read.

    def _judge_tags(self) -> tuple[TagVerdicts, list[str]]:
        """The verdicts on the tags, and what pins the repository.

        What a deletion names exactly pins nothing, provided that it goes: an unreadable tag in use stays all the same.
        """
        named = self.tag_judge.named_exactly() if self.lifting else set()
        pins = self._pins(named)
        tags = self.tag_judge.judge(pins[0] if pins else "")
        staying = {name for name in named if not tags.verdicts[name].goes}
        if not pins and staying and (pins := self._pins(named - staying)):
            self.tag_judge = TagJudge(self.question, self.repository, self.used, self.subjects)
            tags = self.tag_judge.judge(pins[0])
        return tags, pins

    def _pins(self, going: set[str]) -> list[str]:
        """What pins the repository if these tags go.

        An exact deletion of the whole repository lifts the pin of a manifest only if no tag of it is kept.
        """
        repository = self.repository
        pins = [f"tag {name}" for name, tag in repository.tags.items() if tag.digest is None and name not in going]
        if repository.corrupt:
            pins += self._pins_of_manifests(going)
        return pins + [f"{problem.where} ({problem.message})" for problem in repository.unreadable]

    def _pins_of_manifests(self, going: set[str]) -> Iterator[str]:
        repository = self.repository
        pointed = {tag.digest for name, tag in repository.tags.items() if name not in going}
        one_by_one = going & self.tag_judge.named_exactly(one_by_one=True) & repository.tags.keys()
        lifted = {repository.tags[name].digest for name in one_by_one}
        lifted.update(self.asked if self.lifting else ())
        whole = self.lifting and self.tag_judge.whole_repository()[1] and not pointed
        for digest, message in repository.corrupt.items():
            if digest in pointed or not (whole or digest in lifted):
                yield f"manifest {digests.short(digest)} ({message})"

    def _damaged_stays(self, candidates: Mapping[Digest, str], alive: set[Digest]) -> bool:
        """Whether a manifest that can't be read stays and pinned nothing; without a link it goes with its tag."""
        corrupt = self.repository.corrupt.keys()
        unlinked = {tag.digest for tag in self.repository.tags.values()} - self.repository.revisions.keys()
        return bool(corrupt & alive or corrupt - candidates.keys() - unlinked)

    def _hold_everything(self, answer: Judgement) -> None:
        """What is named exactly goes; every blob that the repository names in any way stays."""
        self._need_all_links(answer)
        answer.alive.update(self.repository.revisions, self.repository.corrupt)
        for digest, manifest in self.repository.manifests.items():
            answer.needed.add(digest)
            answer.needed.update(manifest.blobs)
        answer.holds = f"something in it can't be read: {answer.pinned_by}"
        stays = f"something in the repository can't be read: {answer.pinned_by}"
        pointed = {tag.digest for name, tag in self.repository.tags.items() if not answer.tags.verdicts[name].goes}
        for digest in self.repository.revisions:
            if digest not in pointed:
                answer.manifests[digest] = Verdict(False, stays)
        for digest, text in (*self.asked.items(), *self.matched.items()):
            if digest in self.repository.revisions:
                answer.tags.answered.add(text)
                answer.tags.refused.append((text, digests.to_text(digest), stays))
        self._refuse_whole(answer.tags, dict.fromkeys(answer.manifests, stays))

    def _need_all_links(self, answer: Judgement) -> None:
        """Whatever can't be read may need all that links of the repository name: nothing else is served there."""
        repository = self.repository
        needed = answer.needed
        needed |= repository.layers | repository.unparsed | set(repository.aliases.values())
        needed.update(repository.revisions, repository.unlinked, repository.missing, repository.corrupt)
        needed.update(tag.digest for tag in repository.tags.values() if tag.digest is not None)

    # Causes and roots.

    def _tag_roots(self, tags: TagVerdicts) -> set[Digest]:
        """What the staying tags point to, save tags of dependants that wait for a subject in this repository."""
        roots: set[Digest] = set()
        for name, tag in self.repository.tags.items():
            if tag.digest is None or tags.verdicts[name].goes:
                continue
            subject = tags.waiting.get(name)
            if subject is not None and self._may_go(name, tag.digest, subject):
                self.waiting.append((tag.digest, subject))
            else:
                roots.add(tag.digest)
        return roots

    def _may_go(self, tag: str, digest: Digest, subject: Subject) -> bool:
        """Whether a dependant's tag, which stays for its subject, goes if that goes here."""
        name = self.repository.name
        allowed = self.question.allows(name, tag, digest) and self.question.allows(name, "", digest)
        return allowed and not self.subjects.is_firm(subject, name)

    # What is needed.

    def _collect_needs(self, answer: Judgement, alive: set[Digest]) -> None:
        repository = self.repository
        needed = answer.needed
        needed |= alive | repository.unparsed
        manifests = repository.manifests
        staying = [manifests[digest] for digest in alive if digest in manifests]
        needed.update(*[manifest.blobs for manifest in staying], *map(self._linked_children, staying))
        unknown = [digest for digest in alive if digest in repository.missing or digest in repository.corrupt]
        if unknown:
            answer.holds = f"manifest {digests.short(unknown[0])} can't be read, so what it needs is not known"
            self._need_all_links(answer)
        else:
            answer.unneeded = repository.layers - needed
        lost = manifests.keys() - alive
        going = [manifests[digest] for digest in lost]
        answer.freed.update(lost, *[manifest.blobs for manifest in going], *map(self._linked_children, going))
        answer.freed.update(answer.going)  # one that can't be read, too: it goes by name, and its own blob with it
        answer.freed -= needed

    def _linked_children(self, manifest: Manifest) -> Iterable[Digest]:
        """Children that the repository has by a layer link, through which 2.8 serves manifests too.

        Those that are revisions are judged by themselves, and one that the repository lacks is not needed by it.
        """
        return self.repository.layers.intersection(manifest.children) if manifest.children else ()

    def _note_refusals(self, tags: TagVerdicts, alive: set[Digest], going: Mapping[Digest, str]) -> None:
        for digest, text in (*self.asked.items(), *self.matched.items()):
            if digest in going or digest in alive:
                tags.answered.add(text)
            if digest in alive:
                reason = self.kept.get(digest) or ", ".join(
                    f"tag {name}" for name, tag in self.repository.tags.items() if tag.digest == digest
                )
                tags.refused.append((text, digests.to_text(digest), reason))
        self._refuse_whole(tags, {digest: self.kept[digest] for digest in alive & self.kept.keys()})

    def _refuse_whole(self, tags: TagVerdicts, staying: Mapping[Digest, str]) -> None:
        """Note what stays of a repository that was to go, one for each reason, if no tag tells of it."""
        exactly = self.tag_judge.whole_repository()[1]
        if exactly and not tags.refused:
            first = {staying[digest]: digest for digest in sorted(staying, reverse=True)}
            tags.refused.extend((exactly, digests.to_text(digest), reason) for reason, digest in first.items())

    def _find_whole(self, answer: Judgement) -> None:
        """Note of a repository that loses its last tag and manifest whether deletions by name took any of them."""
        loosely, exactly = self.tag_judge.whole_repository()
        if exactly:
            answer.whole = True
        elif self.tag_judge.exactly or self.asked.keys() & self.repository.revisions.keys():
            answer.whole = True
            answer.guards, answer.guard_age = self.repository.layers - answer.freed, self.question.intent.garbage_after
        elif loosely or self.tag_judge.loosely or self.matched.keys() & self.repository.revisions.keys():
            answer.whole = True
            answer.guards, answer.guard_age = self.repository.layers, self.question.intent.younger_than


def _parents_first(repository: Repository, going: Mapping[Digest, str]) -> list[Digest]:
    """The digests in an order in which a crash leaves no index without what it lists."""
    depth: dict[Digest, int] = dict.fromkeys(going, 0)
    indexes = {digest: repository.manifests[digest].children for digest in going if repository.is_index(digest)}
    above = Counter(child for children in indexes.values() for child in children if child in depth)
    ready = [digest for digest in indexes if digest not in above]
    while ready:  # each once, behind all that list it: anybody may push thousands that list each other
        parent = ready.pop()
        for child in indexes.get(parent, ()):
            if child in depth:
                depth[child] = max(depth[child], depth[parent] + 1)
                above[child] -= 1
                if not above[child]:
                    ready.append(child)
    return sorted(going, key=lambda digest: (digest not in indexes, depth[digest], digest))
