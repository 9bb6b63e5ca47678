"""`regkeeper check`: is everything there that a registry's images need?"""

from typing import Annotated

import typer

from regkeeper.commands.answering import answering, print_document
from regkeeper.commands.look_options import Look, looking_command
from regkeeper.retention.volume.inspection import Inspection, inspect
from regkeeper.retention.wording import count, shown

app = typer.Typer(add_completion=False)


@app.command()
@looking_command
def check(
    *,
    look: Look,
    deep: Annotated[bool, typer.Option("--deep", help="Read every blob and compare it with its digest.")] = False,
) -> None:
    """Look at every tag and every reference; exit status 1 if anything is missing, unreadable or corrupt.

    The command only reads, and reports what is odd but harmless too: children that an index names and its repository
    does not have, layers that clients fetch from elsewhere, tags without a link, malformed links that no image
    needs. With --json: `whole`, `counts`, and `missing`, `unreadable`, `corrupt`, each with `repository`, `where`,
    `message`.
    """
    with look.opened() as seen:
        found = inspect(seen.volume, seen.reader, deep=deep)
    if look.as_json:
        print_document(found.document())
    else:
        with answering():
            _print(found)
    if not found.whole:
        raise typer.Exit(1)


def _print(found: Inspection) -> None:
    for label, problems in (
        ("missing", found.missing),
        ("unreadable", found.unreadable),
        ("corrupt", found.corrupt),
    ):
        for problem in problems:
            typer.echo(f"{label}: {shown(str(problem))}")
    seen = (
        count(found.repositories, "repository"),
        count(found.tags, "tag"),
        count(found.manifests, "manifest"),
        count(found.blobs, "blob"),
    )
    typer.echo(f"Looked at {', '.join(seen)}: {'all is there' if found.whole else 'something is wrong'}.")
    for number, noun, words in (
        (found.unlinked_tags, "tag", "without a link: listed by the registry, and can't be pulled"),
        (found.deleted_revisions, "manifest", "deleted through the API"),
        (found.sparse_children, "manifest", "named by an index, and not in its repository"),
        (found.foreign_layers, "layer", "to be fetched by clients from elsewhere"),
        (found.unreadable_links, "link", "empty or malformed, and needed by no image"),
    ):
        if number:
            typer.echo(f"{count(number, noun)} {words}")
