"""`regkeeper du`: where the space of a registry's volume is."""

import typer

from regkeeper.commands.answering import KEPT_AGAINST_WILL, answering, note, print_document
from regkeeper.commands.look_options import Look, looking_command
from regkeeper.retention.volume.usage import Usage, measure
from regkeeper.retention.wording import shown

app = typer.Typer(add_completion=False)


@app.command()
@looking_command
def du(*, look: Look) -> None:
    """Show the bytes of each repository, the largest first: its own, and those that it shares with others.

    Then the bytes that no repository names, those that runs have deleted and a purge will free, and all. The command
    only reads. With --json: `total`, `unreachable`, `quarantined`, `repositories` (`repository`, `own`, `shared`),
    `problems`. Exit status 3 if something can't be read: then a repository may have more than it says.
    """
    with look.opened() as seen:
        usage = measure(seen.volume, seen.reader)
    for problem in usage.problems:
        note(f"can't be read: {shown(str(problem))}")
    if look.as_json:
        print_document(usage.document())
    else:
        with answering():
            _print(usage)
    if usage.problems:
        raise typer.Exit(KEPT_AGAINST_WILL)


def _print(usage: Usage) -> None:
    typer.echo(f"{'OWN':>18} {'SHARED':>18}  REPOSITORY")
    for entry in usage.repositories:
        typer.echo(f"{entry.own:>18,} {entry.shared:>18,}  {shown(entry.repository)}")
    typer.echo(f"{usage.unreachable:>18,} {'':>18}  (named by no repository)")
    typer.echo(f"{usage.quarantined:>18,} {'':>18}  (deleted, to be purged)")
    typer.echo(f"{usage.total:>18,} {'':>18}  (all blobs)")
