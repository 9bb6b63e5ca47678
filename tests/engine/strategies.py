"""Hypothesis strategies: small registries with everything that makes deletion hard, and policies to go with them.

A registry is drawn as a list of `Step`s, oldest first, as clients would have taken them, then `Damage`s; `build`
carries them out on a `Volume`. So a failing example prints as a short story, and shrinks to a shorter one. Names,
contents and ages come from small pools, so that they meet: shared layers, moved tags, equal times, nested repositories.

No age lies on a boundary of a policy's duration: which side a boundary belongs to has tests of its own.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from hypothesis import strategies as st

from tests.engine import documents
from tests.engine.documents import Descriptor, Manifest
from tests.engine.oracle_policy import InUse
from tests.engine.volumes import DAY, HOUR, Repository, Volume

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORIES = ("app", "team", "team/app", "team/app/deep", "current-app")
TAGS = ("latest", "v1", "v1.0.0", "v1.2", "1.10", "1.9.3", "v2.0.0-rc.1", "stable-1", "sha256-short")
LAYERS = tuple(b"layer %d" % number * (number + 1) for number in range(5))
NOWHERE = Descriptor(documents.OCI_MANIFEST, documents.digest_of(b"a manifest that nobody pushed"), 29)
UNREADABLE = Descriptor(documents.OCI_MANIFEST, "sha256:CCC", 3)

FUTURE = -5 * HOUR
BEFORE_1980 = 1_780_000_000 - 300_000_000  # seconds before the volume's NOW
AGES = (FUTURE, 600, 2 * HOUR, 20 * HOUR, 30 * HOUR, 3 * DAY, 10 * DAY, 29 * DAY, 45 * DAY, 100 * DAY, BEFORE_1980)

Kind = Literal[
    "image",
    "docker image",
    "zstd image",
    "sha512 image",
    "foreign layer",
    "empty config",
    "artifact",
    "schema 1",
    "unknown type",
    "index",
    "sparse index",
    "referring index",
    "retag",
    "retag as dependant",
    "copy",
    "referrer",
    "referrer of something unreadable",
    "signature",
    "fallback tag",
    "mount",
    "blob",
    "half-written blob",
    "upload",
    "delete revision",
]

DamageKind = Literal[
    "empty tag link",
    "malformed tag link",
    "empty revision link",
    "corrupt manifest",
    "manifest without data",
    "half-written manifest",
    "layer without data",
    "layer without link",
    "empty layer link",
    "tag without current",
    "foreign file in tags",
    "unknown room",
]


@dataclass(frozen=True)
class Step:
    """One thing that a client did.

    Attributes:
        kind: what.
        repository: where.
        age: when, in seconds before `now`.
        tags: under which tags, where it is a manifest.
        layers: which of `LAYERS`.
        of: which earlier manifests, counted back from the latest and around; -1 is one that nobody pushed.
    """

    kind: Kind
    repository: str
    age: int
    tags: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()
    of: tuple[int, ...] = ()


@dataclass(frozen=True)
class Damage:
    """What happened to the volume behind the registry's back; `of` chooses the victim among those that there are."""

    kind: DamageKind
    of: int


@dataclass(frozen=True)
class History:
    """A whole registry."""

    steps: tuple[Step, ...]
    damages: tuple[Damage, ...] = ()


@dataclass
class _Builder:
    """Carries steps out; remembers the manifests, so that later ones can refer to them."""

    volume: Volume
    pushed: list[tuple[str, Manifest, Descriptor]] = field(default_factory=list)

    def take(self, step: Step) -> None:
        repository = self.volume.repository(step.repository)
        manifest = self.manifest(repository, step)
        if manifest is not None:
            algorithm = "sha512" if step.kind == "sha512 image" else "sha256"
            tags = self.tags(step)
            self.remember(repository, manifest, repository.push(manifest, *tags, age=step.age, algorithm=algorithm))
        elif step.kind == "retag":
            self.retag(repository, step)
        elif step.kind == "retag as dependant":
            self.retag_as_dependant(repository, step)
        elif step.kind == "copy":
            self.copy(repository, step)
        elif step.kind == "mount":
            for number in step.layers:
                repository.mount(documents.digest_of(LAYERS[number]), age=step.age)
        elif step.kind == "blob":
            for number in step.layers:
                self.volume.put_blob(LAYERS[number] + b" of nobody", age=step.age)
        elif step.kind == "half-written blob":
            for number in step.layers:
                self.volume.half_write_blob(LAYERS[number] + b" of nobody", age=step.age)
        elif step.kind == "upload":
            repository.start_upload(f"upload-{step.age}", age=step.age)
        elif step.kind == "delete revision":
            self.delete_revision(repository)

    def remember(self, repository: Repository, manifest: Manifest, descriptor: Descriptor) -> None:
        self.pushed.append((repository.name, manifest, descriptor))

    def earlier(self, step: Step) -> list[Descriptor]:
        """Those that the step refers to, from whatever repository."""
        if not self.pushed:
            return [NOWHERE for _ in step.of]
        return [NOWHERE if number < 0 else self.pushed[-1 - number % len(self.pushed)][2] for number in step.of]

    def own(self, repository: Repository) -> list[tuple[Manifest, Descriptor]]:
        """The manifests that a repository has now."""
        return [
            (manifest, descriptor)
            for _, manifest, descriptor in self.pushed
            if repository.revision_link(descriptor.digest).exists()
        ]

    def tags(self, step: Step) -> tuple[str, ...]:
        subject = (self.earlier(step) or [NOWHERE])[0].digest.replace(":", "-")[: len("sha256-") + 64]
        if step.kind == "signature":
            return (f"{subject}.sig",)
        if step.kind == "fallback tag":
            return (subject,)
        return step.tags

    def manifest(self, repository: Repository, step: Step) -> Manifest | None:
        """The manifest that the step pushes, its blobs pushed already; None if it pushes none."""
        earlier = self.earlier(step)
        match step.kind:
            case "index":
                own = [descriptor for _, descriptor in self.own(repository)]
                chosen = [own[-1 - number % len(own)] for number in step.of if number >= 0 and own]
                return documents.index(chosen)
            case "referring index":
                own = [descriptor for _, descriptor in self.own(repository)]
                chosen = [own[-1 - number % len(own)] for number in step.of[1:] if number >= 0 and own]
                return documents.index(chosen, subject=(earlier or [NOWHERE])[0])
            case "sparse index":
                return documents.index(earlier, media_type=documents.DOCKER_LIST)
            case "fallback tag":
                # Never the same twice: it could be its own subject, and then live as long as itself.
                others = [each for each in earlier[1:] if each != earlier[0]]
                return documents.index(others, annotations={"number": str(len(self.pushed))})
            case "foreign layer":
                elsewhere = Descriptor.of(b"never pushed %d" % step.age, documents.DOCKER_FOREIGN_LAYER)
                return self.image(repository, step, documents.DOCKER_MANIFEST, [elsewhere])
            case "schema 1":
                return documents.schema1(repository.name, "tag", self.layers(repository, step, documents.DOCKER_LAYER))
            case "artifact":
                subject = earlier[0] if earlier else None
                return documents.artifact(self.layers(repository, step, "text/plain"), subject=subject)
            case "unknown type":
                return documents.unknown([*self.layers(repository, step, "text/plain"), *earlier])
            case "empty config":
                config = repository.push_blob(documents.EMPTY_JSON, documents.OCI_EMPTY, age=step.age)
                return documents.image(config, self.layers(repository, step, "text/plain"), artifact_type="text/plain")
            case "image" | "sha512 image" | "signature":
                return self.image(repository, step)
            case "docker image":
                return self.image(repository, step, documents.DOCKER_MANIFEST)
            case "zstd image":
                return self.image(repository, step, layer_type=documents.OCI_LAYER_ZSTD)
            case "referrer":
                return self.image(repository, step, subject=(earlier or [NOWHERE])[0])
            case "referrer of something unreadable":
                return self.image(repository, step, subject=UNREADABLE)
        return None

    def layers(self, repository: Repository, step: Step, media_type: str) -> list[Descriptor]:
        return [repository.push_blob(LAYERS[number], media_type, age=step.age) for number in step.layers]

    def image(
        self,
        repository: Repository,
        step: Step,
        media_type: str = documents.OCI_MANIFEST,
        more: list[Descriptor] | None = None,
        *,
        layer_type: str = documents.OCI_LAYER,
        subject: Descriptor | None = None,
    ) -> Manifest:
        config = documents.image_config(None, salt=f"{step.kind} {step.age // DAY}")
        return documents.image(
            repository.push_blob(config, documents.OCI_CONFIG, age=step.age),
            [*self.layers(repository, step, layer_type), *(more or ())],
            media_type=media_type,
            subject=subject,
        )

    def retag(self, repository: Repository, step: Step) -> None:
        own = self.own(repository)
        for tag, number in zip(step.tags, step.of, strict=False):
            if own:
                repository.tag(tag, own[number % len(own)][1].digest, age=step.age)

    def retag_as_dependant(self, repository: Repository, step: Step) -> None:
        """A manifest that there is already becomes an SBOM of earlier ones, of several at once too."""
        own = self.own(repository)
        digest = own[step.of[0] % len(own)][1].digest if own and step.of else ""
        for subject in self.earlier(step)[1:] if digest else ():
            if digest != subject.digest:
                tag = f"{subject.digest.replace(':', '-')[: len('sha256-') + 64]}.sbom"
                repository.tag(tag, digest, age=step.age)

    def copy(self, repository: Repository, step: Step) -> None:
        """A manifest with the blobs that it names, as a client copies it; an index without its children."""
        if not self.pushed or not step.of:
            return
        _, manifest, descriptor = self.pushed[-1 - step.of[0] % len(self.pushed)]
        for number, layer in enumerate(LAYERS):
            if documents.digest_of(layer).encode() in manifest.content:
                repository.mount(documents.digest_of(LAYERS[number]), age=step.age)
        algorithm = descriptor.digest.partition(":")[0]
        repository.push(manifest, *step.tags, age=step.age, algorithm=algorithm)
        self.remember(repository, manifest, descriptor)

    def delete_revision(self, repository: Repository) -> None:
        """By digest, which the API allows; it takes the tags along (distribution, `DeleteManifest`)."""
        own = self.own(repository)
        if own:
            digest = own[0][1].digest
            repository.delete_revision(digest)
            for tag in repository.tags.glob("*"):
                if (tag / "current" / "link").read_text() == digest:
                    self.volume.remove(tag)

    def suffer(self, damage: Damage) -> None:
        v2, volume = self.volume.v2, self.volume
        manifests = {volume.blob_data(descriptor.digest) for _, _, descriptor in self.pushed}
        layers = {volume.blob_data(documents.digest_of(layer)) for layer in LAYERS}
        rooms = "repositories/**/_manifests"
        places: dict[DamageKind, tuple[list[Any], Callable[[Any], object]]] = {
            "empty tag link": (list(v2.glob(f"{rooms}/tags/*/current/link")), volume.empty),
            "malformed tag link": (list(v2.glob(f"{rooms}/tags/*/current/link")), volume.truncate),
            "empty revision link": (list(v2.glob(f"{rooms}/revisions/*/*/link")), volume.empty),
            "corrupt manifest": (list(manifests), volume.flip),
            "manifest without data": (list(manifests), volume.remove),
            "half-written manifest": (
                list(manifests),
                lambda data: volume.half_write_blob(data.read_bytes(), age=AGES[damage.of]),
            ),
            "layer without data": (list(layers), volume.remove),
            "layer without link": (list(v2.glob("repositories/**/_layers/*/*/link")), volume.remove),
            "empty layer link": (list(v2.glob("repositories/**/_layers/*/*/link")), volume.empty),
            "tag without current": (list(v2.glob(f"{rooms}/tags/*/current")), volume.remove),
            "foreign file in tags": (
                list(v2.glob(f"{rooms}/tags")),
                lambda tags: volume.write(tags / ".nfs0001", b"", age=100 * DAY),
            ),
            "unknown room": (
                list(v2.glob("repositories/**/_manifests")),
                lambda room: volume.write(room.parent / "_signed" / "sha256" / "data", b"?", age=100 * DAY),
            ),
        }
        victims, strike = places[damage.kind]
        present = sorted(victim for victim in victims if victim.exists())
        if present:
            strike(present[damage.of % len(present)])


def build(volume: Volume, history: History, *, settle: bool = True) -> None:
    """Carries a history out on a volume; with `settle` its directories are old afterwards, as after a quiet time."""
    builder = _Builder(volume)
    for step in history.steps:
        builder.take(step)
    for damage in history.damages:
        builder.suffer(damage)
    if settle:
        _age_directories(volume)


def _age_directories(volume: Volume) -> None:
    """As old as all else, so that nothing seems to be written just now."""
    old = volume.moment(100 * DAY)
    for directory, _, _ in os.walk(volume.root, topdown=False):
        os.utime(directory, ns=(old, old))


OFTEN_OLD = st.one_of(st.sampled_from(AGES[4:-1]), st.sampled_from(AGES))
"""Were every age as likely as the next, most volumes would be too young for most policies."""


ABOUT_OTHERS: tuple[Kind, ...] = (
    "image",
    "index",
    "unknown type",
    "referring index",
    "referrer",
    "signature",
    "fallback tag",
    "copy",
    "retag",
    "retag as dependant",
)
"""What makes images that are about others, and lists of them, in several repositories."""

ABOUT_SEVERAL: tuple[Kind, ...] = ("image", "image", "signature", "retag as dependant", "fallback tag")
"""What makes manifests that are about several others: among all kinds such are too rare."""


@st.composite
def histories(
    draw: st.DrawFn, *, damages: int = 2, kinds: Sequence[Kind] = get_args(Kind), repositories: int = len(REPOSITORIES)
) -> History:
    """Registries of up to 14 steps in chronological order, with up to `damages` damages."""
    ages = sorted(draw(st.lists(OFTEN_OLD, min_size=1, max_size=14)), reverse=True)
    numbers = st.lists(st.integers(-1, 6), max_size=3).map(tuple)
    steps = tuple(
        Step(
            draw(st.sampled_from(kinds)),
            draw(st.sampled_from(REPOSITORIES[:repositories])),
            age,
            draw(st.lists(st.sampled_from(TAGS), max_size=2, unique=True).map(tuple)),
            draw(st.lists(st.integers(0, len(LAYERS) - 1), max_size=3, unique=True).map(tuple)),
            draw(numbers),
        )
        for age in ages
    )
    damage = st.builds(Damage, st.sampled_from(get_args(DamageKind)), st.integers(0, 9))
    return History(steps, draw(st.one_of(st.just(()), st.lists(damage, max_size=damages).map(tuple))))


SEMVER: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"highest": st.integers(0, 2)},
    optional={"constraint": st.sampled_from([">=1.0", "<2", ">1.2 <3", ">=2.0.0-rc.0"])},
)

KEEPS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"last": st.integers(0, 3)}),
    st.fixed_dictionaries({"pushedWithin": st.sampled_from(["1d", "36h", "30d"])}),
    st.fixed_dictionaries({"semver": SEMVER}),
    st.fixed_dictionaries({"last": st.integers(0, 1), "semver": SEMVER}),
    st.fixed_dictionaries({"matching": st.sampled_from([["latest"], ["stable-*", "v1"], [r"/v\d/"]])}),
)

RULES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"keep": KEEPS},
    optional={
        "repositories": st.sampled_from([["**"], ["*"], ["team/**"], ["{app,team}"], ["/team.*/"], ["*/a?p", "app"]]),
        "tags": st.sampled_from([["v*"], ["[0-9]*"], ["latest"], ["*.*"], ["[!v]*"], ["{latest,v1}"]]),
    },
)

DELETIONS = st.sampled_from(
    ["app:latest", "team/app:v1", "team", "team/app", "team/**", "app:v*", "current-app:*", "*:1.*", "nobody:v1"]
)

SPECS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "limits": st.just({"maxDeletedShare": "100%", "allowEmptyRepositories": True}),
        "rules": st.lists(RULES, max_size=3),
    },
    optional={
        "delete": st.lists(DELETIONS, max_size=2, unique=True),
        "untagged": st.sampled_from(["0s", "24h", "7d"]).map(lambda age: {"deleteAfter": age}),
        "garbage": st.sampled_from(["0s", "24h", "7d"]).map(lambda age: {"deleteAfter": age}),
        "dependants": st.sampled_from(["24h", "720h"]).map(lambda age: {"orphanedFor": age}),
        "uploads": st.sampled_from(["24h", "7d"]).map(lambda age: {"deleteAfter": age}),
        "protect": st.sampled_from(["0s", "1h", "2d"]).map(lambda age: {"youngerThan": age}),
    },
)
"""The `spec` of an ImageRetention, with limits that refuse nothing."""


def in_use(volume: Volume) -> st.SearchStrategy[InUse]:
    """Some tags and digests of a volume that run somewhere."""
    tags = sorted(
        (str(path.parents[2].relative_to(volume.repositories)), path.name)
        for path in volume.repositories.rglob("_manifests/tags/*")
        if path.is_dir()
    )
    links = volume.repositories.rglob("_manifests/revisions/*/*/link")
    digests = sorted({f"{link.parents[1].name}:{link.parent.name}" for link in links})
    places = sorted((tag[0], digest) for tag in tags for digest in digests)
    return st.one_of(st.just(InUse()), st.builds(InUse, _some(tags), _some(places), _some(digests)))


def _some(things: list[Any]) -> st.SearchStrategy[frozenset[Any]]:
    return st.frozensets(st.sampled_from(things), max_size=2) if things else st.just(frozenset())
