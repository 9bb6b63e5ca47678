"""`regkeeper du`: where the space of a registry's volume is."""

import typer

from regkeeper.commands.volume_options import AsJson, JournalDirectory, Root, failures, note, print_document, reading
from regkeeper.retention.printing import shown
from regkeeper.retention.usage import lines, measure

app = typer.Typer(add_completion=False)


@app.command()
def du(*, root: Root, as_json: AsJson = False, journal: JournalDirectory = None) -> None:
    """Show the bytes of each repository, the largest first: its own, and those that it shares with others.

    Then the bytes that no repository names, those that runs have deleted and a purge will free, and all. The command
    only reads. With --json: `total`, `unreachable`, `quarantined`, `repositories` (`repository`, `own`, `shared`),
    `problems`.
    """
    with failures(as_json=as_json), reading(root, journal) as seen:
        usage = measure(seen.volume, seen.reader)
    for problem in usage.problems:
        note(f"can't be read: {shown(str(problem))}")
    if as_json:
        print_document(usage.document())
        return
    for line in lines(usage):
        typer.echo(shown(line))
