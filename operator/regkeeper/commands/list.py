"""`regkeeper list`: every image of a registry, a line each."""

import asyncio
import json
import os
import sys
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated

import typer
from yarl import URL

from regkeeper.commands.answering import answering, writing
from regkeeper.concurrency import in_order
from regkeeper.distribution import (
    Limits,
    RegistryClient,
    RegistryReadError,
    RegistryUrlError,
    open_session,
    registry_url,
)
from regkeeper.natural_order import natural_key

LIMITS = Limits(seconds=3600, request_seconds=60, body_bytes=16 << 20, pages=10_000, names=1_000_000, requests=32)
"""A person who asks for a list wants all of it: bounds that only a hostile server meets."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Image:
    """One line."""

    repository: str
    tag: str
    digest: str | None = None

    def reference(self, host: str) -> str:
        """The name by which a client pulls it."""
        prefix = f"{host}/" if host else ""
        return f"{prefix}{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else "")

    def document(self, host: str) -> str:
        """A JSON object, without line breaks."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps({"reference": self.reference(host), **fields})


@dataclass
class Found:
    """What one repository holds, and what of it could not be read."""

    repository: str
    images: list[Image] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Reporter:
    """Prints images on stdout and, on stderr, what could not be read; remembers whether there was any."""

    def __init__(self, host: str, *, as_json: bool) -> None:
        self.host = host
        self.as_json = as_json
        self.failed = False

    def image(self, image: Image) -> None:
        with writing():
            sys.stdout.write((image.document(self.host) if self.as_json else image.reference(self.host)) + "\n")

    def end(self) -> None:
        """All was printed."""
        with answering():
            pass

    def problem(self, message: str) -> None:
        self.failed = True
        typer.echo(f"regkeeper list: {message}", err=True)


@app.command(name="list")
def list_images(
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="Address of the registry, such as http://k8smaster:5000.")
    ] = None,
    *,
    root: Annotated[
        str | None,
        typer.Option(
            "--root", metavar="DIR", help="Read the registry's volume instead: what is mounted as /var/lib/registry."
        ),
    ] = None,
    journal: Annotated[
        str | None, typer.Option("--journal", metavar="DIR", help="With --root: where its journals are, if elsewhere.")
    ] = None,
    digests: Annotated[
        bool,
        typer.Option("--digests", help="Add each tag's digest: host/repository:tag@sha256:… One more request a tag."),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object a line: reference, repository, tag and, if asked for, digest."
        ),
    ] = False,
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry", metavar="URL", help="With --root: the registry's URL, whose address is printed then."
        ),
    ] = None,
    now: Annotated[str | None, typer.Option("--now", hidden=True)] = None,  # noqa: ARG001 (for scripts, as with du)
    mode: Annotated[str | None, typer.Option("--mode", hidden=True)] = None,  # noqa: ARG001
) -> None:
    """List every image of a registry as host/repository:tag, a line each, v2 before v10.

    With --root, without a registry: as repository:tag, REGISTRY_DATA_DIR being the root if no URL is given either.

    Needs no more than the registry's HTTP API, page by page; registries that ask for a password can't be listed.
    Proxies from the environment are not used; SSL_CERT_FILE names further certificates to trust for https.

    What can't be read is named on stderr and the rest is printed all the same; the exit status is then 1, or 2 if
    the command line itself is wrong.
    """
    root = root or (None if url else os.environ.get("REGISTRY_DATA_DIR")) or None
    if (url is None) == (root is None):
        raise typer.BadParameter("say either the address of a registry or the --root of a volume", param_hint="URL")
    address = url or registry
    try:
        origin = registry_url(address) if address is not None else None
    except RegistryUrlError as error:
        raise typer.BadParameter(str(error), param_hint="URL") from error
    # Always with the port, and IPv6 in brackets, which `authority` is without.
    reporter = Reporter(f"{origin.host_subcomponent}:{origin.port}" if origin is not None else "", as_json=as_json)
    if origin is None or root is not None:
        list_volume(root or "", reporter, journal=journal, digests=digests)
    else:
        asyncio.run(list_registry(origin, reporter, digests=digests))
    reporter.end()
    if reporter.failed:
        raise typer.Exit(1)


def list_volume(root: str, reporter: Reporter, *, journal: str | None, digests: bool) -> None:
    """Print the images of the volume at `root` in natural order, one repository in memory at a time."""
    from regkeeper.commands.reading import reading
    from regkeeper.retention.errors import RetentionError
    from regkeeper.retention.volume.digests import to_text
    from regkeeper.retention.volume.layout import walk_repositories
    from regkeeper.retention.wording import shown

    try:
        with reading(root, journal) as seen:
            for found in sorted(walk_repositories(seen.volume), key=lambda found: natural_key(found.name)):
                if found.problem:
                    reporter.problem(f"{shown(found.name)}: {found.problem}")
                    continue
                repository = seen.reader.read_tags(found.name)
                for problem in repository.problems():
                    reporter.problem(shown(str(problem)))
                for tag in sorted(repository.tags, key=natural_key):
                    digest = repository.tags[tag].digest
                    if digest is not None:
                        reporter.image(Image(shown(found.name), tag, to_text(digest) if digests else None))
    except RetentionError as error:
        reporter.problem(str(error))


async def list_registry(origin: URL, reporter: Reporter, *, digests: bool) -> None:
    """Print the images of the registry at `origin` in natural order.

    Holds the names of all repositories, and the tags of no more than `LIMITS.requests` of them.
    """
    async with open_session() as session:
        client = RegistryClient(session, origin, LIMITS)
        try:
            repositories = await client.repositories()
        except RegistryReadError as error:
            reporter.problem(f"{origin}: {error}")
            return
        for problem in repositories.problems:
            reporter.problem(f"{origin}: {problem}")

        async def images(repository: str) -> Found:
            return await _find(client, repository, digests=digests)

        names = sorted(repositories.names, key=natural_key)
        async with aclosing(in_order(names, images, ahead=LIMITS.requests)) as answers:
            async for found in answers:
                for image in found.images:
                    reporter.image(image)
                for problem in found.problems:
                    reporter.problem(f"{found.repository}: {problem}")


async def _find(client: RegistryClient, repository: str, *, digests: bool) -> Found:
    found = Found(repository)
    try:
        tags = await client.tags(repository)
    except RegistryReadError as error:
        found.problems.append(str(error))
        return found
    found.problems.extend(tags.problems)
    found.images.extend(Image(repository, tag) for tag in sorted(tags.names, key=natural_key))
    if digests:
        await _add_digests(client, found)
    return found


async def _add_digests(client: RegistryClient, found: Found) -> None:
    async def ask(image: Image) -> Image:
        try:
            return replace(image, digest=await client.digest(image.repository, image.tag))
        except RegistryReadError as error:
            found.problems.append(f"tag {image.tag}: {error}")
            return image

    async with aclosing(in_order(found.images, ask, ahead=LIMITS.requests)) as answers:
        found.images = [image async for image in answers]
