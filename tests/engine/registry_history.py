"""A small registry as clients made it: `Step`s, oldest first, then `Damage`s, carried out on a `Volume`."""

import os
from dataclasses import dataclass, field
from typing import Literal

from tests.engine import documents
from tests.engine.documents import Descriptor, Manifest
from tests.engine.pools import LAYERS
from tests.engine.registry_damage import Damage, suffer
from tests.engine.volumes import DAY, Repository, Volume

NOWHERE = Descriptor(documents.OCI_MANIFEST, documents.digest_of(b"a manifest that nobody pushed"), 29)
UNREADABLE = Descriptor(documents.OCI_MANIFEST, "sha256:CCC", 3)

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


def build(volume: Volume, history: History, *, settle: bool = True) -> None:
    """Carries a history out on a volume; with `settle` its directories are old afterwards, as after a quiet time."""
    builder = _Builder(volume)
    for step in history.steps:
        builder.take(step)
    manifests = {volume.blob_data(descriptor.digest) for _, _, descriptor in builder.pushed}
    for damage in history.damages:
        suffer(volume, manifests, damage)
    if settle:
        _age_directories(volume)


def _age_directories(volume: Volume) -> None:
    """As old as all else, so that nothing seems to be written just now."""
    old = volume.moment(100 * DAY)
    for directory, _, _ in os.walk(volume.root, topdown=False):
        os.utime(directory, ns=(old, old))
