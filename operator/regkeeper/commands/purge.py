"""`regkeeper purge`: free what was deleted, for good."""

from typing import Annotated

import typer

from regkeeper.commands.answering import KEPT_AGAINST_WILL, failures, note, print_document
from regkeeper.commands.change_options import Change, changing_command
from regkeeper.commands.reports import note_purged, note_recovered, purged_document, recovered_document
from regkeeper.commands.volume_options import InUseFile, read_in_use, seconds
from regkeeper.retention.moments import SECOND
from regkeeper.retention.quarantine import reserve
from regkeeper.retention.quarantine.history import due
from regkeeper.retention.runs.purge import purge as purge_runs
from regkeeper.retention.runs.recovery import recover

app = typer.Typer(add_completion=False)


@app.command()
@changing_command
def purge(
    *,
    change: Change,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE", help="Free the runs that began longer ago (12h; 0s: all), whatever their own windows."
        ),
    ] = None,
    in_use: InUseFile = None,
) -> None:
    """Free what runs deleted once their undo window is over. What is needed again comes back instead.

    Where the registry's blob descriptor cache is on, restart it before: it may count on blobs that are deleted.

    What can't be removed, an immutable file for one, stays until a later purge can.

    Exit status: 0 done or nothing to do, 1 refused or failed, 2 wrong usage, 3 done, but something could not be
    removed.

    With --json: `purged` (`runs`, `entries`, `bytes`, `returned`, `held`, `stuck`) and what earlier runs had left.
    """
    age = None if older_than is None else seconds(older_than, "--older-than") * SECOND
    with failures(as_json=change.as_json):
        used = read_in_use(in_use)
        change.note_unasked()
        with change.opened() as session:
            change.refuse_writers(session)
            volume, journals, present = session.volume, session.journals, session.present
            recovered = recover(volume, journals, now=present)
            note_recovered(recovered)
            purged = purge_runs(volume, journals, due(journals, volume, present, age), now=present, in_use=used)
            reserve.replenish(volume)
        note_purged(purged)
        if not purged.runs:
            note("nothing is purged: of no run is the undo window over")
    if change.as_json:
        print_document(
            {"outcome": "done", "purged": purged_document([purged]), "recovered": recovered_document(recovered)}
        )
    if purged.stuck:
        raise typer.Exit(KEPT_AGAINST_WILL)
