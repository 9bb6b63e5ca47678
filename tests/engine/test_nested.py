"""Indexes that list indexes: anybody may push thousands of them, and whoever cleans the registry has to get through."""

from collections.abc import Iterator
from pathlib import Path

from regkeeper.retention.judging.judgement import Judgement, judge
from regkeeper.retention.judging.question import Question
from regkeeper.retention.judging.subjects import Subjects
from regkeeper.retention.policies.in_use import InUse
from regkeeper.retention.policies.intent import deletion_intent
from regkeeper.retention.policies.references import parse_reference
from regkeeper.retention.volume.digests import Digest, parse
from regkeeper.retention.volume.layout import open_volume
from regkeeper.retention.volume.repository import Repository
from regkeeper.retention.volume.repository_reader import RepositoryReader
from tests.engine.volumes import NOW, Volume

NESTED = 60


class Counted(tuple[Digest, ...]):
    """Children that count how often somebody goes through them."""

    looks = 0

    def __iter__(self) -> Iterator[Digest]:
        Counted.looks += 1
        return super().__iter__()


def nested(root: Path, *, lists_all: bool) -> Repository:
    """An image, and indexes each of which lists all before it, or the last; first those that are pushed last."""
    volume = Volume(root)
    app = volume.repository("app")
    pushed = [app.push_image(layers=[b"1"])]
    for _ in range(NESTED):
        pushed.append(app.push_index(children=pushed if lists_all else pushed[-1:]))
    app.tag("v1", pushed[-1].digest)
    with open_volume(str(volume.root)) as opened:
        repository = RepositoryReader(opened).read("app")
    order = [parse(descriptor.digest) for descriptor in reversed(pushed)]
    found = [(digest, repository.manifests[digest]) for digest in order if digest is not None]
    repository.manifests = {digest: entry._replace(children=Counted(entry.children)) for digest, entry in found}
    Counted.looks = 0
    return repository


def judged(repository: Repository, used: InUse | None = None) -> Judgement:
    question = Question(deletion_intent([parse_reference("app:v1")]), NOW, used or InUse())
    return judge(question, repository, Subjects(), dict)


def test_indexes_that_list_each_other_go_before_what_they_list_and_are_looked_at_a_few_times(tmp_path: Path) -> None:
    """Of a thousand that took two minutes, of three thousand an hour, in which nothing else was cleaned."""
    repository = nested(tmp_path, lists_all=True)
    repository.revisions = dict(reversed([(digest, repository.revisions[digest]) for digest in repository.manifests]))
    going = judged(repository).going
    assert Counted.looks <= 12 * NESTED
    assert [len(repository.manifests[digest].children) for digest in going] == list(range(NESTED, -1, -1))


def test_the_indexes_above_an_image_in_use_are_looked_at_a_few_times(tmp_path: Path) -> None:
    repository = nested(tmp_path, lists_all=False)
    (image,) = (digest for digest, manifest in repository.manifests.items() if not manifest.children)
    judgement = judged(repository, InUse(anywhere={image: "Pod shop/web"}))
    assert Counted.looks <= 12 * NESTED
    assert not judgement.going
    assert judgement.alive == repository.revisions.keys()
