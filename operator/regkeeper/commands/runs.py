"""`regkeeper runs`: what was deleted when, and until when it can come back."""

from typing import Any

import typer

from regkeeper.commands.answering import answering, print_document
from regkeeper.commands.look_options import Look, looking_command
from regkeeper.commands.volume_options import present
from regkeeper.retention.moments import moment
from regkeeper.retention.quarantine.journal import Journal, State
from regkeeper.retention.wording import count, size_of

app = typer.Typer(add_completion=False)


@app.command()
@looking_command
def runs(*, look: Look) -> None:
    """List the runs that deleted something, oldest first.

    One that is done can be undone until the time that its line tells, or as long as no purge has freed it; restored
    is undone, purged is freed for good. An open one was interrupted: the next command that changes something puts back
    what it had moved (rolled back), and ends an undo (restoring). A purge ends what it left (purging).

    With --json: `runs`, each with `run`, `command`, `now`, `state`, `since`, `moves`, `bytes`, `purgeDue`, `due` (by
    --now), `plan` (the hash); and `underWay`.
    """
    moment_now = present(look.now)
    with look.opened() as seen:
        every = [item for item in seen.journals.all() if item.state != State.UNPLANNED]
    if look.as_json:
        print_document({"underWay": seen.under_way, "runs": [_document(item, moment_now) for item in every]})
        return
    with answering():
        for item in every:
            typer.echo(_line(item))


def _document(journal: Journal, now: int) -> dict[str, Any]:
    return {
        "run": journal.run,
        "command": journal.header.command,
        "now": moment(journal.header.now),
        "state": journal.state.value,
        "since": moment(journal.at),
        "moves": journal.count,
        "bytes": journal.bytes,
        "purgeDue": moment(journal.purge_due),
        "due": journal.state == State.DONE and now >= journal.purge_due,
        "plan": journal.plan,
    }


def _line(journal: Journal) -> str:
    can_come_back = journal.state == State.DONE and not journal.came_back
    until = f", until {moment(journal.purge_due)}" if can_come_back else ""
    words = f"{journal.state.replace('-', ' ')} since {moment(journal.at)}{until}"
    return (
        f"{journal.run}  {journal.header.command}  {count(journal.count, 'entry')}, {size_of(journal.bytes)}  {words}"
    )
